/** What is kept, done or not, chosen to be sent again or to be stored anew. */
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { COLUMNS, type EventRow, first, keyed } from "./events.ts";
import { FREE } from "./leases.ts";

/** Both ends are included. */
export type SeqRange = readonly [from: number, to: number];

/** Which retained events; times in ms since 1970. */
export type SelectionOf =
  | { from: number; to: number }
  | { delivery: string }
  | { since: number; until: number };

export interface OutboxReplays {
  /** The ranges in which there is something to replay, and how many events those are. */
  replayRanges(of: SelectionOf): { ranges: SeqRange[]; events: number };
  /** The first retained event in a range that no other relay has, of one of these keys. */
  nextReplay(range: SeqRange, relay: string, pairKeys: readonly string[]): EventRow | undefined;
  /**
   * The first event of a selection after `seq` that is to be stored anew when that is asked for: it is done, no
   * canary, and of the rows of one delivery and body the oldest of the selection, if none of them is undone.
   */
  nextRedelivery(of: SelectionOf, after: number): (EventRow & { body_tag: string }) | undefined;
}

/** One delivery's redeliveries that a replay goes through. */
const MAX_REDELIVERIES = 8;

export function openReplays(sql: SqlStorage): OutboxReplays {
  return {
    replayRanges(of) {
      if ("delivery" in of) {
        const rows = sql
          .exec<{ seq: number }>(
            `SELECT seq FROM events WHERE delivery = ? ORDER BY seq DESC LIMIT ${MAX_REDELIVERIES}`,
            of.delivery,
          )
          .toArray();
        return { ranges: rows.map(({ seq }) => [seq, seq] as const).toReversed(), events: rows.length };
      }
      const { column, from, to } = bounds(of);
      const row = sql
        .exec<{ low: number | null; high: number | null; events: number }>(
          `SELECT min(seq) AS low, max(seq) AS high, count(*) AS events FROM events WHERE ${column} BETWEEN ? AND ?`,
          from,
          to,
        )
        .one();
      const ranges = row.low === null || row.high === null ? [] : [[row.low, row.high] as const];
      return { ranges, events: row.events };
    },
    nextReplay: ([from, to], relay, pairKeys) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${COLUMNS} FROM events WHERE seq BETWEEN ? AND ?
           AND (done_at IS NOT NULL OR ${FREE}) AND ${keyed(pairKeys)} ORDER BY seq LIMIT 1`,
          from,
          to,
          relay,
          ...pairKeys,
        ),
      ),
    nextRedelivery(of, after) {
      const { column, from, to } = bounds(of);
      // SQLite seeks by one bound of each side alone, so that there is to be but one.
      const [low, high] =
        "from" in of ? [Math.max(after, of.from - 1), of.to] : [after, Number.MAX_SAFE_INTEGER];
      return first(
        sql.exec<EventRow & { body_tag: string }>(
          `SELECT ${COLUMNS}, body_tag FROM events AS event
           WHERE seq > ? AND seq <= ? AND +${column} BETWEEN ? AND ?
           AND done_at IS NOT NULL AND body_tag IS NOT NULL AND topic <> ?
           AND NOT EXISTS (
             SELECT 1 FROM events AS other INDEXED BY events_by_body
             WHERE other.body_tag = event.body_tag AND other.delivery = event.delivery
             AND (other.done_at IS NULL OR (other.seq < event.seq AND other.${column} BETWEEN ? AND ?)))
           ORDER BY seq LIMIT 1`,
          low,
          high,
          from,
          to,
          CANARY_TOPIC,
          from,
          to,
        ),
      );
    },
  };
}

/** What a selection bounds, and by what; both ends are included. */
function bounds(of: SelectionOf): {
  column: "seq" | "delivery" | "stored_at";
  from: string | number;
  to: string | number;
} {
  if ("delivery" in of) return { column: "delivery", from: of.delivery, to: of.delivery };
  if ("from" in of) return { column: "seq", from: of.from, to: of.to };
  return { column: "stored_at", from: of.since, to: of.until };
}
