/**
 * A stored event as the draft of another. The body stays sealed up in its bytes, neither cut out nor parsed: 25 MiB of JSON
 * would not fit in an object's 128 MB, so that twice the size of the event is all that is in memory.
 */
import * as v from "valibot";
import { decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
import { open, SEAL_OVERHEAD_BYTES } from "../../shared/cryptobox.ts";
import { type DeliveryRecord, deliveryRecord } from "../../shared/delivery.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { EventDraft } from "../../shared/event.ts";
import { padmeSize } from "../../shared/padding.ts";
import type { EventRow } from "../outbox/events.ts";
import { rowDamaged, type Stream } from "../outbox/stream.ts";

const SPACE = 0x20;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
/** By which a record may grow: number and time are of the same length, or a few digits longer. */
const GROWTH_BYTES = 64;

export interface Redraft {
  /** The record that the event was stored with. */
  readonly delivery: DeliveryRecord;
  /** As of a draft: puts another record in its place, once. */
  readonly finish: EventDraft["finish"];
}

/**
 * Opens a stored event.
 * @throws OnionhookError `ERR_ROW_DAMAGED`, `ERR_KEY_REVOKED` when the key it is sealed with was taken out, `ERR_NOT_OPENED`,
 * `ERR_EVENT_FORMAT` when it is no event.
 */
export function redraft({ sql, keyring }: Stream, { seq, bytes, pair_key }: EventRow): Redraft {
  const pair = pair_key === null ? undefined : keyring?.byId(pair_key);
  if (!pair) {
    throw new OnionhookError("ERR_KEY_REVOKED", "an event is sealed to a key that was taken out", {
      hint: "put the key back as the second of box_public",
    });
  }
  if (!sql.isWhole(seq)) throw rowDamaged();
  const plaintextBytes = bytes - SEAL_OVERHEAD_BYTES;
  const buffer = new Uint8Array(SEAL_OVERHEAD_BYTES + padmeSize(plaintextBytes + GROWTH_BYTES));
  let at = 0;
  for (const chunk of sql.chunks(seq)) {
    buffer.set(chunk, at);
    at += chunk.length;
  }
  buffer.set(open(buffer.subarray(0, bytes), pair.shared), SEAL_OVERHEAD_BYTES);
  return withoutRecord(buffer, bytes);
}

/** `buffer` holds a plaintext from behind the room for sealing up to `end`. */
function withoutRecord(buffer: Uint8Array<ArrayBuffer>, end: number): Redraft {
  // The braces at the end are the record's, the body's and the event's: docs/protocol.md §2, "Splice".
  const event = buffer.lastIndexOf(CLOSE_OBJECT, end - 1);
  const body = buffer.lastIndexOf(CLOSE_OBJECT, event - 1);
  // No value of a record has braces.
  const start = buffer.lastIndexOf(OPEN_OBJECT, body);
  return {
    delivery: parseRecord(buffer.subarray(start, body)),
    finish(delivery) {
      const record = encodeUtf8(JSON.stringify(delivery));
      buffer.copyWithin(start + record.length, body, event + 1);
      buffer.set(record, start);
      const length = start + record.length + (event + 1 - body);
      const padded = SEAL_OVERHEAD_BYTES + padmeSize(length - SEAL_OVERHEAD_BYTES);
      return buffer.fill(SPACE, length, padded).subarray(0, padded);
    },
  };
}

function parseRecord(bytes: Uint8Array): DeliveryRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decodeUtf8(bytes));
  } catch (cause) {
    throw notAnEvent(cause);
  }
  const record = v.safeParse(deliveryRecord, parsed);
  if (!record.success) throw notAnEvent();
  return record.output;
}

function notAnEvent(cause?: unknown): OnionhookError {
  return new OnionhookError("ERR_EVENT_FORMAT", "what a row holds is no event", { cause });
}
