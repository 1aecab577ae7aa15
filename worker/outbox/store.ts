/** How an event gets into a stream's outbox, wherever it comes from. */
import { sealInPlace, sealTag } from "../../shared/cryptobox.ts";
import type { DeliveryRecord } from "../../shared/delivery.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { EventDraft } from "../../shared/event.ts";
import type { EventRow } from "./events.ts";
import type { Stream } from "./stream.ts";

export interface NewEvent {
  topic: string;
  bodyTag: string;
  /** All of the record but what is known only when the event gets its number. */
  record: Omit<DeliveryRecord, "v" | "received_at" | "stream" | "seq">;
  /** The plaintext with the whole record, behind as many free bytes as sealing adds. */
  finish: EventDraft["finish"];
}

/**
 * Numbers, seals and stores an event in one step: nothing is awaited, so that no other gets the number.
 * @throws OnionhookError `ERR_STREAM` when the recipient has no key for the topic.
 */
export function storeEvent(
  { name, keyring, sql }: Stream,
  { topic, bodyTag, record, finish }: NewEvent,
  now: number,
): EventRow {
  const pair = keyring?.forTopic(topic);
  if (!pair) throw new OnionhookError("ERR_STREAM", "this stream's recipient has no key for the topic");
  const { id, event, hook_id, redelivery, signature, body_bytes, altered } = record;
  const seq = sql.nextSeq();
  const sealed = finish({
    v: 1,
    id,
    event,
    hook_id,
    received_at: new Date(now).toISOString(),
    stream: name,
    seq,
    redelivery,
    signature,
    body_bytes,
    altered,
  });
  sealInPlace(sealed, pair.shared);
  const row = { seq, delivery: id, topic, bytes: sealed.length, tag: sealTag(sealed), pair_key: pair.id };
  sql.insert(row, bodyTag, sealed, now);
  return row;
}

/** Whether what is stored can reach nobody any more. */
export function isLost({ sql, keyring }: Stream, seq: number): boolean {
  const key = sql.get(seq)?.pair_key ?? undefined;
  return !sql.isWhole(seq) || (key !== undefined && !keyring?.byId(key));
}

export function reportStored(
  { name, report }: Stream,
  { seq, delivery, bytes }: Pick<EventRow, "seq" | "delivery" | "bytes">,
  duplicate: boolean,
): void {
  report("stored", { delivery, stream: name, seq, sealed_bytes: bytes, duplicate });
}
