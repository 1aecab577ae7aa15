/** What the outbox really holds: its SQLite tables, read from within the object, and opened as the builder would. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { concatBytes } from "../../shared/bytes.ts";
import { open } from "../../shared/cryptobox.ts";
import { decodeEvent, type OpenedEvent } from "../../shared/event.ts";
import { STREAM, shared } from "./parties.ts";

export interface StoredEvent {
  seq: number;
  delivery: string;
  topic: string;
  bytes: number;
  tag: string;
  done: boolean;
  sealed: Uint8Array<ArrayBuffer>;
  /** Whether the sealed bytes lie in the event's own row, which costs no other. */
  inRow: boolean;
  /** Sizes of the blobs that hold the sealed bytes. */
  blobs: number[];
}

export const outbox = () => env.OUTBOX.getByName(STREAM);

interface Row {
  [column: string]: SqlStorageValue;
  seq: number;
  delivery: string;
  topic: string;
  bytes: number;
  tag: string;
  sealed: ArrayBuffer | null;
  done_at: number | null;
}

export function storedEvents(): Promise<StoredEvent[]> {
  return runInDurableObject(outbox(), (_object, { storage: { sql } }) => {
    const rows = sql.exec<Row>("SELECT * FROM events ORDER BY seq").toArray();
    return rows.map(({ seq, delivery, topic, bytes, tag, sealed, done_at }) => {
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
export function openStored({ topic, sealed }: StoredEvent): OpenedEvent {
  return decodeEvent(topic, open(sealed, shared));
}
