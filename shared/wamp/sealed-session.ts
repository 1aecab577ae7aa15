/**
 * A session under a keyring: what it publishes, calls and answers is sealed, and what it takes was. Nothing goes out
 * or is taken in plain text, and a URI without a key is an error; what is to be plain goes by {@link WampSession} itself.
 * Normative: docs/cryptobox.md §4 to §7.
 */
import * as v from "valibot";
import { CRYPTOBOX } from "../cryptobox.ts";
import { OnionhookError } from "../errors.ts";
import type { Keyring } from "../keyring.ts";
import { openPayload, type Payload, sealPayload, SEALED_SERIALIZER } from "../sealed-payload.ts";
import { type Match, matchesUri } from "./match.ts";
import { Passthru } from "./passthru.ts";
import type { WampEvent, WampSession } from "./session.ts";
import { CallError, ErrorReply, NOT_OPENED } from "./wamp-error.ts";

export interface SealedEvent extends Payload {
  readonly topic: string;
}

export interface SealedSession {
  /** @throws OnionhookError `ERR_NO_KEY`, `ERR_SEALED_PAYLOAD`, those of a publish. */
  publish(topic: string, payload: Partial<Payload>): Promise<void>;
  /** What is not sealed, for this topic and with one of its keys, is refused and never reaches the handler. */
  subscribe(topic: string, match: Match, handler: (event: SealedEvent) => void): Promise<void>;
  /**
   * Under the next of several keys when the callee says that it has no key for the first.
   * @throws OnionhookError `ERR_NO_KEY`, `ERR_SEALED_PAYLOAD`; {@link CallError} for the callee's own, sealed failure;
   * {@link ErrorReply} for the router's, which cannot be sealed; `ERR_PLAINTEXT`, `ERR_NOT_OPENED`, `ERR_SEALED_PAYLOAD`
   * when result or error is not the callee's.
   */
  call(procedure: string, payload: Partial<Payload>): Promise<Payload>;
  /** What the handler throws travels sealed: a {@link CallError} as it is, of anything else only that it happened. */
  register(procedure: string, handler: (payload: Payload) => Promise<Partial<Payload>>): Promise<void>;
}

export interface SealedHooks {
  /** An event or a call was refused. */
  readonly onRefused?: (error: unknown) => void;
  /** The handler of a procedure threw what is no {@link CallError}. */
  readonly onFault?: (error: unknown) => void;
}

/**
 * What a failure of the procedure is called on the wire. It says no more than the call did, the same keys cover it in a
 * ring of prefixes, which Autobahn's is, and inside the seal it keeps an error apart from a result.
 */
function errorUriOf(procedure: string): string {
  return `${procedure}.error`;
}

/** Of a handler that threw what it did not mean to tell; Autobahn's name. */
const FAULT = "wamp.error.runtime_error";

/** What nobody could have sealed: the router has no key, and a callee says that it has none. */
const UNSEALABLE: ReadonlySet<string> = new Set([
  NOT_OPENED,
  "wamp.error.encryption.trusted_uri_mismatch",
  "wamp.error.no_payload_codec",
  // Those that our router or Crossbar.io (crossbar/router/dealer.py, router.py) answers to a CALL.
  "wamp.error.authorization_failed",
  "wamp.error.canceled",
  "wamp.error.invalid_argument",
  "wamp.error.invalid_uri",
  "wamp.error.no_eligible_callee",
  "wamp.error.no_such_procedure",
  "wamp.error.not_authorized",
  "wamp.error.option_not_allowed",
  "wamp.error.payload_size_exceeded",
  "wamp.error.timeout",
  "onionhook.error.too_many_calls",
  "crossbar.error.max_concurrency_reached",
]);

/** The inside of `PROCEDURE.error`: the callee's own error URI, and its arguments. */
const failure = v.tuple([v.string(), v.array(v.unknown()), v.record(v.string(), v.unknown())]);

export function sealedSession(
  session: WampSession,
  keyring: Keyring,
  { onRefused = () => {}, onFault = () => {} }: SealedHooks = {},
): SealedSession {
  const seal = (uri: string, payload: Partial<Payload>, shared: Uint8Array) =>
    new Passthru(sealPayload(uri, payload, shared), CRYPTOBOX, SEALED_SERIALIZER);

  /** The answer to a call under one key. */
  async function callWith(
    shared: Uint8Array,
    procedure: string,
    payload: Partial<Payload>,
  ): Promise<Payload> {
    let answer: unknown;
    try {
      answer = await session.call(procedure, seal(procedure, payload, shared));
    } catch (error) {
      if (!(error instanceof ErrorReply)) throw error;
      throw openError(procedure, error, shared, keyring);
    }
    const { args, kwargs } = openPayload(procedure, answer instanceof Passthru ? answer : undefined, [
      shared,
    ]);
    return { args, kwargs };
  }

  return {
    async publish(topic, payload) {
      const [shared] = keyring.keysFor("originator", topic);
      await session.publish(topic, seal(topic, payload, shared));
    },

    async subscribe(topic, match, handler) {
      if (match === "exact") keyring.keysFor("responder", topic);
      await session.subscribe(topic, match, (event) => {
        let opened: Payload;
        try {
          opened = openEventOf(event, topic, match, keyring);
        } catch (error) {
          onRefused(error);
          return;
        }
        handler({ topic: event.topic, args: opened.args, kwargs: opened.kwargs });
      });
    },

    async call(procedure, payload) {
      const keys = keyring.keysFor("originator", procedure);
      let refused: unknown;
      for (const shared of keys) {
        try {
          // oxlint-disable-next-line no-await-in-loop
          return await callWith(shared, procedure, payload);
        } catch (error) {
          if (!(error instanceof ErrorReply) || error.uri !== NOT_OPENED) throw error;
          refused = error;
        }
      }
      throw refused;
    },

    async register(procedure, handler) {
      const keys = keyring.keysFor("responder", procedure);
      await session.register(procedure, async ([sealed]) => {
        let call: Payload & { shared: Uint8Array };
        try {
          call = openPayload(procedure, sealed instanceof Passthru ? sealed : undefined, keys);
        } catch (error) {
          onRefused(error);
          throw new ErrorReply(NOT_OPENED);
        }
        try {
          const { args, kwargs } = call;
          return seal(procedure, await handler({ args, kwargs }), call.shared);
        } catch (error) {
          if (!(error instanceof CallError)) onFault(error);
          throw new ErrorReply(errorUriOf(procedure), sealFailure(procedure, error, call.shared));
        }
      });
    },
  };

  function sealFailure(procedure: string, error: unknown, shared: Uint8Array): Passthru {
    const uri = errorUriOf(procedure);
    if (error instanceof CallError) {
      const { args, kwargs } = error.payload;
      try {
        return seal(uri, { args: [error.uri, args, kwargs] }, shared);
      } catch (fault) {
        onFault(fault);
      }
    }
    return seal(uri, { args: [FAULT, [], {}] }, shared);
  }
}

function openEventOf(
  { topic, passthru }: WampEvent,
  pattern: string,
  match: Match,
  keyring: Keyring,
): Payload {
  // The router says so; it need not be true.
  if (!matchesUri(pattern, match, topic))
    throw new OnionhookError(
      "ERR_SEALED_PAYLOAD",
      "the router gave an event to a subscription that it is not for",
    );
  return openPayload(topic, passthru, keyring.keysFor("responder", topic));
}

/**
 * What a caller is told of ERROR: nothing is believed that is not sealed, but what cannot be.
 * @throws OnionhookError when it is refused.
 */
function openError(
  procedure: string,
  reply: ErrorReply,
  shared: Uint8Array,
  keyring: Keyring,
): CallError | ErrorReply {
  const { uri, passthru } = reply;
  if (!passthru) {
    if (UNSEALABLE.has(uri)) return reply;
    throw new OnionhookError("ERR_PLAINTEXT", "an error that is not sealed was refused", {
      hint: "a callee on Autobahn seals an error only when its KeyRing has a key for the error's own URI",
    });
  }
  if (uri !== errorUriOf(procedure)) {
    const { args, kwargs } = openPayload(uri, passthru, keyring.keysFor("originator", uri));
    return new CallError(uri, { args, kwargs });
  }
  const inside = v.safeParse(failure, openPayload(uri, passthru, [shared]).args);
  if (!inside.success) throw new OnionhookError("ERR_SEALED_PAYLOAD", "a sealed error is malformed");
  const [itsUri, args, kwargs] = inside.output;
  return new CallError(itsUri, { args, kwargs });
}
