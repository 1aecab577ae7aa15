/** A WebSocket client that sends whatever bytes it is told to: `ws` would not write a frame that is wrong. */
import { connect, type Socket } from "node:net";
import { serializerOf } from "../router/raw-client.ts";
import type { SerializerId } from "../../shared/wamp/serializers.ts";

export interface Frame {
  readonly opcode?: number;
  readonly payload?: Uint8Array;
  readonly final?: boolean;
  /** The three bits that extensions would use. */
  readonly reserved?: number;
  readonly masked?: boolean;
  /** Instead of the payload's own. */
  readonly length?: bigint;
}

export const TEXT = 1;
export const BINARY = 2;
const CLOSE = 8;

const MASK = Buffer.from([1, 2, 3, 4]);

/** RFC 6455 §5.2, with every liberty. */
export function writeFrame({
  opcode = BINARY,
  payload = new Uint8Array(),
  final = true,
  reserved = 0,
  masked = true,
  length,
}: Frame): Buffer {
  const size = length ?? BigInt(payload.byteLength);
  const first = (final ? 0x80 : 0) | (reserved << 4) | opcode;
  const flag = masked ? 0x80 : 0;
  let head: Buffer;
  if (size < 126n) head = Buffer.from([first, flag | Number(size)]);
  else if (size < 65_536n) {
    head = Buffer.from([first, flag | 126, 0, 0]);
    head.writeUInt16BE(Number(size), 2);
  } else {
    head = Buffer.alloc(10);
    head.set([first, flag | 127]);
    head.writeBigUInt64BE(size, 2);
  }
  if (!masked) return Buffer.concat([head, payload]);
  const body = Buffer.from(payload);
  for (let at = 0; at < body.length; at++) body[at] = (body[at] ?? 0) ^ (MASK[at % 4] ?? 0);
  return Buffer.concat([head, MASK, body]);
}

export class RawSocket {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  /** Frames of the router that nobody has asked for yet. */
  readonly #inbox: Buffer[] = [];
  #waiting: ((frame: Buffer | undefined) => void) | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #upgraded = false;
  #over = false;
  readonly #heard: (bytes: Buffer) => void;

  /** `heard` is given every byte that comes. */
  constructor(port: number, id: SerializerId, heard: (bytes: Buffer) => void) {
    this.#heard = heard;
    this.socket = connect(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.socket.write(upgradeRequest(id));
    this.socket.on("data", (bytes) => this.#take(bytes));
    this.socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      this.socket.once("close", () => {
        this.#over = true;
        this.#waiting?.(undefined);
        resolve();
      });
    });
  }

  send(frame: Frame): void {
    this.sendBytes(writeFrame(frame));
  }

  sendBytes(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** The payload of the next data frame; undefined once the connection is closing. */
  next(): Promise<Buffer | undefined> {
    const frame = this.#inbox.shift();
    if (frame !== undefined || this.#over) return Promise.resolve(frame);
    return new Promise((resolve) => {
      this.#waiting = (payload) => {
        this.#waiting = undefined;
        resolve(payload);
      };
    });
  }

  end(): void {
    this.socket.destroy();
  }

  #take(bytes: Buffer): void {
    this.#heard(bytes);
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (!this.#upgraded) {
      const end = this.#rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.#rest = this.#rest.subarray(end + 4);
      this.#upgraded = true;
    }
    for (let frame = this.#cut(); frame !== undefined; frame = this.#cut()) this.#deliver(frame);
  }

  #deliver({ opcode, payload }: { opcode: number; payload: Buffer }): void {
    if (opcode === CLOSE) {
      // As a client does: the router waits for this one before it hangs up.
      this.socket.end(writeFrame({ opcode: CLOSE, payload }));
      this.#over = true;
      this.#waiting?.(undefined);
    } else if (opcode === TEXT || opcode === BINARY) {
      if (this.#waiting) this.#waiting(payload);
      else this.#inbox.push(payload);
    }
  }

  #cut(): { opcode: number; payload: Buffer } | undefined {
    const bytes = this.#rest;
    if (bytes.length < 2) return undefined;
    let length = (bytes[1] ?? 0) & 0x7f;
    let at = 2;
    if (length === 126) {
      if (bytes.length < 4) return undefined;
      length = bytes.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (bytes.length < 10) return undefined;
      length = Number(bytes.readBigUInt64BE(2));
      at = 10;
    }
    if (bytes.length < at + length) return undefined;
    this.#rest = bytes.subarray(at + length);
    return { opcode: (bytes[0] ?? 0) & 0x0f, payload: bytes.subarray(at, at + length) };
  }
}

export function upgradeRequest(id: SerializerId): string {
  return [
    "GET /ws HTTP/1.1",
    "Host: 127.0.0.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Protocol: wamp.2.${id}`,
    "",
    "",
  ].join("\r\n");
}

/** A WAMP message's bytes. */
export function encode(id: SerializerId, message: readonly unknown[]): Buffer {
  const frame = serializerOf(id).serialize(message);
  return typeof frame === "string" ? Buffer.from(frame) : Buffer.from(frame);
}
