/**
 * The outbox's SQL. Each table is written in one place: `events` and `chunks` in `events.ts`, but which relay has an
 * event, `holders` and `absences` in `leases.ts`; `troubles` in `troubles.ts`; `stream` here. Rows go by
 * `purge.ts`; the rest chooses events. Nothing awaits in any of these, so every function is one step of the object's
 * transaction, and no cursor outlives its call.
 *
 * Rows written for an event of up to 1 MiB over its whole life, each index entry counted: 3 when it is stored, 1
 * when a relay gets it, 1 when it is done, 1 when it is purged.
 */
import { first, openEvents, type OutboxEvents } from "./events.ts";
import { openLeases, type OutboxLeases } from "./leases.ts";
import { openPurge, type OutboxPurge } from "./purge.ts";
import { openReplays, type OutboxReplays } from "./replays.ts";
import { migrate } from "./schema.ts";
import { openTroubles, type OutboxTroubles } from "./troubles.ts";
import { openUndone, type OutboxUndone } from "./undone.ts";

export interface OutboxSql
  extends OutboxEvents, OutboxLeases, OutboxTroubles, OutboxUndone, OutboxReplays, OutboxPurge {
  /** The stream's name, once it was said. */
  readonly stream: string | undefined;
  /** An object that an alarm wakes after a restart is not told its name, so it is kept. */
  keepStream(name: string): void;
}

export function openOutboxSql(storage: DurableObjectStorage): OutboxSql {
  const { sql } = storage;
  migrate(storage);
  const events = openEvents(storage);
  let stream = first(sql.exec<{ name: string }>("SELECT name FROM stream"))?.name;
  return {
    ...events,
    ...openLeases(sql),
    ...openTroubles(sql),
    ...openUndone(sql),
    ...openReplays(sql),
    ...openPurge(storage, events.newestSeq),
    get stream() {
      return stream;
    },
    keepStream(name) {
      sql.exec("INSERT OR IGNORE INTO stream (name) VALUES (?)", name);
      stream = name;
    },
  };
}
