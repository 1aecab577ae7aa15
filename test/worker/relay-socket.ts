/** A relay's end of the drain, over a real WebSocket to the edge. */
import { exports } from "cloudflare:workers";
import nacl from "tweetnacl";
import { concatBytes, decodeBase64, encodeBase64 } from "../../shared/bytes.ts";
import {
  DRAIN_SUBPROTOCOL,
  drainProof,
  parseToRelay,
  type Selection,
  type ToEdge,
  type ToRelay,
} from "../../shared/drain.ts";
import { EDGE } from "./deliver.ts";
import { relays, STREAM } from "./parties.ts";

export interface DrainedEvent {
  seq: number;
  topic: string;
  delivery: string;
  sealed: Uint8Array<ArrayBuffer>;
  /** Sizes of the binary frames that it came in. */
  frames: number[];
  /** Whether it came because it was asked for again. */
  replay: boolean;
}

/** With which key a relay dials, and for which stream: its own and the only one, unless they are named. */
interface Dialling {
  secretKey?: Uint8Array;
  stream?: string;
  /** Whether it says that it has all that it stored. */
  resume?: boolean;
}

export interface Closed {
  code: number;
  reason: string;
}

/** What a relay without further rights is told where receipts are given. */
export const WELCOME: ToRelay = { type: "welcome", receipts: true, may: ["canary"] };

/** No event has this number: asking for it to be done is answered at once, behind all that was sent before. */
const NO_SUCH_SEQ = 999_999_999;

export class RelaySocket {
  readonly subprotocol: string | null;
  readonly closed: Promise<Closed>;
  readonly #socket: WebSocket;
  readonly #arrived: (string | Uint8Array)[] = [];
  #wake = (): void => {};

  private constructor(response: Response) {
    if (!response.webSocket) throw new Error(`no WebSocket: ${response.status}`);
    this.subprotocol = response.headers.get("sec-websocket-protocol");
    this.#socket = response.webSocket;
    this.#socket.binaryType = "arraybuffer";
    this.closed = new Promise((resolve) => {
      this.#socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
    });
    this.#socket.addEventListener("message", ({ data }) => {
      this.#arrived.push(data instanceof ArrayBuffer ? new Uint8Array(data) : String(data));
      this.#wake();
    });
    this.#socket.accept();
  }

  /** Dials; the edge's challenge is then the first frame. */
  static async dial(stream?: string): Promise<RelaySocket> {
    const response = await upgrade(stream);
    return new RelaySocket(response);
  }

  /** Dials and proves who it is. */
  static async open(
    relay: keyof typeof relays = "relay-one",
    { stream, secretKey = relays[relay].secretKey, resume }: Dialling = {},
  ): Promise<RelaySocket> {
    const socket = await RelaySocket.dial(stream);
    const proof = hello(await socket.challenge(), { relay, secretKey, stream: stream ?? STREAM });
    socket.send(resume === undefined ? proof : { ...proof, resume });
    const welcome = await socket.message();
    if (welcome.type !== "welcome") throw new Error(`no welcome: ${welcome.type}`);
    return socket;
  }

  send(message: ToEdge): void {
    this.sendRaw(JSON.stringify(message));
  }

  sendRaw(frame: string | Uint8Array): void {
    this.#socket.send(frame);
  }

  close(code?: number): void {
    this.#socket.close(code);
  }

  /** Closes, and waits until the edge has noticed. */
  async leave(code?: number): Promise<void> {
    this.close(code);
    await this.closed;
  }

  async challenge(): Promise<Uint8Array> {
    const message = await this.message();
    if (message.type !== "challenge") throw new Error(`no challenge: ${message.type}`);
    return decodeBase64(message.challenge);
  }

  async message(): Promise<ToRelay> {
    const frame = await this.#frame();
    if (typeof frame !== "string") throw new Error(`a binary frame of ${frame.length} bytes`);
    return parseToRelay(frame);
  }

  async event(): Promise<DrainedEvent> {
    const message = await this.message();
    if (message.type !== "event") throw new Error(`no event: ${JSON.stringify(message)}`);
    return this.#rest(message);
  }

  async #rest(message: ToRelay & { type: "event" }): Promise<DrainedEvent> {
    const frames: Uint8Array[] = [];
    for (let missing = message.bytes; missing > 0;) {
      const frame = await this.#frame();
      if (typeof frame === "string") throw new Error("a text frame inside an event");
      frames.push(frame);
      missing -= frame.length;
    }
    const { seq, topic, delivery } = message;
    return {
      seq,
      topic,
      delivery,
      sealed: concatBytes(...frames),
      frames: frames.map(({ length }) => length),
      replay: message.replay ?? false,
    };
  }

  /** Grants credit and takes `count` events. */
  async drain(credit: number, count = credit): Promise<[DrainedEvent, ...DrainedEvent[]]> {
    this.send({ type: "credit", events: credit });
    const [first, ...others] = await this.events(count);
    if (!first) throw new Error("no event");
    return [first, ...others];
  }

  async events(count: number): Promise<DrainedEvent[]> {
    const events: DrainedEvent[] = [];
    while (events.length < count) events.push(await this.event());
    return events;
  }

  /** What the edge says to `done`. */
  async done(seq: number, receipt?: Uint8Array | string): Promise<ToRelay> {
    const text = receipt instanceof Uint8Array ? encodeBase64(receipt) : receipt;
    this.send({ type: "done", seq, ...(text === undefined ? {} : { receipt: text }) });
    return this.message();
  }

  /** How many events the edge will send again. */
  async replay(of: Selection, askedAs = 1): Promise<number> {
    this.send({ type: "replay", id: askedAs, of });
    const answer = await this.message();
    if (answer.type !== "replaying" || answer.id !== askedAs)
      throw new Error(`no replay: ${JSON.stringify(answer)}`);
    return answer.events;
  }

  /** How many events the edge has stored anew, and after which number there are more. */
  async redeliver(of: Selection, after?: number): Promise<{ events: number; next: number | undefined }> {
    this.send({ type: "redeliver", id: 5, of, ...(after === undefined ? {} : { after }) });
    const answer = await this.message();
    if (answer.type !== "redelivered" || answer.id !== 5)
      throw new Error(`no redelivery: ${JSON.stringify(answer)}`);
    return { events: answer.events, next: answer.next };
  }

  /** The number of the stream's newest canary, once it was asked for one. */
  async canary(): Promise<number> {
    this.send({ type: "canary", id: 6 });
    const answer = await this.message();
    if (answer.type !== "canary" || answer.id !== 6) throw new Error(`no canary: ${JSON.stringify(answer)}`);
    return answer.seq;
  }

  /** Whether the edge has sent nothing more: its next frame answers a question that is asked only now. */
  async isQuiet(): Promise<boolean> {
    const answer = await this.done(NO_SUCH_SEQ, "AAAA");
    return answer.type === "refused" && answer.seq === NO_SUCH_SEQ && this.#arrived.length === 0;
  }

  /** All events that the edge has sent until it answers a question that is asked only now, its answers left out. */
  async eventsByNow(): Promise<DrainedEvent[]> {
    this.send({ type: "done", seq: NO_SUCH_SEQ });
    const events: DrainedEvent[] = [];
    for (;;) {
      const message = await this.message();
      if (message.type === "event") events.push(await this.#rest(message));
      else if (message.type === "refused" && message.seq === NO_SUCH_SEQ) return events;
      else if (message.type !== "accepted") throw new Error(`no event: ${JSON.stringify(message)}`);
    }
  }

  async #frame(): Promise<string | Uint8Array> {
    for (;;) {
      const frame = this.#arrived.shift();
      if (frame !== undefined) return frame;
      await Promise.race([
        new Promise<void>((resolve) => (this.#wake = resolve)),
        this.closed.then(({ code, reason }) => Promise.reject(new Error(`closed: ${code} ${reason}`))),
      ]);
    }
  }
}

export function upgrade(stream?: string): Promise<Response> {
  const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": DRAIN_SUBPROTOCOL };
  return exports.default.fetch(`${EDGE}/drain${stream === undefined ? "" : `?stream=${stream}`}`, {
    headers,
  });
}

/** A relay's proof, true unless `changes` says otherwise. */
export function hello(
  challenge: Uint8Array,
  changes: { relay?: string; secretKey?: Uint8Array; host?: string; stream?: string } = {},
): ToEdge & { type: "hello" } {
  const { relay = "relay-one", secretKey = relays["relay-one"].secretKey } = changes;
  const proof = drainProof(changes.host ?? new URL(EDGE).host, changes.stream ?? STREAM, challenge);
  return { type: "hello", relay, signature: encodeBase64(nacl.sign.detached(proof, secretKey)) };
}
