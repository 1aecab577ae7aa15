import { malformed, unusable } from "./faults.ts";

/**
 * What a message carries for the application, and passes on unread: `[]`, `[args]`, `[args, kwargs]`, or,
 * in payload transparency mode, `[bytes]`.
 */
export interface Payload {
  readonly tail: readonly unknown[];
  /** `enc_algo`, `enc_key` and `enc_serializer` as they came; empty unless the tail holds bytes. */
  readonly encoding: Readonly<Record<string, string>>;
}

export type Dict = Readonly<Record<string, unknown>>;

/** What Autobahn knows; private ones begin with `x_` (`autobahn/wamp/message.py`, `is_valid_enc_algo`). */
const ALGORITHMS = new Set(["cryptobox", "mqtt", "xbr"]);
const SERIALIZERS = new Set(["json", "msgpack", "cbor", "ubjson", "flatbuffers"]);
const PRIVATE_NAME = /^x_([a-z][\da-z_]+)?$/u;

/** @throws ProtocolFault for arguments of a wrong type, null among them, and for unknown encodings. */
export function parsePayload(tail: readonly unknown[], options: Dict): Payload {
  const [args, kwargs] = tail;
  if (tail.length === 1 && args instanceof Uint8Array) return { tail, encoding: parseEncoding(options) };
  if (tail.length === 1 && typeof args === "string") throw unusable("a payload is text, not bytes");
  if (tail.length > 2) throw malformed("too many elements");
  if (tail.length > 0 && !Array.isArray(args)) throw malformed("args must be a list");
  if (tail.length > 1 && !isDict(kwargs)) throw malformed("kwargs must be a dictionary");
  return { tail, encoding: {} };
}

export function isDict(value: unknown): value is Dict {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function parseEncoding(options: Dict): Record<string, string> {
  const encoding: Record<string, string> = {};
  for (const key of ["enc_algo", "enc_key", "enc_serializer"]) {
    const value = options[key];
    if (value === undefined || value === null) continue;
    if (typeof value !== "string" || !isKnown(key, value)) throw malformed(`unknown ${key}`);
    encoding[key] = value;
  }
  return encoding;
}

function isKnown(key: string, value: string): boolean {
  if (key === "enc_key" || PRIVATE_NAME.test(value)) return true;
  return (key === "enc_algo" ? ALGORITHMS : SERIALIZERS).has(value);
}
