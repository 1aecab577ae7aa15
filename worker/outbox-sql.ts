/**
 * The outbox's SQL, all of it. A row is an event; its sealed bytes lie in the row while they fit in one
 * chunk, else in `chunks`. Nothing here awaits, so every function is one step of the object's
 * transaction.
 */
import { CHUNK_BYTES } from "../shared/drain.ts";

/** Append only: a migration that has run anywhere is never edited. */
const MIGRATIONS = [
  `CREATE TABLE events (
     seq INTEGER PRIMARY KEY,
     delivery TEXT NOT NULL,
     topic TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     tag TEXT NOT NULL,
     sealed BLOB,
     stored_at INTEGER NOT NULL,
     done_at INTEGER
   );
   CREATE INDEX events_by_delivery ON events (delivery);
   CREATE INDEX events_undone ON events (seq) WHERE done_at IS NULL;
   CREATE TABLE chunks (
     seq INTEGER NOT NULL,
     part INTEGER NOT NULL,
     data BLOB NOT NULL,
     PRIMARY KEY (seq, part)
   ) WITHOUT ROWID;`,
];

/** What the outbox knows of an event without opening it. */
export type EventRow = {
  seq: number;
  delivery: string;
  topic: string;
  /** Size of the sealed bytes. */
  bytes: number;
  /** {@link sealTag} of the sealed bytes. */
  tag: string;
};

export interface OutboxSql {
  /** The number that the next event gets: gapless from 1. The newest row is never purged. */
  nextSeq(): number;
  /** The newest event of a delivery, if there is one. */
  find(delivery: string): { seq: number; done: boolean } | undefined;
  insert(row: EventRow, sealed: Uint8Array, storedAt: number): void;
  /** The first undone event after `seq`. */
  undoneAfter(seq: number): EventRow | undefined;
  get(seq: number): (EventRow & { done: boolean }) | undefined;
  /** The sealed bytes of an event in frames of at most {@link CHUNK_BYTES}. */
  chunks(seq: number): Generator<Uint8Array>;
  markDone(seq: number, doneAt: number): void;
}

export function openOutboxSql(storage: DurableObjectStorage): OutboxSql {
  const { sql } = storage;
  migrate(storage);
  const columns = "seq, delivery, topic, bytes, tag";
  return {
    nextSeq: () =>
      sql.exec<{ next: number }>("SELECT coalesce(max(seq), 0) + 1 AS next FROM events").one().next,
    find(delivery) {
      const row = first(
        sql.exec<{ seq: number; done: number }>(
          "SELECT seq, done_at IS NOT NULL AS done FROM events WHERE delivery = ? ORDER BY seq DESC LIMIT 1",
          delivery,
        ),
      );
      return row && { seq: row.seq, done: row.done === 1 };
    },
    insert(row, sealed, storedAt) {
      const inRow = sealed.length <= CHUNK_BYTES;
      sql.exec(
        `INSERT INTO events (${columns}, sealed, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        row.seq,
        row.delivery,
        row.topic,
        row.bytes,
        row.tag,
        inRow ? sealed : null,
        storedAt,
      );
      if (inRow) return;
      for (let part = 0; part * CHUNK_BYTES < sealed.length; part += 1) {
        const data = sealed.slice(part * CHUNK_BYTES, (part + 1) * CHUNK_BYTES);
        sql.exec("INSERT INTO chunks (seq, part, data) VALUES (?, ?, ?)", row.seq, part, data);
      }
    },
    undoneAfter: (seq) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${columns} FROM events WHERE done_at IS NULL AND seq > ? ORDER BY seq LIMIT 1`,
          seq,
        ),
      ),
    get(seq) {
      const row = first(
        sql.exec<EventRow & { done: number }>(
          `SELECT ${columns}, done_at IS NOT NULL AS done FROM events WHERE seq = ?`,
          seq,
        ),
      );
      return row && { ...row, done: row.done === 1 };
    },
    *chunks(seq) {
      const { sealed } = sql
        .exec<{ sealed: ArrayBuffer | null }>("SELECT sealed FROM events WHERE seq = ?", seq)
        .one();
      if (sealed) yield new Uint8Array(sealed);
      else {
        for (const { data } of sql.exec<{ data: ArrayBuffer }>(
          "SELECT data FROM chunks WHERE seq = ? ORDER BY part",
          seq,
        )) {
          yield new Uint8Array(data);
        }
      }
    },
    markDone: (seq, doneAt) => {
      sql.exec("UPDATE events SET done_at = ? WHERE seq = ? AND done_at IS NULL", doneAt, seq);
    },
  };
}

function migrate(storage: DurableObjectStorage): void {
  const { sql } = storage;
  sql.exec("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)");
  const { done } = sql.exec<{ done: number }>("SELECT count(*) AS done FROM migrations").one();
  for (const [version, migration] of MIGRATIONS.entries()) {
    if (version < done) continue;
    storage.transactionSync(() => {
      sql.exec(migration);
      sql.exec("INSERT INTO migrations (version) VALUES (?)", version);
    });
  }
}

function first<Row extends Record<string, SqlStorageValue>>(cursor: SqlStorageCursor<Row>): Row | undefined {
  return cursor.toArray()[0];
}
