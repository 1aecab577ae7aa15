/** What is undone: which event a relay gets next, and what waits. */
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { COLUMNS, type EventRow, first, keyed } from "./events.ts";
import { FREE } from "./leases.ts";
import { QUIET, RETRIABLE, UNSTORED } from "./troubles.ts";

export interface OutboxUndone {
  hasUndone(): boolean;
  /**
   * The first undone event after `seq` that no other relay has, of one of these keys, and that makes no trouble.
   * `resumed`: leaves out what this relay has stored.
   */
  nextFor(relay: string, after: number, pairKeys: readonly string[], resumed: boolean): EventRow | undefined;
  /** The first undone event after `seq` that no relay has; otherwise as {@link nextFor}. */
  nextFreed(after: number, pairKeys: readonly string[]): EventRow | undefined;
  /** The first undone event after `seq` that makes trouble and may be tried again; otherwise as {@link nextFor}. */
  nextTrouble(relay: string, after: number, pairKeys: readonly string[], now: number): EventRow | undefined;
  /** Undone events, canaries aside, that were stored before a time, and how many of them have none of these keys. */
  waiting(storedBefore: number, pairKeys: readonly string[]): { events: number; unreachable: number };
}

/** An event is nobody's, or this relay's, which may not have got it. */
const MISSING = `(relay IS NULL OR (relay = ? AND ${UNSTORED}))`;

export function openUndone(sql: SqlStorage): OutboxUndone {
  return {
    hasUndone: () => first(sql.exec("SELECT 1 FROM events WHERE done_at IS NULL LIMIT 1")) !== undefined,
    nextFor: (relay, after, pairKeys, resumed) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${COLUMNS} FROM events WHERE done_at IS NULL AND seq > ? AND ${resumed ? MISSING : FREE}
           AND ${keyed(pairKeys)} AND ${QUIET} ORDER BY seq LIMIT 1`,
          after,
          relay,
          ...pairKeys,
        ),
      ),
    nextFreed: (after, pairKeys) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${COLUMNS} FROM events WHERE done_at IS NULL AND seq > ? AND relay IS NULL AND ${keyed(pairKeys)}
           AND ${QUIET} ORDER BY seq LIMIT 1`,
          after,
          ...pairKeys,
        ),
      ),
    nextTrouble: (relay, after, pairKeys, now) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${COLUMNS} FROM events WHERE done_at IS NULL AND seq > ? AND ${FREE} AND ${keyed(pairKeys)}
           AND ${RETRIABLE}
           ORDER BY seq LIMIT 1`,
          after,
          relay,
          ...pairKeys,
          now,
        ),
      ),
    waiting: (storedBefore, pairKeys) =>
      sql
        .exec<{ events: number; unreachable: number }>(
          `SELECT count(*) AS events, coalesce(sum(NOT ${keyed(pairKeys)}), 0) AS unreachable
           FROM events WHERE done_at IS NULL AND stored_at < ? AND topic <> ?`,
          ...pairKeys,
          storedBefore,
          CANARY_TOPIC,
        )
        .one(),
  };
}
