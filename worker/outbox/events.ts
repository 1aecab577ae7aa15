/** The events. A row is an event; its sealed bytes lie in the row while they fit in one chunk, else in `chunks`. */
import { CHUNK_BYTES } from "../../shared/drain.ts";

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

export interface OutboxEvents {
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
}

/** Of a row what an {@link EventRow} has. */
export const COLUMNS = "seq, delivery, topic, bytes, tag, pair_key";

export function openEvents(storage: DurableObjectStorage): OutboxEvents {
  const { sql } = storage;
  const newestSeq = () =>
    sql.exec<{ newest: number }>("SELECT coalesce(max(seq), 0) AS newest FROM events").one().newest;

  return {
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
          `INSERT INTO events (${COLUMNS}, body_tag, sealed, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
          `SELECT ${COLUMNS}, done_at IS NOT NULL AS done FROM events WHERE seq = ?`,
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
  };
}

/** Rows of before there were several keys have none, and go out as they did. */
export function keyed(pairKeys: readonly string[]): string {
  return `(pair_key IS NULL OR pair_key IN (${pairKeys.map(() => "?").join(", ")}))`;
}

export function first<Row extends Record<string, SqlStorageValue>>(
  cursor: SqlStorageCursor<Row>,
): Row | undefined {
  return cursor.toArray()[0];
}
