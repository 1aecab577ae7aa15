/** Events over which connections ended, and those that were under way then, in `troubles`. */
import { first } from "./events.ts";

export interface OutboxTroubles {
  /** A connection ended while this event was the first on its way: how often that happened. */
  addTrouble(seq: number, retryAt: (times: number) => number): void;
  /** A connection ended while this event, not the first, was on its way: the relay may not have it. */
  noteUnstored(seq: number): void;
  /** Nothing is to be tried with this event before `until`. */
  setAside(seq: number, until: number): void;
  clearTrouble(seq: number): void;
  /** When the next troublesome event may be tried again. */
  nextRetryAt(now: number): number | undefined;
}

/** How often a connection may end on one event before the others are let pass. */
const MAX_TROUBLES = 3;

/** An event is not set aside. */
export const QUIET = `seq NOT IN (SELECT seq FROM troubles WHERE times >= ${MAX_TROUBLES})`;
/** It was under way when a connection ended. */
export const UNSTORED = "seq IN (SELECT seq FROM troubles)";
/** It is set aside, and may be tried again by now. */
export const RETRIABLE = `seq IN (SELECT seq FROM troubles WHERE times >= ${MAX_TROUBLES} AND retry_at <= ?)`;

export function openTroubles(sql: SqlStorage): OutboxTroubles {
  return {
    addTrouble(seq, retryAt) {
      const row = first(sql.exec<{ times: number }>("SELECT times FROM troubles WHERE seq = ?", seq));
      const times = (row?.times ?? 0) + 1;
      sql.exec(
        "INSERT OR REPLACE INTO troubles (seq, times, retry_at) VALUES (?, ?, ?)",
        seq,
        times,
        retryAt(times),
      );
    },
    noteUnstored(seq) {
      sql.exec("INSERT OR IGNORE INTO troubles (seq, times, retry_at) VALUES (?, 0, 0)", seq);
    },
    setAside(seq, until) {
      sql.exec(
        `INSERT OR REPLACE INTO troubles (seq, times, retry_at) VALUES (?, ${MAX_TROUBLES}, ?)`,
        seq,
        until,
      );
    },
    clearTrouble(seq) {
      sql.exec("DELETE FROM troubles WHERE seq = ?", seq);
    },
    nextRetryAt: (now) =>
      first(
        sql.exec<{ at: number | null }>(
          `SELECT min(retry_at) AS at FROM troubles WHERE times >= ${MAX_TROUBLES} AND retry_at > ?`,
          now,
        ),
      )?.at ?? undefined,
  };
}
