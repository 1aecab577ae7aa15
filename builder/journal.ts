/**
 * What the builder has safe, in SQLite: every event that it opened, by the tag of its seal, the builds that are to be
 * run for it, and which numbers of its stream came. The payload stays only until its builds are over.
 *
 * `told` says whether the outside has heard of it: a builder that is killed between the disk's word and its
 * own says it later. (Accepted race: killed between its own word and the mark, it says it twice.)
 */
import { chmodSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import type { OpenedEvent } from "../shared/event.ts";
import { arrive, giveUp, type Numbering, type Range } from "./gaps.ts";
import { migrate, transaction } from "./journal-schema.ts";
import { openNumberings } from "./numberings.ts";

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

/** An event as it is to be kept, and the rules that it leads to. */
export interface Entry {
  tag: string;
  event: OpenedEvent;
  rules: readonly string[];
}

/** What keeping an event found. `untold`: it is there already, and nobody has heard of that yet. */
export interface Kept {
  was: "new" | "untold" | "again";
  /** Its number says that the edge's store began anew. */
  restarted: boolean;
}

export interface Journal {
  /**
   * Keeps events and the builds they lead to, in one transaction, durable when this returns; in the order of
   * `entries`. Of an event that is there already nothing is kept. When it throws nothing is, and the next call may succeed.
   */
  keep(entries: readonly Entry[]): Kept[];
  eventTold(tag: string): void;
  /** The streams whose numbers are known, and what is known of one. */
  streams(): string[];
  numbering(stream: string): Numbering | undefined;
  /** The alarm is raised for what is missing in this range. */
  giveUp(stream: string, range: Range): void;
  /**
   * The build to run: one that had begun when the builder died; else, of the builds that come next in their streams,
   * the oldest that is not held back.
   */
  nextBuild(isHeld?: (stream: string, seq: number) => boolean): Build | undefined;
  began(build: number, process: { pid: number; started: string }): void;
  /** `exit`: an exit code or a signal's name. */
  ended(build: number, exit: string, ms: number): void;
  /** Builds that are over, and nobody has heard of it. */
  untoldBuilds(): EndedBuild[];
  buildTold(build: number): void;
  /** Removes the events opened before `time` (ms since 1970) whose builds are over and told. Returns these builds. */
  forget(time: number): number[];
  close(): void;
}

const BUILD = "id, rule, raw_body, pid, pid_started, delivery, builds.stream, builds.seq, topic";

/** @param options.numbered whether the numbers of streams are watched; without it what was known of them is removed. */
export function openJournal(
  path: string,
  { numbered = true, now = Date.now }: { numbered?: boolean; now?: () => number } = {},
): Journal {
  const db = new DatabaseSync(path);
  chmodSync(path, 0o600);
  // A receipt is a promise: it may leave only after the journal is on the disk.
  db.exec(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
  );
  migrate(db);
  if (!numbered) transaction(db, () => db.exec("DELETE FROM gaps; DELETE FROM streams"));

  const insertEvent = db.prepare(
    `INSERT INTO events (tag, stream, seq, delivery, topic, opened_at) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (tag) DO NOTHING`,
  );
  const insertBuild = db.prepare(
    "INSERT INTO builds (tag, rule, raw_body, stream, generation, seq) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const firstBegun = db.prepare(
    `SELECT ${BUILD} FROM builds JOIN events USING (tag)
     WHERE raw_body IS NOT NULL AND pid IS NOT NULL ORDER BY id LIMIT 1`,
  );
  const firstOfStream = db.prepare(
    `SELECT id, generation, seq FROM builds
     WHERE stream = ? AND raw_body IS NOT NULL ORDER BY generation, seq, id LIMIT 1`,
  );
  const buildOf = db.prepare(`SELECT ${BUILD} FROM builds JOIN events USING (tag) WHERE id = ?`);
  const begin = db.prepare("UPDATE builds SET pid = ?, pid_started = ? WHERE id = ?");
  const end = db.prepare("UPDATE builds SET exit = ?, ms = ?, raw_body = NULL WHERE id = ?");
  const untold = db.prepare(
    `SELECT id, rule, exit, ms, delivery, builds.stream, builds.seq FROM builds JOIN events USING (tag)
     WHERE exit IS NOT NULL AND builds.told = 0 ORDER BY id`,
  );
  const isTold = db.prepare("SELECT told FROM events WHERE tag = ?");
  const forgetBuilds = db.prepare(
    `DELETE FROM builds WHERE exit IS NOT NULL AND told = 1
     AND tag IN (SELECT tag FROM events WHERE opened_at < ?) RETURNING id`,
  );
  const forgetEvents = db.prepare(
    "DELETE FROM events WHERE opened_at < ? AND NOT EXISTS (SELECT 1 FROM builds WHERE builds.tag = events.tag)",
  );
  // These marks must outlive a kill, not a power cut: no wait for the disk.
  const marks = new DatabaseSync(path);
  marks.exec("PRAGMA synchronous = OFF");
  const markEvent = marks.prepare("UPDATE events SET told = 1 WHERE tag = ?");
  const markBuild = marks.prepare("UPDATE builds SET told = 1 WHERE id = ?");

  const numberings = openNumberings(db);
  const streamsWithBuilds = new Set(
    db
      .prepare("SELECT DISTINCT stream FROM builds WHERE raw_body IS NOT NULL")
      .all()
      .map((row) => String(row["stream"])),
  );

  function keepOne(
    { tag, event, rules }: Entry,
    changed: Map<string, Numbering>,
    before: ReadonlySet<string>,
  ): Kept {
    const { delivery, topic, rawBody } = event;
    const { stream, seq } = delivery;
    const inserted = insertEvent.run(tag, stream, seq, delivery.id, topic, now());
    if (inserted.changes === 0) {
      const isUntold = isTold.get(tag)?.["told"] === 0 && !before.has(tag);
      return { was: isUntold ? "untold" : "again", restarted: false };
    }
    const known = changed.get(stream) ?? numberings.get(stream);
    const numbering = numbered ? arrive(known, seq, Date.parse(delivery.received_at)) : undefined;
    if (numbering) changed.set(stream, numbering);
    const generation = numbering?.generation ?? 0;
    for (const rule of rules) insertBuild.run(tag, rule, rawBody, stream, generation, seq);
    return { was: "new", restarted: known !== undefined && known.generation !== generation };
  }

  /** The changes to numberings are there once they are durable. */
  function writeNumberings<Answer>(work: (changed: Map<string, Numbering>) => Answer): Answer {
    const changed = new Map<string, Numbering>();
    const answer = transaction(db, () => {
      const result = work(changed);
      numberings.save(changed);
      return result;
    });
    numberings.committed(changed);
    return answer;
  }

  return {
    keep(entries) {
      const kept = writeNumberings((changed) => {
        const before = new Set<string>();
        return entries.map((entry) => {
          const one = keepOne(entry, changed, before);
          before.add(entry.tag);
          return one;
        });
      });
      for (const { event, rules } of entries)
        if (rules.length > 0) streamsWithBuilds.add(event.delivery.stream);
      return kept;
    },
    streams: () => numberings.streams(),
    numbering: (stream) => numberings.get(stream),
    giveUp(stream, range) {
      writeNumberings((changed) => {
        const known = numberings.get(stream);
        if (known) changed.set(stream, giveUp(known, range));
      });
    },
    nextBuild(isHeld = () => false) {
      const begun = firstBegun.get();
      if (begun) return readBuild(begun);
      let oldest = Infinity;
      for (const stream of streamsWithBuilds) {
        const first = firstOfStream.get(stream);
        if (!first) {
          streamsWithBuilds.delete(stream);
          continue;
        }
        const isOfNewestStore = first["generation"] === (numberings.get(stream)?.generation ?? 0);
        if (isOfNewestStore && isHeld(stream, Number(first["seq"]))) continue;
        oldest = Math.min(oldest, Number(first["id"]));
      }
      const build = oldest === Infinity ? undefined : buildOf.get(oldest);
      return build && readBuild(build);
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
    forget: (time) =>
      transaction(db, () => {
        const builds = forgetBuilds.all(time).map((row) => Number(row["id"]));
        forgetEvents.run(time);
        return builds;
      }),
    close() {
      marks.close();
      db.close();
    },
  };
}

function readBuild(row: Record<string, SQLOutputValue>): Build {
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
}
