/**
 * One WAMP session: autobahn-js on our own transport. autobahn-js dials by itself, without Tor, without
 * pings, and leaves requests hanging when a connection drops; here every request ends, with an answer,
 * an error, or `ERR_WAMP_LOST`.
 */
import autobahn from "autobahn";
import nacl from "tweetnacl";
import type { WebSocket } from "ws";
import { encodeHex } from "../bytes.ts";
import { OnionhookError } from "../errors.ts";
import { openWebSocket, type WebSocketTarget } from "../host/websocket.ts";
import { checkIds } from "./ids.ts";
import type { Match } from "./match.ts";
import { fromWire, Passthru } from "./passthru.ts";
import { lost, makeRequests } from "./requests.ts";
import { makeSender, type Sender } from "./sender.ts";
import { type Serializer, serializerFor, serializers, subprotocol } from "./serializers.ts";
import { ErrorReply, uriOnly } from "./wamp-error.ts";

export interface WampTarget {
  /** `ws://` or `wss://`, or `ws+unix:PATH:/`. */
  url: string;
  realm: string;
  authid: string;
  /** Ed25519 seed of WAMP-cryptosign. */
  seed: Uint8Array;
  tor: WebSocketTarget["tor"];
  isolation: string;
  signal: AbortSignal;
  /** In order of preference; every one of ours by default. */
  serializers?: readonly Serializer[];
}

/** An event as it came, from a topic that was subscribed to. */
export interface WampEvent {
  topic: string;
  /** A payload that the router could not read, if it was one. */
  passthru: Passthru | undefined;
  args: unknown[];
  kwargs: Record<string, unknown>;
}

/** What it is given goes out as it is: {@link Passthru} as sealed bytes, all else in plain text. `sealed-session.ts` seals. */
export interface WampSession {
  /** Resolves once the router has acknowledged. `eligible`: the only sessions that are to get it; not empty. */
  publish(
    topic: string,
    payload: Passthru | Record<string, unknown>,
    eligible?: readonly (number | bigint)[],
  ): Promise<void>;
  subscribe(topic: string, match: Match, handler: (event: WampEvent) => void): Promise<void>;
  /**
   * A sealed call has one {@link Passthru} as its argument, and so has its answer.
   * @throws OnionhookError {@link ErrorReply} for ERROR; `ERR_WAMP_LOST`, `ERR_WAMP_TIMEOUT`
   */
  call(procedure: string, ...args: unknown[]): Promise<unknown>;
  /** What the handler throws is told to nobody, but for an {@link ErrorReply}, which is the answer. */
  register(
    procedure: string,
    handler: (args: unknown[], kwargs: Record<string, unknown>) => unknown,
  ): Promise<void>;
  /** Resolves when the session is over, for whatever reason: never rejects. */
  readonly closed: Promise<void>;
  /** Says goodbye and ends; resolves like `closed`. */
  close(): Promise<void>;
}

/** 25 MiB sealed and in base64 are 35 MB; Crossbar.io's own cap is 64 MiB. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/**
 * Publishes that a router may leave unacknowledged: a relay has 256 events of a stream under way, and this is 32 streams,
 * from two relays. The session ends when so many are beyond their time, since autobahn-js keeps each. A single one is no
 * fault: its acknowledgement may come behind 25 MiB that a slow circuit brings down.
 */
export const MAX_UNACKNOWLEDGED = 16_384;
/** WAMP-cryptosign: 32 random bytes in hex. */
const CHALLENGE = /^[0-9a-f]{64}$/i;
/** After GOODBYE, for the router's own. */
const GOODBYE_MS = 1000;

/**
 * Dials and joins.
 * @throws OnionhookError those of `openWebSocket`; `ERR_WAMP_DENIED` when the router does not let us in
 * (not retryable: a key, a realm or a role is wrong); `ERR_WAMP_LOST`; `ERR_WAMP_TIMEOUT`.
 */
export async function joinWamp(target: WampTarget): Promise<WampSession> {
  const offered = target.serializers ?? serializers;
  const socket = await openWebSocket({
    url: target.url,
    peer: "the router",
    protocols: offered.map(subprotocol),
    tor: target.tor,
    isolation: target.isolation,
    maxMessageBytes: MAX_MESSAGE_BYTES,
    signal: target.signal,
  });
  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
  });
  const serializer = serializerFor(socket.protocol);
  if (!serializer) {
    socket.terminate();
    throw new OnionhookError("ERR_WAMP_DENIED", "the router speaks none of msgpack, cbor and json");
  }
  const sender = makeSender(socket, serializer);
  const session = openSession(socket, serializer, target.seed, sender);
  const request = makeRequests(closed, sender);
  /** Publishes that are beyond their time. */
  let overdue = 0;

  try {
    await request("join", joined(session, socket, target));
  } catch (error) {
    socket.terminate();
    throw error;
  }
  return {
    async publish(topic, payload, eligible) {
      const [args, kwargs] = payload instanceof Passthru ? [[payload], undefined] : [[], payload];
      const answer = guarded(() =>
        session.publish(topic, args, kwargs, {
          acknowledge: true,
          ...(eligible && { eligible }),
        }),
      );
      const onTimeout = () => {
        overdue += 1;
        if (overdue >= MAX_UNACKNOWLEDGED) socket.terminate();
        const onLate = () => void (overdue -= 1);
        answer.then(onLate, onLate);
      };
      await request("publish", answer, onTimeout);
    },
    async subscribe(topic, match, handler) {
      const onEvent = (args: unknown[], kwargs: Record<string, unknown>, event: { topic: string }) => {
        const [first] = args;
        handler({
          topic: event.topic,
          passthru: first instanceof Passthru ? first : undefined,
          args,
          kwargs,
        });
      };
      await request(
        "subscribe",
        guarded(() => session.subscribe(topic, onEvent, { match })),
      );
    },
    call(procedure, ...args) {
      let call: autobahn.Call | undefined;
      return request(
        "call",
        guarded(() => (call = session.call(procedure, args))),
        // Of the modes the one in which autobahn-js still takes the router's answer: after others it hangs up on that.
        () => call?.cancel({ mode: "kill" }),
      );
    },
    async register(procedure, handler) {
      await request(
        "register",
        guarded(() => session.register(procedure, answering(handler))),
      );
    },
    closed,
    async close() {
      if (session.isOpen) session.leave();
      const timer = setTimeout(() => socket.terminate(), GOODBYE_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

function openSession(
  socket: WebSocket,
  serializer: Serializer,
  seed: Uint8Array,
  { send }: Sender,
): autobahn.Session {
  const transport: autobahn.Transport = {
    onmessage: () => {},
    onopen: () => {},
    onclose: () => {},
    info: {},
    send,
    // autobahn-js asks for codes that RFC 6455 reserves.
    close: () => socket.close(1000),
  };
  socket.on("message", (data: Buffer) => {
    try {
      transport.onmessage(fromWire(checkIds(serializer.parse(data))));
    } catch {
      socket.close(1002, "malformed message");
    }
  });
  socket.resume();
  const pair = nacl.sign.keyPair.fromSeed(seed);
  return new autobahn.Session(
    transport,
    autobahn.util.deferred_factory({ use_es6_promises: true }),
    (_session, _method, { challenge }) => {
      // Signing whatever a router sends would make this key sign for other purposes than joining.
      if (!CHALLENGE.test(challenge))
        throw new OnionhookError("ERR_WAMP_DENIED", "the router's challenge is no challenge");
      return autobahn.auth_cryptosign.sign_challenge(pair, { challenge });
    },
    // An event handler's own error, or a router that breaks the protocol: without the connection nothing hangs.
    (error) => {
      if (!(error instanceof autobahn.Error)) socket.terminate();
    },
    () => socket.terminate(),
  );
}

function joined(
  session: autobahn.Session,
  socket: WebSocket,
  { realm, authid, seed }: WampTarget,
): Promise<void> {
  const pubkey = encodeHex(nacl.sign.keyPair.fromSeed(seed).publicKey);
  return new Promise((resolve, reject) => {
    session.onjoin = () => resolve();
    session.onleave = (reason) => {
      // A router that says goodbye need not hang up; to us the session is over either way.
      socket.close(1000);
      setTimeout(() => socket.terminate(), GOODBYE_MS).unref();
      reject(
        new OnionhookError("ERR_WAMP_DENIED", `the router ended the session: ${uriOnly(reason)}`, {
          hint: "check realm, authid and key here against the router's configuration",
        }),
      );
    };
    session.join(realm, ["cryptosign"], authid, { pubkey, challenge: null, channel_binding: null });
  });
}

/** autobahn-js would send whatever a handler throws, in plain text. */
function answering(
  handler: Parameters<WampSession["register"]>[1],
): (args: unknown[], kwargs: Record<string, unknown>) => Promise<unknown> {
  return async (args, kwargs) => {
    try {
      return await handler(args, kwargs);
    } catch (error) {
      if (!(error instanceof ErrorReply)) throw new autobahn.Error("wamp.error.runtime_error");
      throw new autobahn.Error(error.uri, error.passthru && [error.passthru]);
    }
  };
}

/** autobahn-js throws strings, rejects with objects of its own, and throws when the session is over. */
async function guarded<Answer>(send: () => Promise<Answer>): Promise<Answer> {
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof autobahn.Error)) throw lost();
    const [passthru] = Array.isArray(error.args) ? error.args : [];
    const uri = typeof error.error === "string" ? error.error : "";
    throw new ErrorReply(uri, passthru instanceof Passthru ? passthru : undefined);
  }
}
