/** A WAMP client that does nothing by itself: a test sends lists and awaits lists. */
import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { WebSocket, type ClientOptions } from "ws";
import {
  serializers,
  subprotocol,
  type Serializer,
  type SerializerId,
} from "../../shared/wamp/serializers.ts";
import type { Endpoint } from "../../router/listener.ts";

export interface KeyPair {
  readonly privateKey: KeyObject;
  /** 64 hex digits, as in `authorized_keys`. */
  readonly publicHex: string;
}

export function newKeyPair(): KeyPair {
  const { privateKey } = generateKeyPairSync("ed25519");
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return { privateKey, publicHex: spki.subarray(-32).toString("hex") };
}

export function serializerOf(id: SerializerId): Serializer {
  const found = serializers.find((each) => each.id === id);
  if (found === undefined) throw new TypeError(`no serializer ${id}`);
  return found;
}

export class RawClient {
  readonly ws: WebSocket;
  readonly serializer: Serializer;
  readonly #inbox: unknown[][] = [];
  readonly #waiting: Array<(message: unknown[]) => void> = [];
  /** Settles with the WebSocket close code, however the connection ends. */
  readonly closed: Promise<number>;
  session = 0;
  welcome: Record<string, unknown> = {};

  private constructor(ws: WebSocket, serializer: Serializer) {
    this.ws = ws;
    this.serializer = serializer;
    ws.on("message", (data: Buffer) => {
      const message = serializer.parse(data);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#inbox.push(message);
      else waiting(message);
    });
    ws.on("error", () => {});
    this.closed = new Promise((resolve) => ws.once("close", resolve));
  }

  /** Opens a WebSocket and says nothing yet. Rejects when the router refuses the upgrade. */
  static async dial(
    endpoint: Endpoint,
    id: SerializerId = "msgpack",
    options?: ClientOptions,
  ): Promise<RawClient> {
    const serializer = serializerOf(id);
    const url =
      "path" in endpoint ? `ws+unix://${endpoint.path}:/` : `ws://${endpoint.host}:${endpoint.port}/ws`;
    const ws = new WebSocket(url, subprotocol(serializer), { perMessageDeflate: false, ...options });
    const client = new RawClient(ws, serializer);
    await once(ws, "open");
    return client;
  }

  /** Opens a WebSocket and joins the realm `onionhook`. */
  static async join(
    endpoint: Endpoint,
    authid: string,
    keys: KeyPair,
    id?: SerializerId,
    options?: ClientOptions,
  ): Promise<RawClient> {
    const client = await RawClient.dial(endpoint, id, options);
    client.hello(authid, keys.publicHex);
    const [, , extra] = await client.next();
    client.send([5, answer(keys, challengeOf(extra)), {}]);
    const [type, session, details] = await client.next();
    if (type !== 2) throw new Error(`not welcome: ${String(details)}`);
    // Crossbar.io's are above 2^32: some serializers make BigInts of those.
    client.session = Number(session);
    client.welcome = record(details);
    return client;
  }

  hello(authid: string | undefined, pubkey: string, changes: Record<string, unknown> = {}): void {
    const roles = { publisher: {}, subscriber: {}, caller: {}, callee: {} };
    const details = { roles, authmethods: ["cryptosign"], authextra: { pubkey, channel_binding: null } };
    this.send([1, "onionhook", { ...details, ...(authid && { authid }), ...changes }]);
  }

  send(message: readonly unknown[]): void {
    this.ws.send(this.serializer.serialize(message), { binary: this.serializer.binary });
  }

  /** The next message, however long it takes. */
  next(): Promise<unknown[]> {
    const message = this.#inbox.shift();
    if (message !== undefined) return Promise.resolve(message);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Sends, and gives the next message. */
  ask(message: readonly unknown[]): Promise<unknown[]> {
    this.send(message);
    return this.next();
  }

  /**
   * Everything that came up to the router's answer to one more request, which is not given: what has
   * not come before it will not come.
   */
  async settled(): Promise<unknown[][]> {
    const request = 999_999;
    this.send([66, request, 1]);
    const before: unknown[][] = [];
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop
      const message = await this.next();
      if (message[0] === 8 && message[2] === request) return before;
      before.push(message);
    }
  }

  /** Everything that comes until the connection is closed. */
  async rest(): Promise<unknown[][]> {
    await this.closed;
    return this.#inbox.splice(0);
  }

  end(): void {
    this.ws.terminate();
  }
}

export function challengeOf(extra: unknown): Uint8Array {
  return Buffer.from(String(record(extra)["challenge"]), "hex");
}

/** What AUTHENTICATE carries: signature and challenge. */
export function answer({ privateKey }: KeyPair, challenge: Uint8Array): string {
  return Buffer.concat([sign(null, challenge, privateKey), challenge]).toString("hex");
}

export function bytes(value: unknown): Buffer {
  if (!(value instanceof Uint8Array)) throw new TypeError("not bytes");
  return Buffer.from(value);
}

export function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new TypeError("not an object");
  return { ...value };
}
