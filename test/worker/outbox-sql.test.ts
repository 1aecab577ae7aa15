import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, test, vi } from "vitest";
import { concatBytes } from "../../shared/bytes.ts";
import { CHUNK_BYTES } from "../../shared/drain.ts";
import { openOutboxSql, type OutboxSql } from "../../worker/outbox-sql.ts";
import { outbox, storedEvents } from "./stored.ts";

const DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("the outbox's SQL", () => {
  test.for([
    { size: 1, blobs: [1] },
    { size: CHUNK_BYTES - 1, blobs: [CHUNK_BYTES - 1] },
    { size: CHUNK_BYTES, blobs: [CHUNK_BYTES] },
    { size: CHUNK_BYTES + 1, blobs: [CHUNK_BYTES, 1] },
    { size: 2 * CHUNK_BYTES - 1, blobs: [CHUNK_BYTES, CHUNK_BYTES - 1] },
    { size: 2 * CHUNK_BYTES, blobs: [CHUNK_BYTES, CHUNK_BYTES] },
    { size: 2 * CHUNK_BYTES + 1, blobs: [CHUNK_BYTES, CHUNK_BYTES, 1] },
  ])(
    "keeps $size bytes in blobs of at most 1 MiB, and gives them back in the same pieces",
    async ({ size, blobs }) => {
      const sealed = Uint8Array.from({ length: size }, (_, index) => (index * 31) >> 3);
      const chunks = await withSql((sql) => {
        sql.insert(row(1, size), sealed, 0);
        return [...sql.chunks(1)].map((chunk) => chunk.slice());
      });
      expect(chunks.map(({ length }) => length)).toEqual(blobs);
      expect(same(concatBytes(...chunks), sealed)).toBe(true);
      const [stored] = await storedEvents();
      expect([stored?.blobs, stored?.inRow]).toEqual([blobs, blobs.length === 1]);
    },
  );

  it("writes four rows for an event from its storing to its end, as workerd counts them, indexes included", async () => {
    const written = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      const { rowsWritten } = meter(storage);
      sql.insert(row(1, 100), new Uint8Array(100), 0);
      const inserted = rowsWritten();
      sql.markDone(1, 1);
      return { inserted, done: rowsWritten() - inserted };
    });
    // The free plan bills each of them, of 100,000 a day.
    expect(written).toEqual({ inserted: 3, done: 1 });
  });

  it("writes nothing when it is opened again", async () => {
    const written = await runInDurableObject(outbox(), (_object, { storage }) => {
      openOutboxSql(storage);
      const { rowsWritten } = meter(storage);
      openOutboxSql(storage);
      return rowsWritten();
    });
    expect(written).toBe(0);
  });

  it("reads one row to find the next undone event, however many are done", async () => {
    const read = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 1; seq <= 200; seq += 1) {
        sql.insert(row(seq, 1), new Uint8Array(1), 0);
        if (seq < 200) sql.markDone(seq, 1);
      }
      const { rowsRead } = meter(storage);
      expect(sql.undoneAfter(0)?.seq).toBe(200);
      return rowsRead();
    });
    expect([1, 2]).toContain(read);
  });

  it("numbers from 1 and goes on behind the newest event, done or not", async () => {
    const numbers = await withSql((sql) => {
      const seen = [sql.nextSeq()];
      sql.insert(row(1, 1), new Uint8Array(1), 0);
      seen.push(sql.nextSeq());
      sql.markDone(1, 1);
      seen.push(sql.nextSeq());
      return seen;
    });
    expect(numbers).toEqual([1, 2, 2]);
  });

  it("never stores two events under one number", async () => {
    await withSql((sql) => {
      sql.insert(row(1, 1), new Uint8Array(1), 0);
      expect(() => sql.insert(row(1, 1), new Uint8Array(1), 0)).toThrow(/UNIQUE/);
    });
  });

  it("finds the newest event of a delivery, and whether it is done", async () => {
    const found = await withSql((sql) => {
      const seen = [sql.find(DELIVERY)];
      sql.insert(row(1, 1), new Uint8Array(1), 0);
      seen.push(sql.find(DELIVERY));
      sql.markDone(1, 1);
      seen.push(sql.find(DELIVERY));
      sql.insert(row(2, 1), new Uint8Array(1), 2);
      seen.push(sql.find(DELIVERY), sql.find("another-delivery"));
      return seen;
    });
    expect(found).toEqual([
      undefined,
      { seq: 1, done: false },
      { seq: 1, done: true },
      { seq: 2, done: false },
      undefined,
    ]);
  });

  it("keeps the time at which an event was first done", async () => {
    const doneAt = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      sql.insert(row(1, 1), new Uint8Array(1), 0);
      sql.markDone(1, 10);
      sql.markDone(1, 20);
      return storage.sql.exec("SELECT done_at FROM events").one()["done_at"];
    });
    expect(doneAt).toBe(10);
  });

  it("walks the undone events in order and knows no others", async () => {
    const walked = await withSql((sql) => {
      for (const seq of [1, 2, 3, 4]) sql.insert(row(seq, seq), new Uint8Array(seq), 0);
      sql.markDone(2, 1);
      return [0, 1, 3, 4, 99].map((seq) => sql.undoneAfter(seq)?.seq);
    });
    expect(walked).toEqual([1, 3, 4, undefined, undefined]);
    expect(await withSql((sql) => [sql.get(5), sql.get(2)?.done, sql.get(3)?.done])).toEqual([
      undefined,
      true,
      false,
    ]);
  });
});

function row(seq: number, bytes: number) {
  return { seq, delivery: DELIVERY, topic: "webhook.github.push", bytes, tag: "tag" };
}

function withSql<Result>(use: (sql: OutboxSql) => Result): Promise<Result> {
  return runInDurableObject(outbox(), (_object, { storage }) => use(openOutboxSql(storage)));
}

/** Counts what the SQL costs that runs from now on. */
function meter({ sql }: DurableObjectStorage) {
  const exec = vi.spyOn(sql, "exec");
  const sum = (cost: "rowsWritten" | "rowsRead") =>
    exec.mock.results.reduce((total, { value: cursor }) => total + cursor[cost], 0);
  return { rowsWritten: () => sum("rowsWritten"), rowsRead: () => sum("rowsRead") };
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
