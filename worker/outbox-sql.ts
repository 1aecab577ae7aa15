/**
 * The outbox's SQL, all of it. A row is an event; its sealed bytes lie in the row while they fit in one
 * chunk, else in `chunks`. Nothing here awaits, so every function is one step of the object's
 * transaction, and no cursor outlives its call.
 *
 * Rows written for an event of up to 1 MiB over its whole life, each index entry counted: 3 when it is stored, 1
 * when a relay gets it, 1 when it is done, 1 when it is purged.
 */
import { CHUNK_BYTES } from "../shared/drain.ts";
import { CANARY_TOPIC } from "../shared/topic.ts";

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

/** What the outbox knows of an event without opening it. */
export type EventRow = {
  seq: number;
  delivery: string;
  topic: string;
  /** Size of the sealed bytes. */
  bytes: number;
  /** {@link sealTag} of the sealed bytes. */
  tag: string;
  /** Which pair of keys it is sealed with: a `PairKey`'s id. */
  pair_key: string | null;
};

/** The newest event of a body. */
export interface FoundEvent {
  seq: number;
  delivery: string;
  bytes: number;
  /** In ms since 1970. */
  storedAt: number;
  done: boolean;
}

/** Both ends are included. */
export type SeqRange = readonly [from: number, to: number];

/** Which retained events; times in ms since 1970. */
export type SelectionOf =
  | { from: number; to: number }
  | { delivery: string }
  | { since: number; until: number };

export interface OutboxSql {
  /** The stream's name, once it was said. */
  readonly stream: string | undefined;
  /** An object that an alarm wakes after a restart is not told its name, so it is kept. */
  keepStream(name: string): void;
  /** The number that the next event gets: gapless from 1. The newest row is never purged. */
  nextSeq(): number;
  /** 0 when nothing was stored ever. */
  newestSeq(): number;
  /** The newest event of a body, if there is one. */
  find(bodyTag: string): FoundEvent | undefined;
  insert(row: EventRow, bodyTag: string, sealed: Uint8Array, storedAt: number): void;
  get(seq: number): (EventRow & { done: boolean }) | undefined;
  /** Whether all sealed bytes of an event are there. */
  isWhole(seq: number): boolean;
  /** The sealed bytes of an event in pieces of at most {@link CHUNK_BYTES}. */
  chunks(seq: number): Generator<Uint8Array>;
  markDone(seq: number, doneAt: number): void;

  /**
   * The first undone event after `seq` that no other relay has, of one of these keys, and that makes no trouble.
   * `resumed`: leaves out what this relay has stored.
   */
  nextFor(relay: string, after: number, pairKeys: readonly string[], resumed: boolean): EventRow | undefined;
  /** The first undone event after `seq` that no relay has; otherwise as {@link nextFor}. */
  nextFreed(after: number, pairKeys: readonly string[]): EventRow | undefined;
  /** The event, if it is undone, is with this relay from now on. */
  lease(seq: number, relay: string): void;
  /** What a relay had and did not do is anybody's again: whether there was something. */
  release(relay: string): boolean;
  /** The same for one event, if this relay has it. */
  releaseOne(seq: number, relay: string): boolean;
  hasUndone(): boolean;
  /** Relays that may have undone events. */
  holders(): string[];
  /** `known`: what it had not stored is noted. */
  setAbsent(relay: string, until: number, known: boolean): void;
  isAbsenceKnown(relay: string): boolean;
  clearAbsence(relay: string): void;
  absences(): { relay: string; until: number }[];

  /** A connection ended while this event was the first on its way: how often that happened. */
  addTrouble(seq: number, retryAt: (times: number) => number): void;
  /** A connection ended while this event, not the first, was on its way: the relay may not have it. */
  noteUnstored(seq: number): void;
  /** Nothing is to be tried with this event before `until`. */
  setAside(seq: number, until: number): void;
  clearTrouble(seq: number): void;
  /** The first undone event after `seq` that makes trouble and may be tried again; otherwise as {@link nextFor}. */
  nextTrouble(relay: string, after: number, pairKeys: readonly string[], now: number): EventRow | undefined;
  /** When the next troublesome event may be tried again. */
  nextRetryAt(now: number): number | undefined;

  /** The ranges in which there is something to replay, and how many events those are. */
  replayRanges(of: SelectionOf): { ranges: SeqRange[]; events: number };
  /** The first retained event in a range that no other relay has, of one of these keys. */
  nextReplay(range: SeqRange, relay: string, pairKeys: readonly string[]): EventRow | undefined;
  /**
   * The first event of a selection after `seq` that is to be stored anew when that is asked for: it is done, no
   * canary, and of the rows of one delivery and body the oldest of the selection, if none of them is undone.
   */
  nextRedelivery(of: SelectionOf, after: number): (EventRow & { body_tag: string }) | undefined;

  /** Deletes events that were done before `doneBefore`, oldest first: whether there may be more. */
  purge(doneBefore: number): boolean;
  /** When the earliest of the first done events was done; 0 when none of the first is done, and more may be. */
  oldestDoneAt(): number | undefined;
  /** Undone events, canaries aside, that were stored before a time, and how many of them have none of these keys. */
  waiting(storedBefore: number, pairKeys: readonly string[]): { events: number; unreachable: number };
}

/** How often a connection may end on one event before the others are let pass. */
const MAX_TROUBLES = 3;
/** Events deleted in one go: an alarm has to end. */
const PURGE_BATCH = 500;
/** One delivery's redeliveries that a replay goes through. */
const MAX_REDELIVERIES = 8;

export function openOutboxSql(storage: DurableObjectStorage): OutboxSql {
  const { sql } = storage;
  migrate(storage);
  const columns = "seq, delivery, topic, bytes, tag, pair_key";
  let stream = first(sql.exec<{ name: string }>("SELECT name FROM stream"))?.name;
  const holders = new Set(
    sql
      .exec<{ relay: string }>("SELECT relay FROM holders")
      .toArray()
      .map(({ relay }) => relay),
  );
  const quiet = `seq NOT IN (SELECT seq FROM troubles WHERE times >= ${MAX_TROUBLES})`;
  const free = "(relay IS NULL OR relay = ?)";
  const missing = "(relay IS NULL OR (relay = ? AND seq IN (SELECT seq FROM troubles)))";
  /** Rows of before there were several keys have none, and go out as they did. */
  const keyed = (pairKeys: readonly string[]) =>
    `(pair_key IS NULL OR pair_key IN (${pairKeys.map(() => "?").join(", ")}))`;
  const newestSeq = () =>
    sql.exec<{ newest: number }>("SELECT coalesce(max(seq), 0) AS newest FROM events").one().newest;

  /** The first events that were done before a time; no row is read that was stored after it. */
  function oldAndDone(doneBefore: number): number[] {
    const newest = newestSeq();
    const seqs: number[] = [];
    for (let after = 0; seqs.length < PURGE_BATCH;) {
      const rows = sql
        .exec<{ seq: number; stored_at: number; done_at: number | null }>(
          `SELECT seq, stored_at, done_at FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ${PURGE_BATCH}`,
          after,
          newest,
        )
        .toArray();
      const old = rows.filter(({ stored_at }) => stored_at < doneBefore);
      seqs.push(
        ...old.filter(({ done_at }) => done_at !== null && done_at < doneBefore).map(({ seq }) => seq),
      );
      const last = rows.at(-1);
      if (!last || last.stored_at >= doneBefore) break;
      after = last.seq;
    }
    return seqs.slice(0, PURGE_BATCH);
  }

  function remove(seq: number): void {
    sql.exec("DELETE FROM chunks WHERE seq = ?", seq);
    sql.exec("DELETE FROM troubles WHERE seq = ?", seq);
    sql.exec("DELETE FROM events WHERE seq = ?", seq);
  }

  return {
    get stream() {
      return stream;
    },
    keepStream(name) {
      sql.exec("INSERT OR IGNORE INTO stream (name) VALUES (?)", name);
      stream = name;
    },
    newestSeq,
    nextSeq: () => newestSeq() + 1,
    find(bodyTag) {
      const row = first(
        sql.exec<Omit<FoundEvent, "done"> & { done: number }>(
          `SELECT seq, delivery, bytes, stored_at AS storedAt, done_at IS NOT NULL AS done FROM events
           WHERE body_tag = ? ORDER BY seq DESC LIMIT 1`,
          bodyTag,
        ),
      );
      return row && { ...row, done: row.done === 1 };
    },
    insert(row, bodyTag, sealed, storedAt) {
      const inRow = sealed.length <= CHUNK_BYTES;
      storage.transactionSync(() => {
        sql.exec(
          `INSERT INTO events (${columns}, body_tag, sealed, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          row.seq,
          row.delivery,
          row.topic,
          row.bytes,
          row.tag,
          row.pair_key,
          bodyTag,
          inRow ? sealed : null,
          storedAt,
        );
        if (inRow) return;
        for (let part = 0; part * CHUNK_BYTES < sealed.length; part += 1) {
          const data = sealed.subarray(part * CHUNK_BYTES, (part + 1) * CHUNK_BYTES);
          sql.exec("INSERT INTO chunks (seq, part, data) VALUES (?, ?, ?)", row.seq, part, data);
        }
      });
    },
    get(seq) {
      const row = first(
        sql.exec<EventRow & { done: number }>(
          `SELECT ${columns}, done_at IS NOT NULL AS done FROM events WHERE seq = ?`,
          seq,
        ),
      );
      return row && { ...row, done: row.done === 1 };
    },
    isWhole: (seq) =>
      first(
        sql.exec<{ whole: number }>(
          `SELECT bytes IS coalesce(length(sealed), (SELECT sum(length(data)) FROM chunks WHERE chunks.seq = events.seq))
           AS whole FROM events WHERE seq = ?`,
          seq,
        ),
      )?.whole === 1,
    *chunks(seq) {
      const { sealed } = sql
        .exec<{ sealed: ArrayBuffer | null }>("SELECT sealed FROM events WHERE seq = ?", seq)
        .one();
      if (sealed) return yield new Uint8Array(sealed);
      for (let part = 0; ; part += 1) {
        const chunk = first(
          sql.exec<{ data: ArrayBuffer }>("SELECT data FROM chunks WHERE seq = ? AND part = ?", seq, part),
        );
        if (!chunk) return undefined;
        yield new Uint8Array(chunk.data);
      }
    },
    markDone(seq, doneAt) {
      sql.exec("UPDATE events SET done_at = ? WHERE seq = ? AND done_at IS NULL", doneAt, seq);
    },

    nextFor: (relay, after, pairKeys, resumed) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${columns} FROM events WHERE done_at IS NULL AND seq > ? AND ${resumed ? missing : free}
           AND ${keyed(pairKeys)} AND ${quiet} ORDER BY seq LIMIT 1`,
          after,
          relay,
          ...pairKeys,
        ),
      ),
    nextFreed: (after, pairKeys) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${columns} FROM events WHERE done_at IS NULL AND seq > ? AND relay IS NULL AND ${keyed(pairKeys)}
           AND ${quiet} ORDER BY seq LIMIT 1`,
          after,
          ...pairKeys,
        ),
      ),
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
    hasUndone: () => first(sql.exec("SELECT 1 FROM events WHERE done_at IS NULL LIMIT 1")) !== undefined,
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
    nextTrouble: (relay, after, pairKeys, now) =>
      first(
        sql.exec<EventRow>(
          `SELECT ${columns} FROM events WHERE done_at IS NULL AND seq > ? AND ${free} AND ${keyed(pairKeys)}
           AND seq IN (SELECT seq FROM troubles WHERE times >= ${MAX_TROUBLES} AND retry_at <= ?)
           ORDER BY seq LIMIT 1`,
          after,
          relay,
          ...pairKeys,
          now,
        ),
      ),
    nextRetryAt: (now) =>
      first(
        sql.exec<{ at: number | null }>(
          `SELECT min(retry_at) AS at FROM troubles WHERE times >= ${MAX_TROUBLES} AND retry_at > ?`,
          now,
        ),
      )?.at ?? undefined,

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
          `SELECT ${columns} FROM events WHERE seq BETWEEN ? AND ?
           AND (done_at IS NOT NULL OR ${free}) AND ${keyed(pairKeys)} ORDER BY seq LIMIT 1`,
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
          `SELECT ${columns}, body_tag FROM events AS event
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

    purge(doneBefore) {
      const old = oldAndDone(doneBefore);
      storage.transactionSync(() => {
        for (const seq of old) remove(seq);
      });
      return old.length === PURGE_BATCH;
    },
    oldestDoneAt() {
      const { at, looked } = sql
        .exec<{ at: number | null; looked: number }>(
          `SELECT min(done_at) AS at, count(*) AS looked
           FROM (SELECT done_at FROM events WHERE seq < ? ORDER BY seq LIMIT ${PURGE_BATCH})`,
          newestSeq(),
        )
        .one();
      return at ?? (looked === PURGE_BATCH ? 0 : undefined);
    },
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

function first<Row extends Record<string, SqlStorageValue>>(cursor: SqlStorageCursor<Row>): Row | undefined {
  return cursor.toArray()[0];
}
