/** Which relay has which events, and which of them are away: docs/edge.md, "Leases". */
import { first } from "./events.ts";

export interface OutboxLeases {
  /** The event, if it is undone, is with this relay from now on. */
  lease(seq: number, relay: string): void;
  /** What a relay had and did not do is anybody's again: whether there was something. */
  release(relay: string): boolean;
  /** The same for one event, if this relay has it. */
  releaseOne(seq: number, relay: string): boolean;
  /** Relays that may have undone events. */
  holders(): string[];
  /** `known`: what it had not stored is noted. */
  setAbsent(relay: string, until: number, known: boolean): void;
  isAbsenceKnown(relay: string): boolean;
  clearAbsence(relay: string): void;
  absences(): { relay: string; until: number }[];
}

/** An event is with no other relay than this. */
export const FREE = "(relay IS NULL OR relay = ?)";

export function openLeases(sql: SqlStorage): OutboxLeases {
  const holders = new Set(
    sql
      .exec<{ relay: string }>("SELECT relay FROM holders")
      .toArray()
      .map(({ relay }) => relay),
  );

  return {
    lease(seq, relay) {
      if (!holders.has(relay)) {
        sql.exec("INSERT INTO holders (relay) VALUES (?)", relay);
        holders.add(relay);
      }
      sql.exec(
        "UPDATE events SET relay = ? WHERE seq = ? AND done_at IS NULL AND relay IS NOT ?",
        relay,
        seq,
        relay,
      );
    },
    release(relay) {
      if (!holders.delete(relay)) return false;
      sql.exec("DELETE FROM holders WHERE relay = ?", relay);
      return (
        sql.exec("UPDATE events SET relay = NULL WHERE done_at IS NULL AND relay = ?", relay).rowsWritten > 0
      );
    },
    releaseOne: (seq, relay) =>
      sql.exec("UPDATE events SET relay = NULL WHERE done_at IS NULL AND seq = ? AND relay = ?", seq, relay)
        .rowsWritten > 0,
    holders: () => [...holders],
    setAbsent(relay, until, known) {
      const conflict = known ? "DO UPDATE SET known = 1" : "DO NOTHING";
      sql.exec(
        `INSERT INTO absences (relay, until, known) VALUES (?, ?, ?) ON CONFLICT (relay) ${conflict}`,
        relay,
        until,
        known ? 1 : 0,
      );
    },
    isAbsenceKnown: (relay) =>
      first(sql.exec("SELECT 1 FROM absences WHERE relay = ? AND known = 1", relay)) !== undefined,
    clearAbsence(relay) {
      sql.exec("DELETE FROM absences WHERE relay = ?", relay);
    },
    absences: () => sql.exec<{ relay: string; until: number }>("SELECT relay, until FROM absences").toArray(),
  };
}
