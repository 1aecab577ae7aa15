/**
 * Done events, stored anew because a relay asked for it: they run again, as after a redelivery of GitHub's. Of the rows of
 * one delivery the oldest in the selection stands for all, so that neither what a request stored itself nor what
 * earlier ones did is stored anew by it; unless that oldest is purged between two of its frames.
 */
import { OnionhookError } from "../../shared/errors.ts";
import type { EventRow } from "../outbox/events.ts";
import type { SelectionOf } from "../outbox/replays.ts";
import { redraft } from "./redraft.ts";
import { reportStored, storeEvent } from "../outbox/store.ts";
import { reportLeftOut, type Stream } from "../outbox/stream.ts";

/** Events gone through for one frame: a frame's work holds up the whole object. */
const MAX_REDELIVERED_EVENTS = 200;
/** Sealed bytes for one frame, or one event of any size: 0.3 s of CPU time, as measured with Node.js. */
const MAX_REDELIVERED_BYTES = 16 * 1024 * 1024;

/**
 * Stores anew what {@link OutboxSql.nextRedelivery} has after `after`, one at a time, as far as one frame may: how many
 * these were, and `next` if there is more after that number. What cannot be opened is reported and left out.
 */
export function redeliver(
  stream: Stream,
  of: SelectionOf,
  after: number,
  now: number,
): { events: number; next?: number } {
  let events = 0;
  let bytes = 0;
  let last = after;
  for (let seen = 0; ; seen += 1) {
    const row = stream.sql.nextRedelivery(of, last);
    if (!row) return { events };
    const isFull = seen === MAX_REDELIVERED_EVENTS || (seen > 0 && bytes + row.bytes > MAX_REDELIVERED_BYTES);
    if (isFull) return { events, next: last };
    if (storeAnew(stream, row, now)) events += 1;
    bytes += row.bytes;
    last = row.seq;
  }
}

function storeAnew(stream: Stream, old: EventRow & { body_tag: string }, now: number): boolean {
  try {
    const { delivery, finish } = redraft(stream, old);
    const record = { ...delivery, redelivery: true };
    const row = storeEvent(stream, { topic: old.topic, bodyTag: old.body_tag, record, finish }, now);
    reportStored(stream, row, false);
    return true;
  } catch (error) {
    if (!(error instanceof OnionhookError)) throw error;
    reportLeftOut(stream, old, error);
    return false;
  }
}
