/**
 * What a sealed message holds: `{"uri":URI,"args":[…],"kwargs":{…}}`, as Autobahn|Python's KeyRing writes and reads it.
 * Normative: docs/cryptobox.md §3. An event of GitHub's has its own layout inside the same seal: `event.ts`.
 */
import * as v from "valibot";
import { decodeBase64, decodeUtf8, encodeBase64, encodeUtf8 } from "./bytes.ts";
import { CRYPTOBOX, open, seal } from "./cryptobox.ts";
import { OnionhookError } from "./errors.ts";

/** How WAMP names JSON in a message's `enc_serializer`; the only one that Autobahn's KeyRing has. */
export const SEALED_SERIALIZER = "json";

export interface Payload {
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** A payload that is not the router's to read, as a message carries it. */
export interface SealedMessage {
  readonly bytes: Uint8Array;
  /** `enc_algo` */
  readonly algo: string | undefined;
  /** `enc_serializer` */
  readonly serializer: string | undefined;
}

/** Autobahn writes null for what a message does not have. */
const envelope = v.object({
  uri: v.string(),
  args: v.nullish(v.array(v.unknown()), []),
  kwargs: v.nullish(
    v.custom<Record<string, unknown>>(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
    ),
    {},
  ),
});

/**
 * @throws OnionhookError `ERR_SEALED_PAYLOAD` when the payload has no form in WAMP's JSON: a number that is not finite, a
 * BigInt, undefined, a function, a symbol, a cycle, an object that is neither plain nor a list nor a Uint8Array, or text
 * that begins with U+0000, which is how WAMP writes bytes.
 */
export function sealPayload(
  uri: string,
  { args = [], kwargs = {} }: Partial<Payload>,
  shared: Uint8Array,
): Uint8Array<ArrayBuffer> {
  let json: string;
  try {
    json = JSON.stringify({ uri, args, kwargs }, toWampJson);
  } catch {
    throw payloadError("the payload cannot be written as WAMP's JSON");
  }
  return seal(encodeUtf8(json), shared);
}

/**
 * The plaintext, and the key of these that opened it.
 * @throws OnionhookError `ERR_PLAINTEXT` when it is not sealed by cryptobox, `ERR_NOT_OPENED` when with none of these keys.
 */
export function openSealed(
  message: SealedMessage | undefined,
  keys: readonly Uint8Array[],
): { plaintext: Uint8Array; shared: Uint8Array } {
  if (message?.algo !== CRYPTOBOX || message.serializer !== SEALED_SERIALIZER)
    throw new OnionhookError("ERR_PLAINTEXT", "what is not sealed with cryptobox and json was refused", {
      hint: "somebody who may publish, call or answer here is none of those whose keys are known here",
    });
  let failure: unknown = new RangeError("no key");
  for (const shared of keys) {
    try {
      return { plaintext: open(message.bytes, shared), shared };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** @throws OnionhookError those of {@link openSealed}; `ERR_SEALED_PAYLOAD` when it is malformed, or was not sealed for `uri`. */
export function openPayload(
  uri: string,
  message: SealedMessage | undefined,
  keys: readonly Uint8Array[],
): Payload & { shared: Uint8Array } {
  const { plaintext, shared } = openSealed(message, keys);
  let inside: unknown;
  try {
    inside = JSON.parse(decodeUtf8(plaintext), fromWampJson);
  } catch {
    // The parser's own words would repeat some of the plaintext.
    throw payloadError("what was opened is not WAMP's JSON");
  }
  const payload = v.safeParse(envelope, inside);
  if (!payload.success) throw payloadError("what was opened holds no arguments");
  if (payload.output.uri !== uri) throw payloadError("what was opened was sealed for another URI");
  const { args, kwargs } = payload.output;
  return { args, kwargs, shared };
}

function payloadError(message: string): OnionhookError {
  return new OnionhookError("ERR_SEALED_PAYLOAD", message);
}

// `this[key]` and not `value`: the toJSON of Node's Buffer has already replaced that.
function toWampJson(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const original = this[key];
  if (original instanceof Uint8Array) return `\0${encodeLong(original)}`;
  if (typeof value === "string" && value.startsWith("\0")) throw new RangeError("text that begins with NUL");
  if (typeof value === "number" && !Number.isFinite(value))
    throw new RangeError("a number that is not finite");
  // JSON leaves these out, or writes null for them.
  if (value === undefined || typeof value === "function" || typeof value === "symbol")
    throw new TypeError(`a ${typeof value}`);
  if (value !== original || !isPlain(value)) throw new TypeError("an object of a class");
  return value;
}

/** As JSON writes it whole: a Map it writes as an object without members. */
function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function fromWampJson(_key: string, value: unknown): unknown {
  return typeof value === "string" && value.startsWith("\0") ? decodeBase64(value.slice(1)) : value;
}

/** Bytes at a time: a multiple of 3, so that the parts join, and few enough to be a call's arguments. */
const PART_BYTES = 3 * 8192;

function encodeLong(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += PART_BYTES)
    text += encodeBase64(bytes.subarray(at, at + PART_BYTES));
  return text;
}
