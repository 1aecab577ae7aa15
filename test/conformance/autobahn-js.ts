/**
 * autobahn-js as a library of the suite: its Connection, Session and serializers as they come, over `ws`, so that a
 * test can cut the connection, which the WebSocket that Node.js brings does not allow.
 */
import autobahn from "autobahn";
import nacl from "tweetnacl";
import { WebSocket } from "ws";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import {
  payloadOf,
  seedHex,
  WampError,
  type Call,
  type Client,
  type Invocation,
  type Library,
  type Payload,
  type Received,
} from "./client.ts";

type Details = Readonly<Record<string, unknown>>;

/** The calls of autobahn-js that shared/wamp/autobahn.d.ts does not have, or has narrower. */
interface Session {
  readonly id: number;
  subscribe(
    topic: string,
    handler: (args: unknown[], kwargs: Details, event: Received) => void,
    options: object,
  ): Promise<Made>;
  unsubscribe(made: Made): Promise<void>;
  register(
    procedure: string,
    handler: (args: unknown[], kwargs: Details, details: JsDetails) => unknown,
    options: object,
  ): Promise<Made>;
  unregister(made: Made): Promise<void>;
  publish(
    topic: string,
    args: readonly unknown[],
    kwargs: object,
    options: object,
  ): Promise<{ id: number }> | undefined;
  call(procedure: string, args: readonly unknown[], kwargs: object, options: object): Calling;
  leave(): void;
}

interface Made {
  readonly id: number;
}

interface Calling {
  cancel(options: { mode: string }): void;
  then(
    done: (result: unknown) => void,
    failed: (error: unknown) => void,
    progress: (some: unknown) => void,
  ): unknown;
}

interface JsDetails extends Omit<Invocation, "progress" | "interrupted"> {
  readonly progress: ((args: readonly unknown[], kwargs: object) => void) | null;
}

interface JsError {
  readonly error: string;
  readonly args: unknown[];
  readonly kwargs: Record<string, unknown>;
}

/** With its keywords, which shared/ has no use for. */
const JsError = autobahn.Error as unknown as new (
  error: string,
  args: readonly unknown[],
  kwargs: object,
) => JsError;

const SERIALIZERS = {
  json: autobahn.serializer.JSONSerializer,
  msgpack: autobahn.serializer.MsgpackSerializer,
  cbor: autobahn.serializer.CBORSerializer,
} as const;

/** What Connection wants of a transport factory, see autobahn/lib/transport/websocket.js. */
class WsTransport {
  readonly #options: { url: string; serializer: SerializerId; onsocket: (socket: WebSocket) => void };

  constructor(options: { url: string; serializer: SerializerId; onsocket: (socket: WebSocket) => void }) {
    this.#options = options;
  }

  create(): autobahn.Transport {
    const { url, serializer: id, onsocket } = this.#options;
    const serializer = new SERIALIZERS[id]();
    const socket = new WebSocket(url, `wamp.2.${id}`, { perMessageDeflate: false });
    // Its CBOR serializer is asynchronous: without this, messages would overtake each other.
    let sent = Promise.resolve();
    const transport: autobahn.Transport = {
      info: { type: "websocket", url },
      onmessage: () => {},
      onopen: () => {},
      onclose: () => {},
      send: (message) => {
        sent = sent.then(async () => {
          const frame = await serializer.serialize(message);
          if (socket.readyState === WebSocket.OPEN) socket.send(frame as Uint8Array | string);
        });
      },
      close: (code, reason) => socket.close(code, reason),
    };
    socket.on("message", (data: Buffer) =>
      transport.onmessage(serializer.unserialize(serializer.BINARY ? data : data.toString("utf8"))),
    );
    socket.on("open", () => transport.onopen());
    socket.on("error", () => {});
    socket.on("close", (code, reason) =>
      transport.onclose({ code, reason: String(reason), wasClean: code !== 1006 }),
    );
    onsocket(socket);
    return transport;
  }
}

autobahn.transports.register("ws", WsTransport);
// It warns of every connection that ends, on the console.
autobahn.log.warn = () => {};

export const autobahnJs: Library = {
  name: "autobahn-js",
  stop: () => {},
  async join({ url, realm, authid, keys, serializer }) {
    const pair = nacl.sign.keyPair.fromSeed(Buffer.from(seedHex(keys), "hex"));
    let socket: WebSocket | undefined;
    const { promise: left, resolve: resolveLeft } = Promise.withResolvers<string | undefined>();
    const { promise: joined, resolve, reject } = Promise.withResolvers<[Session, Details]>();
    const connection = new autobahn.Connection({
      transports: [{ type: "ws", url, serializer, onsocket: (made: WebSocket) => (socket = made) }],
      realm,
      authid,
      authmethods: ["cryptosign"],
      authextra: { pubkey: keys.publicHex, challenge: null, channel_binding: null },
      max_retries: 0,
      onchallenge: (_session, _method, extra) => autobahn.auth_cryptosign.sign_challenge(pair, extra),
      on_user_error: () => {},
      on_internal_error: () => {},
    });
    // Not events of an emitter, but the two places that Connection has for its callbacks.
    Object.assign(connection, {
      onopen: (session: Session, details: Details) => resolve([session, details]),
      onclose: (reason: string, details: { reason: string | null }) => {
        reject(new WampError(details.reason ?? reason));
        resolveLeft(details.reason ?? undefined);
        return true;
      },
    });
    connection.open();
    const [session, welcome] = await joined;
    return toClient(session, welcome, left, () => socket?.terminate());
  },
};

function toClient(session: Session, welcome: Details, left: Client["left"], drop: () => void): Client {
  const made = new WeakMap<object, Made>();
  const keep = <Kept extends Made>(kept: Kept, of: Made): Kept => {
    made.set(kept, of);
    return kept;
  };
  const the = (kept: object): Made => made.get(kept) ?? { id: 0 };
  return {
    id: session.id,
    welcome,
    left,
    drop,
    leave: () => session.leave(),
    async publish(topic, { args, kwargs } = payloadOf(), options = {}) {
      const published = await asked(session.publish(topic, args, kwargs, { acknowledge: true, ...options }));
      return published?.id;
    },
    async subscribe(topic, match = "exact") {
      const events: Received[] = [];
      const subscription = await asked(
        session.subscribe(topic, (args, kwargs, event) => void events.push({ ...event, args, kwargs }), {
          match,
        }),
      );
      return keep({ id: subscription.id, events }, subscription);
    },
    unsubscribe: (subscription) => asked(session.unsubscribe(the(subscription))),
    async register(procedure, handler, options = {}) {
      const never = new Promise<void>(() => {});
      const invoke = async (args: unknown[], kwargs: Details, { progress, ...details }: JsDetails) => {
        try {
          const answer = await handler({
            ...details,
            args,
            kwargs,
            progress: progress === null ? undefined : (some) => progress(some.args, some.kwargs),
            interrupted: never,
          });
          return new autobahn.Result(answer.args, answer.kwargs);
        } catch (error) {
          if (error instanceof WampError)
            throw new JsError(error.uri, error.payload.args, error.payload.kwargs);
          throw error instanceof Error ? error.message : error;
        }
      };
      const registration = await asked(session.register(procedure, invoke, options));
      return keep({ id: registration.id }, registration);
    },
    unregister: (registration) => asked(session.unregister(the(registration))),
    call(procedure, { args, kwargs } = payloadOf(), { progress: wantsProgress = false } = {}): Call {
      const progress: Payload[] = [];
      const calling = session.call(procedure, args, kwargs, wantsProgress ? { receive_progress: true } : {});
      const answer = new Promise<Payload>((resolve, reject) => {
        // A promise of when.js, whose third callback hears of progress.
        // oxlint-disable-next-line promise/valid-params
        calling.then(
          (result) => resolve(toPayload(result)),
          (error) => reject(toError(error)),
          (some) => progress.push(toPayload(some)),
        );
      });
      // Any other mode makes it forget the call, and then close the connection over the router's answer.
      return { answer, progress, cancel: () => calling.cancel({ mode: "kill" }) };
    },
  };
}

async function asked<Answer>(answer: Promise<Answer>): Promise<Answer>;
async function asked<Answer>(answer: Promise<Answer> | undefined): Promise<Answer | undefined>;
async function asked<Answer>(answer: Promise<Answer> | undefined): Promise<Answer | undefined> {
  try {
    return await answer;
  } catch (error) {
    throw toError(error);
  }
}

function toError(error: unknown): WampError {
  if (error instanceof JsError) return new WampError(error.error, payloadOf(error.args, error.kwargs));
  return new WampError("autobahn-js", payloadOf([String(error)]));
}

/** autobahn-js unpacks a result of one argument. */
function toPayload(result: unknown): Payload {
  if (result instanceof autobahn.Result) return payloadOf(result.args, result.kwargs);
  return payloadOf(result === null ? [] : [result]);
}
