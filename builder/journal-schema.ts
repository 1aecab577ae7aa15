/** The journal's tables, and how they are written. */
import type { DatabaseSync } from "node:sqlite";

/** Append only: a migration that has run anywhere is never edited. */
const MIGRATIONS = [
  `CREATE TABLE events (
     tag TEXT PRIMARY KEY,
     stream TEXT NOT NULL,
     seq INTEGER NOT NULL,
     delivery TEXT NOT NULL,
     topic TEXT NOT NULL,
     opened_at INTEGER NOT NULL,
     told INTEGER NOT NULL DEFAULT 0
   );
   CREATE TABLE builds (
     id INTEGER PRIMARY KEY,
     tag TEXT NOT NULL REFERENCES events (tag),
     rule TEXT NOT NULL,
     raw_body BLOB,
     pid INTEGER,
     pid_started TEXT,
     exit TEXT,
     ms INTEGER,
     told INTEGER NOT NULL DEFAULT 0
   );
   CREATE INDEX builds_to_run ON builds (id) WHERE raw_body IS NOT NULL;
   CREATE INDEX builds_to_tell ON builds (id) WHERE exit IS NOT NULL AND told = 0;`,
  `CREATE TABLE streams (
     stream TEXT PRIMARY KEY,
     generation INTEGER NOT NULL,
     first INTEGER NOT NULL,
     newest INTEGER NOT NULL,
     newest_at INTEGER NOT NULL
   );
   CREATE TABLE gaps (
     stream TEXT NOT NULL REFERENCES streams (stream),
     first INTEGER NOT NULL,
     last INTEGER NOT NULL,
     given_up INTEGER NOT NULL,
     PRIMARY KEY (stream, first)
   ) WITHOUT ROWID;
   ALTER TABLE builds ADD COLUMN stream TEXT NOT NULL DEFAULT '';
   ALTER TABLE builds ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE builds ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
   UPDATE builds SET (stream, seq) = (SELECT stream, seq FROM events WHERE events.tag = builds.tag);
   DROP INDEX builds_to_run;
   CREATE INDEX builds_to_run ON builds (stream, generation, seq, id) WHERE raw_body IS NOT NULL;
   CREATE INDEX builds_begun ON builds (id) WHERE raw_body IS NOT NULL AND pid IS NOT NULL;
   CREATE INDEX builds_of_event ON builds (tag);`,
];

export function migrate(db: DatabaseSync): void {
  const done = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  for (const [version, migration] of MIGRATIONS.entries()) {
    if (version < done) continue;
    transaction(db, () => db.exec(`${migration}; PRAGMA user_version = ${version + 1}`));
  }
}

/** All of `work` or, when it throws, nothing of it. */
export function transaction<Answer>(db: DatabaseSync, work: () => Answer): Answer {
  db.exec("BEGIN IMMEDIATE");
  try {
    const answer = work();
    db.exec("COMMIT");
    return answer;
  } catch (error) {
    // A full disk has rolled it back already.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
