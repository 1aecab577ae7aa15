/** The outbox's tables. */

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
  // The blob comes last: SQLite reads through all that stands before the column it wants.
  `ALTER TABLE events RENAME TO events_before;
   DROP INDEX events_by_delivery;
   DROP INDEX events_undone;
   CREATE TABLE events (
     seq INTEGER PRIMARY KEY,
     delivery TEXT NOT NULL,
     topic TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     tag TEXT NOT NULL,
     stored_at INTEGER NOT NULL,
     done_at INTEGER,
     body_tag TEXT,
     pair_key TEXT,
     relay TEXT,
     sealed BLOB
   );
   INSERT INTO events (seq, delivery, topic, bytes, tag, stored_at, done_at, sealed)
     SELECT seq, delivery, topic, bytes, tag, stored_at, done_at, sealed FROM events_before;
   DROP TABLE events_before;
   CREATE INDEX events_by_body ON events (body_tag);
   CREATE INDEX events_undone ON events (seq) WHERE done_at IS NULL;
   CREATE TABLE holders (relay TEXT PRIMARY KEY) WITHOUT ROWID;
   CREATE TABLE absences (relay TEXT PRIMARY KEY, until INTEGER NOT NULL, known INTEGER NOT NULL) WITHOUT ROWID;
   CREATE TABLE troubles (seq INTEGER PRIMARY KEY, times INTEGER NOT NULL, retry_at INTEGER NOT NULL);
   CREATE TABLE stream (name TEXT PRIMARY KEY) WITHOUT ROWID;`,
];

/** Brings the tables up to date. */
export function migrate(storage: DurableObjectStorage): void {
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
