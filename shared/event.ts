/**
 * The plaintext of a sealed event, docs/protocol.md §2:
 *
 *     {"uri":TOPIC,"args":[],"kwargs":{…the webhook's body…,"_delivery":{…}}} and padding
 *
 * The body is spliced in as bytes and cut out again as bytes, so that big integers, key order and
 * white space survive and GitHub's signature can be checked a second time by the receiver.
 */
import * as v from "valibot";
import { concatBytes, decodeUtf8, encodeUtf8 } from "./bytes.ts";
import { type DeliveryRecord, deliveryRecord } from "./delivery.ts";
import { OnionhookError } from "./errors.ts";
import { padmeSize } from "./padding.ts";

const SPACE = 0x20;
const CLOSE_OBJECT = 0x7d;
const OPEN_OBJECT = 0x7b;
const REPLACEMENT_ESCAPE = encodeUtf8("\\uFFFD");

/** An event as its receiver sees it. */
export interface OpenedEvent {
  topic: string;
  delivery: DeliveryRecord;
  /** The webhook's body byte for byte as GitHub sent it, unless `delivery.altered`. */
  rawBody: Uint8Array;
}

/**
 * Rewrites, in place, each escape `\u0000` at `offsets` to `\uFFFD`: Autobahn takes a string that begins
 * with NUL for base64 and drops the event when it is not. The length stays the same.
 */
export function replaceLeadingNul(body: Uint8Array, offsets: readonly number[]): void {
  for (const offset of offsets) body.set(REPLACEMENT_ESCAPE, offset);
}

/** A plaintext whose body is still to come. */
export interface EventDraft {
  /** Where the body's bytes go, all of them; they must pass `scanBody`. */
  readonly body: Uint8Array;
  /** Adds what follows the body and the padding. The result is the `room` and then the plaintext. */
  finish(delivery: DeliveryRecord): Uint8Array<ArrayBuffer>;
}

/** More than a {@link DeliveryRecord} takes with the longest of every field. */
const MAX_RECORD_BYTES = 1024;

/**
 * One buffer for the whole life of a plaintext, however large: the body is read into it, and it is sealed
 * in it. `room`: bytes to leave free at its start.
 */
export function draftEvent(topic: string, bodyBytes: number, room: number): EventDraft {
  const before = encodeUtf8(head(topic));
  const start = room + before.length;
  const buffer = new Uint8Array(room + padmeSize(before.length + bodyBytes + MAX_RECORD_BYTES));
  buffer.set(before, room);
  const body = buffer.subarray(start, start + bodyBytes);
  return {
    body,
    finish(delivery) {
      const close = start + closingBrace(body);
      const empty = lastVisible(buffer, close) === buffer.indexOf(OPEN_OBJECT, start);
      const inserted = encodeUtf8(insertion(empty, JSON.stringify(delivery)));
      buffer.copyWithin(close + inserted.length, close, start + bodyBytes);
      buffer.set(inserted, close);
      const end = start + bodyBytes + inserted.length;
      buffer[end] = CLOSE_OBJECT;
      const padded = room + padmeSize(end + 1 - room);
      return buffer.fill(SPACE, end + 1, padded).subarray(0, padded);
    },
  };
}

/** The padded plaintext of a body that is there already; see {@link draftEvent}. */
export function encodeEvent(
  topic: string,
  delivery: DeliveryRecord,
  body: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const draft = draftEvent(topic, body.length, 0);
  draft.body.set(body);
  return draft.finish(delivery);
}

/**
 * Reads a plaintext that was opened from an event on `topic`.
 * @throws OnionhookError `ERR_EVENT_URI` when it was sealed for another topic, `ERR_EVENT_FORMAT` when it
 * is not what {@link encodeEvent} builds.
 */
export function decodeEvent(topic: string, plaintext: Uint8Array): OpenedEvent {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decodeUtf8(plaintext));
  } catch (cause) {
    throw new OnionhookError("ERR_EVENT_FORMAT", "the opened event is not JSON", { cause });
  }
  const event = v.safeParse(envelope, parsed);
  if (!event.success)
    throw new OnionhookError("ERR_EVENT_FORMAT", "the opened event lacks a field of the wire format");
  if (event.output.uri !== topic) {
    throw new OnionhookError(
      "ERR_EVENT_URI",
      "the event was sealed for another topic than the one it came on",
    );
  }
  const delivery = event.output.kwargs._delivery;
  return { topic, delivery, rawBody: cutBody(plaintext, encodeUtf8(head(topic)), delivery.body_bytes) };
}

const envelope = v.object({
  uri: v.string(),
  args: v.tuple([]),
  kwargs: v.object({ _delivery: deliveryRecord }),
});

function head(topic: string): string {
  return `{"uri":"${topic}","args":[],"kwargs":`;
}

/**
 * The inverse of the splice. After head and body, what remains is the inserted text and one brace, so
 * the known size of the body tells the size of the insertion; it ends before the body's own last brace.
 * A size that does not lead to the inserted key is refused.
 */
function cutBody(plaintext: Uint8Array, expectedHead: Uint8Array, bodyBytes: number): Uint8Array {
  const outerClose = closingBrace(plaintext);
  const close = closingBrace(plaintext.subarray(0, outerClose));
  const bodyStart = expectedHead.length;
  const cut = close - (outerClose - bodyStart - bodyBytes);
  const empty = lastVisible(plaintext, cut) === plaintext.indexOf(OPEN_OBJECT, bodyStart);
  const isSplice =
    startsWith(plaintext, 0, expectedHead) && startsWith(plaintext, cut, encodeUtf8(insertion(empty, "{")));
  if (!isSplice) {
    throw new OnionhookError(
      "ERR_EVENT_FORMAT",
      "the opened event does not hold a body of the size it states",
    );
  }
  return concatBytes(plaintext.subarray(bodyStart, cut), plaintext.subarray(close, outerClose));
}

/** What stands between the body and its last brace: our key, after a comma unless the body is empty. */
function insertion(empty: boolean, record: string): string {
  return `${empty ? "" : ","}"_delivery":${record}`;
}

function startsWith(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  return expected.every((byte, index) => bytes[at + index] === byte);
}

function closingBrace(json: Uint8Array): number {
  return json.lastIndexOf(CLOSE_OBJECT);
}

function lastVisible(json: Uint8Array, before: number): number {
  let at = before - 1;
  while (json[at] === SPACE || json[at] === 0x0a || json[at] === 0x0d || json[at] === 0x09) at -= 1;
  return at;
}
