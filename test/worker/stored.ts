/** What the outbox really holds: its SQLite tables, read from within the object, and opened as the builder would. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { concatBytes } from "../../shared/bytes.ts";
import { open } from "../../shared/cryptobox.ts";
import { decodeEvent, type OpenedEvent } from "../../shared/event.ts";
import type { Drain, Open } from "../../worker/drain/machine.ts";
import { STREAM, shared } from "./parties.ts";

export interface StoredEvent {
  seq: number;
  delivery: string;
  topic: string;
  bytes: number;
  tag: string;
  done: boolean;
  /** In ms since 1970. */
  storedAt: number;
  /** Which relay has it. */
  relay: string | null;
  sealed: Uint8Array<ArrayBuffer>;
  /** Whether the sealed bytes lie in the event's own row, which costs no other. */
  inRow: boolean;
  /** Sizes of the blobs that hold the sealed bytes. */
  blobs: number[];
}

export const outbox = (stream = STREAM) => env.OUTBOX.getByName(stream);

interface Row {
  [column: string]: SqlStorageValue;
  seq: number;
  delivery: string;
  topic: string;
  bytes: number;
  tag: string;
  sealed: ArrayBuffer | null;
  stored_at: number;
  done_at: number | null;
  relay: string | null;
}

export function storedEvents(stream = STREAM): Promise<StoredEvent[]> {
  return runInDurableObject(outbox(stream), (_object, { storage: { sql } }) => {
    const rows = sql.exec<Row>("SELECT * FROM events ORDER BY seq").toArray();
    return rows.map(({ seq, delivery, topic, bytes, tag, sealed, stored_at, done_at, relay }) => {
      const chunks = sql
        .exec<{ data: ArrayBuffer }>("SELECT data FROM chunks WHERE seq = ? ORDER BY part", seq)
        .toArray()
        .map(({ data }) => data);
      const blobs = [...(sealed ? [sealed] : []), ...chunks].map((blob) => new Uint8Array(blob));
      return {
        seq,
        delivery,
        topic,
        bytes,
        tag,
        done: done_at !== null,
        storedAt: stored_at,
        relay,
        inRow: sealed !== null,
        sealed: concatBytes(...blobs),
        blobs: blobs.map(({ length }) => length),
      };
    });
  });
}

/** Every value of every column of every table, whatever the tables are. */
export function everyStoredValue(): Promise<{ column: string; value: SqlStorageValue }[]> {
  return runInDurableObject(outbox(), (_object, { storage: { sql } }) =>
    sql
      .exec<{ name: string }>(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
      )
      .toArray()
      .flatMap(({ name }) =>
        sql
          .exec<Record<string, SqlStorageValue>>(`SELECT * FROM "${name}"`)
          .toArray()
          .flatMap((row) =>
            Object.entries(row).map(([column, value]) => ({ column: `${name}.${column}`, value })),
          ),
      ),
  );
}

/** Opens a stored event as the builder does. */
export function openStored({ topic, sealed }: StoredEvent, key = shared): OpenedEvent {
  return decodeEvent(topic, open(sealed, key));
}

/** Runs SQL inside the object: damage, or a row as it was once. */
export function execInOutbox(statements: string, stream = STREAM): Promise<void> {
  return runInDurableObject(outbox(stream), (_object, { storage: { sql } }) => void sql.exec(statements));
}

/** All rows of one of the outbox's tables. */
export function rowsOf(
  table: "absences" | "chunks" | "migrations" | "stream" | "troubles",
  stream = STREAM,
): Promise<Record<string, SqlStorageValue>[]> {
  return runInDurableObject(outbox(stream), (_object, { storage: { sql } }) =>
    sql.exec<Record<string, SqlStorageValue>>(`SELECT * FROM ${table}`).toArray(),
  );
}

/** Uses a relay's socket as the object sees it, with its drain. */
export function socketOf<Result>(
  relay: string,
  use: (socket: WebSocket, drain: Open) => Result,
  stream = STREAM,
): Promise<Result> {
  return runInDurableObject(outbox(stream), (_object, state) => {
    for (const socket of state.getWebSockets()) {
      const drain = socket.deserializeAttachment() as Drain;
      if (drain.phase === "open" && drain.relay === relay) return use(socket, drain);
    }
    throw new Error(`${relay} has no socket`);
  });
}
