/**
 * What the builder has safe, in SQLite: every event that it opened, by the tag of its seal, and the
 * builds that are to be run for it. The payload stays only until its builds are over.
 *
 * `told` says whether the outside has heard of it: a builder that is killed between the disk's word and its
 * own says it later. (Accepted race: killed between its own word and the mark, it says it twice.)
 */
import { chmodSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { OpenedEvent } from "../shared/event.ts";

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
];

export interface Build {
  id: number;
  rule: string;
  delivery: string;
  stream: string;
  seq: number;
  topic: string;
  rawBody: Uint8Array;
  /** The process that ran it when the builder died, if it had begun. */
  process: { pid: number; started: string } | undefined;
}

/** A build that is over. */
export interface EndedBuild extends Pick<Build, "id" | "rule" | "delivery" | "stream" | "seq"> {
  /** An exit code or a signal's name. */
  exit: string;
  ms: number;
}

export interface Journal {
  /**
   * Keeps an event and the builds it leads to, in one transaction, durable when this returns. `again`, and
   * nothing kept, when the event is there already; `untold` when nobody has heard of that yet.
   */
  keep(tag: string, event: OpenedEvent, rules: readonly string[]): "new" | "untold" | "again";
  eventTold(tag: string): void;
  /** The oldest build that is not over. */
  nextBuild(): Build | undefined;
  began(build: number, process: { pid: number; started: string }): void;
  /** `exit`: an exit code or a signal's name. */
  ended(build: number, exit: string, ms: number): void;
  /** Builds that are over, and nobody has heard of it. */
  untoldBuilds(): EndedBuild[];
  buildTold(build: number): void;
  close(): void;
}

export function openJournal(path: string, now: () => number = Date.now): Journal {
  const db = new DatabaseSync(path);
  chmodSync(path, 0o600);
  // A receipt is a promise: it may leave only after the journal is on the disk.
  db.exec(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
  );
  migrate(db);

  const insertEvent = db.prepare(
    `INSERT INTO events (tag, stream, seq, delivery, topic, opened_at) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (tag) DO NOTHING`,
  );
  const insertBuild = db.prepare("INSERT INTO builds (tag, rule, raw_body) VALUES (?, ?, ?)");
  const next = db.prepare(
    `SELECT id, rule, raw_body, pid, pid_started, delivery, stream, seq, topic
     FROM builds JOIN events USING (tag) WHERE raw_body IS NOT NULL ORDER BY id LIMIT 1`,
  );
  const begin = db.prepare("UPDATE builds SET pid = ?, pid_started = ? WHERE id = ?");
  const end = db.prepare("UPDATE builds SET exit = ?, ms = ?, raw_body = NULL WHERE id = ?");
  const untold = db.prepare(
    `SELECT id, rule, exit, ms, delivery, stream, seq FROM builds JOIN events USING (tag)
     WHERE exit IS NOT NULL AND builds.told = 0 ORDER BY id`,
  );
  const isTold = db.prepare("SELECT told FROM events WHERE tag = ?");
  // These marks must outlive a kill, not a power cut: no wait for the disk.
  const marks = new DatabaseSync(path);
  marks.exec("PRAGMA synchronous = OFF");
  const markEvent = marks.prepare("UPDATE events SET told = 1 WHERE tag = ?");
  const markBuild = marks.prepare("UPDATE builds SET told = 1 WHERE id = ?");

  return {
    keep(tag, { delivery, topic, rawBody }, rules) {
      return transaction(db, () => {
        const inserted = insertEvent.run(tag, delivery.stream, delivery.seq, delivery.id, topic, now());
        if (inserted.changes === 0) return isTold.get(tag)?.["told"] === 0 ? "untold" : "again";
        for (const rule of rules) insertBuild.run(tag, rule, rawBody);
        return "new";
      });
    },
    nextBuild() {
      const row = next.get();
      if (!row) return undefined;
      return {
        id: Number(row["id"]),
        rule: String(row["rule"]),
        delivery: String(row["delivery"]),
        stream: String(row["stream"]),
        seq: Number(row["seq"]),
        topic: String(row["topic"]),
        rawBody: row["raw_body"] instanceof Uint8Array ? row["raw_body"] : new Uint8Array(),
        process:
          row["pid"] === null ? undefined : { pid: Number(row["pid"]), started: String(row["pid_started"]) },
      };
    },
    began: (build, { pid, started }) => void begin.run(pid, started, build),
    ended: (build, exit, ms) => void end.run(exit, Math.round(ms), build),
    eventTold: (tag) => void markEvent.run(tag),
    untoldBuilds: () =>
      untold.all().map((row) => ({
        id: Number(row["id"]),
        rule: String(row["rule"]),
        delivery: String(row["delivery"]),
        stream: String(row["stream"]),
        seq: Number(row["seq"]),
        exit: String(row["exit"]),
        ms: Number(row["ms"]),
      })),
    buildTold: (build) => void markBuild.run(build),
    close() {
      marks.close();
      db.close();
    },
  };
}

function migrate(db: DatabaseSync): void {
  const done = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  for (const [version, migration] of MIGRATIONS.entries()) {
    if (version < done) continue;
    transaction(db, () => db.exec(`${migration}; PRAGMA user_version = ${version + 1}`));
  }
}

function transaction<Answer>(db: DatabaseSync, work: () => Answer): Answer {
  db.exec("BEGIN IMMEDIATE");
  try {
    const answer = work();
    db.exec("COMMIT");
    return answer;
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}
