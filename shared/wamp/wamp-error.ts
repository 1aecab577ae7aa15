/** Two errors of a call: ERROR as the wire has it, and what a callee that holds the key said in it. */
import { OnionhookError } from "../errors.ts";
import type { Payload } from "../sealed-payload.ts";
import type { Passthru } from "./passthru.ts";

/** A router's text is not trusted with our log: URIs only. */
const LOGGABLE_URI = /^[\w.-]{1,100}$/;

export function uriOnly(text: string): string {
  return LOGGABLE_URI.test(text) ? text : "(no error URI)";
}

/** What a callee answers when it cannot open a call, whatever the reason; Autobahn's name. */
export const NOT_OPENED = "wamp.error.encryption.decrypt_error";

/**
 * ERROR, received or, thrown by the handler of a procedure, to be sent. Arguments in plain text are not part of it: they
 * are neither believed nor sent.
 */
export class ErrorReply extends OnionhookError {
  readonly uri: string;
  readonly passthru: Passthru | undefined;

  constructor(uri: string, passthru?: Passthru) {
    super(
      "ERR_WAMP_REFUSED",
      uri === NOT_OPENED ? "the callee cannot open what we sealed" : `the router refused: ${uriOnly(uri)}`,
    );
    this.uri = uri;
    this.passthru = passthru;
  }
}

/**
 * A callee's failure, which travels sealed: thrown by the handler of a sealed procedure, and at the caller by
 * the call. Message and code tell nothing of it; `uri` and `payload` are not for logs.
 */
export class CallError extends OnionhookError {
  readonly uri: string;
  readonly payload: Payload;

  constructor(uri: string, { args = [], kwargs = {} }: Partial<Payload> = {}) {
    super("ERR_CALLEE", "the callee answered with a sealed error");
    this.uri = uri;
    this.payload = { args, kwargs };
  }
}
