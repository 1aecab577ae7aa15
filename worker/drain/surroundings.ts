import type { Selection } from "../../shared/drain.ts";
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { storeCanary } from "./canary.ts";
import type { Right, Surroundings } from "./machine.ts";
import type { EventRow } from "../outbox/events.ts";
import type { SelectionOf } from "../outbox/replays.ts";
import { receiptFault } from "./receipt-check.ts";
import { redeliver } from "./redelivery.ts";
import { reportLeftOut, rowDamaged, type Stream } from "../outbox/stream.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** What follows from a `done`. */
export interface Ends {
  /** The event was undone until now. */
  finished(): void;
  /** The event stays, since what the relay brought is not its receipt. */
  refused(seq: number, relay: string): void;
}

/** What the drain's machine asks, answered by a stream's outbox. */
export function surroundingsOf(stream: Stream, now: number, ends: Ends): Surroundings {
  const { sql, recipient, keyring } = stream;
  const ids = keyring?.ids ?? [];
  /** A row that lost bytes is said once a day, and blocks nothing. */
  const whole = (find: (after: number) => EventRow | undefined, from: number) => {
    let row = find(from);
    while (row && !sql.isWhole(row.seq)) {
      reportLeftOut(stream, row, rowDamaged());
      sql.setAside(row.seq, now + DAY_MS);
      row = find(row.seq);
    }
    return row;
  };
  return {
    now,
    receipts: recipient?.receipts !== false,
    may: (relay) => rightsOf(stream, relay),
    newest: () => sql.newestSeq(),
    next: (relay, seq, resumed) => whole((after) => sql.nextFor(relay, after, ids, resumed), seq),
    nextFreed: (seq) => whole((after) => sql.nextFreed(after, ids), seq),
    nextReplay: (relay, [from, to]) =>
      whole((after) => sql.nextReplay([after + 1, to], relay, ids), from - 1),
    nextTrouble: (relay) => whole((after) => sql.nextTrouble(relay, after, ids, now), 0),
    stored: (seq) => sql.clearTrouble(seq),
    finish(seq, receipt, relay) {
      const fault = finish(stream, seq, receipt, now, ends);
      if (fault !== undefined) ends.refused(seq, relay);
      return fault;
    },
    replayRanges: (of) => sql.replayRanges(inMs(of)),
    redeliver: (of, after) => redeliver(stream, inMs(of), after, now),
    canary: (relay) => storeCanary(stream, relay, now),
  };
}

/** A recipient with keys for single topics only may have none for canaries. */
function rightsOf({ config, keyring }: Stream, relay: string): Right[] {
  const rights: Right[] = [];
  if (keyring?.forTopic(CANARY_TOPIC)) rights.push("canary");
  if (config.relays.get(relay)?.redeliver) rights.push("redeliver");
  return rights;
}

/** The event stays without the recipient's own receipt for exactly this event, unless that is known to give none. */
function finish(
  { name, recipient, keyring, sql, report }: Stream,
  seq: number,
  receipt: string | undefined,
  now: number,
  ends: Ends,
): string | undefined {
  const row = sql.get(seq);
  if (!row) return "ERR_UNKNOWN_EVENT";
  if (row.done) return undefined;
  if (recipient?.receipts !== false) {
    const fault = receipt === undefined ? "ERR_RECEIPT_MISSING" : receiptFault(receipt, name, row, keyring);
    if (fault !== undefined) return fault;
  }
  sql.markDone(seq, now);
  sql.clearTrouble(seq);
  ends.finished();
  if (row.topic !== CANARY_TOPIC) report("done", { delivery: row.delivery, stream: name, seq });
  return undefined;
}

function inMs(of: Selection): SelectionOf {
  return "since" in of ? { since: Date.parse(of.since), until: Date.parse(of.until) } : of;
}
