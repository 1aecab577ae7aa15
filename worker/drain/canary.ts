/**
 * The event by which a relay tests the whole way to the builder and back. It is stored, sent and done as any other, and
 * is no delivery: its reports are its own, and a stream keeps one for each relay. Of each, too, since a relay that is stuck
 * with its canary says nothing about another's way.
 */
import { encodeUtf8 } from "../../shared/bytes.ts";
import { SEAL_OVERHEAD_BYTES } from "../../shared/cryptobox.ts";
import { draftEvent } from "../../shared/event.ts";
import { CANARY_EVENT, CANARY_TOPIC } from "../../shared/topic.ts";
import { isLost, storeEvent } from "../outbox/store.ts";
import type { Stream } from "../outbox/stream.ts";

const BODY = encodeUtf8("{}");
/** Nobody signed it: builders do not check what is marked `altered`. */
const SIGNATURE = `sha256=${"0".repeat(64)}`;
/** A canary costs the rows of a delivery: a relay gets a new one this often at most. */
const CANARY_PAUSE_MS = 10_000;

/**
 * Stores a canary for a relay, unless its last is under way or was stored a moment ago: that one's number then. One that is
 * done, or can reach nobody, goes as the next comes.
 */
export function storeCanary(stream: Stream, relay: string, now: number): number {
  // In the place of a body's tag: a delivery's has a colon.
  const bodyTag = `${CANARY_EVENT} ${relay}`;
  const before = stream.sql.find(bodyTag);
  const isRecent = before && now < before.storedAt + CANARY_PAUSE_MS;
  const isUnderWay = before && !before.done && !isLost(stream, before.seq);
  if (before && (isRecent || isUnderWay)) return before.seq;
  const draft = draftEvent(CANARY_TOPIC, BODY.length, SEAL_OVERHEAD_BYTES);
  draft.body.set(BODY);
  const record = {
    id: crypto.randomUUID(),
    event: CANARY_EVENT,
    hook_id: null,
    redelivery: false,
    signature: SIGNATURE,
    body_bytes: BODY.length,
    altered: true,
  };
  const event = { topic: CANARY_TOPIC, bodyTag, record, finish: draft.finish };
  const { seq } = storeEvent(stream, event, now);
  // What can reach nobody is not to be looked for any more.
  if (before && !before.done) stream.sql.markDone(before.seq, now);
  stream.report("canary", { stream: stream.name, seq });
  return seq;
}
