import { CLOSE_INTERNAL_ERROR, CLOSE_PROTOCOL_ERROR } from "./codes.ts";

/** A client that breaks the protocol: its connection ends with this WebSocket close code. */
export class ProtocolFault extends Error {
  override readonly name = "ProtocolFault";
  readonly closeCode: number;

  constructor(closeCode: number, message: string) {
    super(message);
    this.closeCode = closeCode;
  }
}

/** A message that WAMP does not have, or not like this. */
export function malformed(what: string): ProtocolFault {
  return new ProtocolFault(CLOSE_PROTOCOL_ERROR, what);
}

/** A message that Crossbar.io itself trips over: an unusable URI, or a text where bytes should be. */
export function unusable(what: string): ProtocolFault {
  return new ProtocolFault(CLOSE_INTERNAL_ERROR, what);
}

/** `wamp.` is the protocol's own; what it has no name for has one of ours. */
type RefusalUri = `wamp.error.${string}` | `onionhook.error.${string}`;

/** A request that is answered with an ERROR; the session goes on. */
export class RequestRefused extends Error {
  override readonly name = "RequestRefused";
  readonly uri: RefusalUri;

  /** `message` goes to the client: it holds nothing that it did not send itself. */
  constructor(uri: RefusalUri, message: string) {
    super(message);
    this.uri = uri;
  }
}
