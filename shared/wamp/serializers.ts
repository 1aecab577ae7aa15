/**
 * WAMP messages to bytes and back: json, msgpack and cbor, for our client and our router alike.
 *
 * Binary values travel as they are in msgpack and cbor; JSON has none, so WAMP writes them as a
 * string of U+0000 and base64 (WAMP Basic Profile, "Binary conversion of JSON strings").
 * Source of the names: the WebSocket subprotocols `wamp.2.<id>`.
 */
import { Encoder as CborEncoder } from "cbor-x";
import { Packr } from "msgpackr";
import { OnionhookError } from "../errors.ts";
import { checkCbor, checkJson, checkMsgpack } from "./frame-grammar.ts";

declare global {
  interface JSON {
    /** In V8 since 11.4, not yet in TypeScript's libraries: https://github.com/tc39/proposal-json-parse-with-source */
    rawJSON(text: string): unknown;
  }
}

export type SerializerId = "json" | "msgpack" | "cbor";

export interface Serializer {
  readonly id: SerializerId;
  /** Whether its WebSocket frames are binary. */
  readonly binary: boolean;
  /** @throws TypeError for what it has no form for: on JSON, text that begins with U+0000, which would be read as bytes. */
  serialize(message: readonly unknown[]): Uint8Array | string;
  /** @throws OnionhookError `ERR_WAMP_MESSAGE` when the frame does not hold a list, or more than WAMP has (frame-grammar.ts). */
  parse(frame: Uint8Array): unknown[];
}

const msgpack = new Packr({ useRecords: false, mapsAsObjects: true });
// tagUint8Array would wrap bytes in a typed-array tag that Autobahn|Python does not know.
const cbor = new CborEncoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });

/** Every serializer, the preferred one first. */
export const serializers: readonly Serializer[] = [
  {
    id: "msgpack",
    binary: true,
    serialize: (message) => msgpack.pack(message),
    parse: (frame) => list(frame, checkMsgpack, () => msgpack.unpack(frame)),
  },
  {
    id: "cbor",
    binary: true,
    serialize: (message) => cbor.encode(message),
    parse: (frame) => list(frame, checkCbor, () => cbor.decode(frame)),
  },
  {
    id: "json",
    binary: false,
    serialize: (message) => `[${message.map(elementToJson).join(",")}]`,
    parse: (frame) => list(frame, checkJson, () => jsonToValue(JSON.parse(decodeUtf8(frame)))),
  },
];

const SUBPROTOCOL = "wamp.2.";

/** The WebSocket subprotocol of a serializer, e.g. `wamp.2.msgpack`. */
export function subprotocol(serializer: Serializer): string {
  return SUBPROTOCOL + serializer.id;
}

/** The serializer that a WebSocket subprotocol names, if it is one of ours. */
export function serializerFor(protocol: string): Serializer | undefined {
  return serializers.find((serializer) => subprotocol(serializer) === protocol);
}

function list(frame: Uint8Array, check: (frame: Uint8Array) => void, parse: () => unknown): unknown[] {
  check(frame);
  let message: unknown;
  try {
    message = parse();
  } catch (cause) {
    throw new OnionhookError("ERR_WAMP_MESSAGE", "a WAMP frame could not be parsed", { cause });
  }
  if (!Array.isArray(message))
    throw new OnionhookError("ERR_WAMP_MESSAGE", "a WAMP frame did not hold a list");
  return message;
}

function decodeUtf8(frame: Uint8Array): string {
  return Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString("utf8");
}

// A sealed payload is an element of its own. It is written here and not by the replacer, because a
// Buffer's toJSON would first make a list of 25 million numbers; and base64 needs no escaping.
function elementToJson(element: unknown): string {
  if (element instanceof Uint8Array) return `"\\u0000${base64(element)}"`;
  return JSON.stringify(element, valueToJson) ?? "null";
}

// `this[key]` and not `value`: Buffer's own toJSON has already replaced the value by a plain object.
function valueToJson(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const original = this[key];
  if (original instanceof Uint8Array) return `\0${base64(original)}`;
  if (typeof original === "string" && original.startsWith("\0"))
    throw new TypeError("text that JSON has for bytes");
  // msgpack and cbor give 64-bit integers as BigInt, which JSON.stringify refuses.
  return typeof value === "bigint" ? JSON.rawJSON(String(value)) : value;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

// A reviver would do the same in twice the time.
function jsonToValue(value: unknown): unknown {
  if (typeof value === "string")
    // Half of a surrogate pair is no text in UTF-8; the other decoders have U+FFFD for it too.
    return value.startsWith("\0") ? Buffer.from(value.slice(1), "base64") : value.toWellFormed();
  if (typeof value === "object" && value !== null)
    for (const [key, inner] of Object.entries(value)) {
      const wellFormed = key.toWellFormed();
      const found = jsonToValue(inner);
      if (wellFormed !== key) Reflect.deleteProperty(value, key);
      if (wellFormed !== key || found !== inner) Object.assign(value, { [wellFormed]: found });
    }
  return value;
}
