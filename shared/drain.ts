/**
 * The drain protocol, version 1: what edge and relay say to each other over one WebSocket. Written out
 * with its order and limits in docs/protocol.md §3. Text frames hold one JSON message; the sealed bytes
 * of an event follow its header as binary frames.
 */
import * as v from "valibot";
import { concatBytes, encodeUtf8 } from "./bytes.ts";
import { DELIVERY_ID, NAME } from "./delivery.ts";
import { OnionhookError } from "./errors.ts";
import { TOPIC } from "./topic.ts";

export const DRAIN_SUBPROTOCOL = "onionhook.drain.1";

/** The largest binary frame, and the largest blob in a row of the outbox: a production row ends at 2 MB. */
export const CHUNK_BYTES = 1024 * 1024;

/** Characters of a text frame: the longest, with a receipt, has a fifth. Checking a longer text is itself a cost. */
const MAX_TEXT_LENGTH = 16 * 1024;

/** The most events that a relay may ask to have under way: their numbers must fit in a socket's attachment. */
export const MAX_WINDOW = 500;

/**
 * The relay's heartbeat and its answer, as whole frames: Cloudflare answers it without waking the object,
 * and remembers when.
 */
export const HEARTBEAT = '{"type":"ping"}';
export const HEARTBEAT_ANSWER = '{"type":"pong"}';
/** A relay sends a heartbeat this often. */
export const HEARTBEAT_MS = 20_000;

/** Application close codes (RFC 6455 §7.4.2 leaves 4000–4999 to us). */
export const CLOSE = {
  /** The relay did not prove who it is. */
  unauthorised: 4401,
  /** A frame that the protocol does not know. */
  protocol: 4400,
  /** The relay sent no heartbeat for too long, or did not prove in time who it is. */
  silent: 4408,
  /** The same relay opened another drain of the stream. */
  superseded: 4409,
  /** Too many sockets wait to be proven, and the lot fell on this one. */
  crowded: 4429,
} as const;

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const base64 = v.pipe(v.string(), v.base64(), v.maxLength(2048));
const name = v.pipe(v.string(), v.regex(NAME));
/** Chosen by the relay, to match a question with its answer. */
const id = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const time = v.pipe(v.string(), v.isoTimestamp());

/** Which retained events; both ends are included. */
const selection = v.union([
  v.object({ from: seq, to: seq }),
  v.object({ delivery: v.pipe(v.string(), v.regex(DELIVERY_ID)) }),
  v.object({ since: time, until: time }),
]);

const toRelay = v.variant("type", [
  v.object({ type: v.literal("challenge"), stream: name, challenge: base64 }),
  v.object({
    type: v.literal("welcome"),
    /** Whether an event is done by its recipient's receipt alone; else the relay's word does. */
    receipts: v.optional(v.boolean(), true),
    /** What this edge lets this relay ask beyond the first version of the protocol. */
    may: v.optional(v.array(v.string()), []),
  }),
  v.object({
    type: v.literal("event"),
    seq,
    topic: v.pipe(v.string(), v.regex(TOPIC)),
    delivery: v.pipe(v.string(), v.regex(DELIVERY_ID)),
    /** Size of the sealed bytes, which follow in frames of at most {@link CHUNK_BYTES}. */
    bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    /** Sent because it was asked for with `replay`. */
    replay: v.optional(v.literal(true)),
  }),
  v.object({ type: v.literal("pong") }),
  /** How many retained events a `replay` found; they follow as the window allows. */
  v.object({ type: v.literal("replaying"), id, events: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) }),
  /** How many retained events were stored anew, to be run again; `next`: there are more, to be asked for `after` it. */
  v.object({
    type: v.literal("redelivered"),
    id,
    events: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    next: v.optional(seq),
  }),
  /** The number of the relay's canary on this stream, stored now or before. */
  v.object({ type: v.literal("canary"), id, seq }),
  v.object({ type: v.literal("accepted"), seq }),
  v.object({ type: v.literal("refused"), seq, code: v.pipe(v.string(), v.regex(/^ERR_[A-Z_]{1,50}$/)) }),
]);

const toEdge = v.variant("type", [
  v.object({
    type: v.literal("hello"),
    relay: name,
    signature: base64,
    /** The relay still has all that it said `stored` for on this stream. */
    resume: v.optional(v.boolean()),
  }),
  v.object({
    type: v.literal("credit"),
    events: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_WINDOW)),
  }),
  v.object({ type: v.literal("stored"), seq }),
  /** `receipt` is left out where the recipient gives none. */
  v.object({ type: v.literal("done"), seq, receipt: v.optional(base64) }),
  /** Send retained events again, the same bytes: a builder that has one does not run it again. */
  v.object({ type: v.literal("replay"), id, of: selection }),
  /**
   * Store retained, done events anew, as redeliveries: they run again. `after`: of the selection only what has a higher
   * number. Needs `may` to have `redeliver`.
   */
  v.object({ type: v.literal("redeliver"), id, of: selection, after: v.optional(seq) }),
  /** Store an event of {@link CANARY_EVENT}. Needs `may` to have `canary`. */
  v.object({ type: v.literal("canary"), id }),
]);

export type Selection = v.InferOutput<typeof selection>;
export type ToRelay = v.InferOutput<typeof toRelay>;
/** The same as it is written: what has a default may be left out. */
export type SentToRelay = v.InferInput<typeof toRelay>;
export type ToEdge = v.InferOutput<typeof toEdge>;

/** @throws OnionhookError `ERR_DRAIN_FRAME` */
export function parseToRelay(frame: string): ToRelay {
  return parse(toRelay, frame);
}

/** @throws OnionhookError `ERR_DRAIN_FRAME` */
export function parseToEdge(frame: string): ToEdge {
  return parse(toEdge, frame);
}

function parse<Schema extends typeof toRelay | typeof toEdge>(
  schema: Schema,
  frame: string,
): v.InferOutput<Schema> {
  if (frame.length > MAX_TEXT_LENGTH)
    throw new OnionhookError("ERR_DRAIN_FRAME", "a drain frame is too long");
  let message: unknown;
  try {
    message = JSON.parse(frame);
  } catch (cause) {
    throw new OnionhookError("ERR_DRAIN_FRAME", "a drain frame is not JSON", { cause });
  }
  const result = v.safeParse(schema, message);
  if (!result.success)
    throw new OnionhookError("ERR_DRAIN_FRAME", "a drain frame is not a message of the protocol");
  return result.output;
}

/**
 * What a relay signs with Ed25519 to open a stream: the purpose, the edge's host, the stream and the
 * challenge, each ended by a NUL, so that a signature is good for nothing else.
 */
export function drainProof(host: string, stream: string, challenge: Uint8Array): Uint8Array<ArrayBuffer> {
  return concatBytes(encodeUtf8(`${DRAIN_SUBPROTOCOL}\0${host}\0${stream}\0`), challenge);
}
