import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, test, vi } from "vitest";
import { concatBytes } from "../../../shared/bytes.ts";
import { CHUNK_BYTES } from "../../../shared/drain.ts";
import { CANARY_TOPIC } from "../../../shared/topic.ts";
import type { SelectionOf } from "../../../worker/outbox/replays.ts";
import { openOutboxSql, type OutboxSql } from "../../../worker/outbox/sql.ts";
import { meter } from "../meter.ts";
import { outbox, storedEvents } from "../stored.ts";

const DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const KEYS = ["pair"];

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("an event", () => {
  test.for([
    { size: 1, blobs: [1] },
    { size: CHUNK_BYTES - 1, blobs: [CHUNK_BYTES - 1] },
    { size: CHUNK_BYTES, blobs: [CHUNK_BYTES] },
    { size: CHUNK_BYTES + 1, blobs: [CHUNK_BYTES, 1] },
    { size: 2 * CHUNK_BYTES - 1, blobs: [CHUNK_BYTES, CHUNK_BYTES - 1] },
    { size: 2 * CHUNK_BYTES, blobs: [CHUNK_BYTES, CHUNK_BYTES] },
    { size: 2 * CHUNK_BYTES + 1, blobs: [CHUNK_BYTES, CHUNK_BYTES, 1] },
  ])(
    "of $size bytes is kept in blobs of at most 1 MiB, and given back in the same pieces",
    async ({ size, blobs }) => {
      const sealed = Uint8Array.from({ length: size }, (_, index) => (index * 31) >> 3);
      const chunks = await withSql((sql) => {
        insert(sql, 1, { sealed });
        expect(sql.isWhole(1)).toBe(true);
        return [...sql.chunks(1)].map((chunk) => chunk.slice());
      });
      expect(chunks.map(({ length }) => length)).toEqual(blobs);
      expect(same(concatBytes(...chunks), sealed)).toBe(true);
      const [stored] = await storedEvents();
      expect([stored?.blobs, stored?.inRow]).toEqual([blobs, blobs.length === 1]);
    },
  );

  it("is numbered from 1, behind the newest, done or not", async () => {
    const numbers = await withSql((sql) => {
      const seen = [sql.nextSeq()];
      insert(sql, 1);
      seen.push(sql.nextSeq());
      sql.markDone(1, 1);
      seen.push(sql.nextSeq());
      return seen;
    });
    expect(numbers).toEqual([1, 2, 2]);
  });

  it("is never stored under another's number", async () => {
    await withSql((sql) => {
      insert(sql, 1);
      expect(() => insert(sql, 1)).toThrow(/UNIQUE/);
    });
  });

  it("is found by its body, the newest first, and whether it is done", async () => {
    const found = await withSql((sql) => {
      const seen = [sql.find("body")];
      insert(sql, 1, { bodyTag: "body", delivery: "delivery-a", storedAt: 1000 });
      seen.push(sql.find("body"));
      sql.markDone(1, 1);
      seen.push(sql.find("body"));
      insert(sql, 2, { bodyTag: "body", delivery: "delivery-b", storedAt: 2000 });
      seen.push(sql.find("body"), sql.find("another body"));
      return seen;
    });
    expect(found).toEqual([
      undefined,
      { seq: 1, delivery: "delivery-a", bytes: 1, storedAt: 1000, done: false },
      { seq: 1, delivery: "delivery-a", bytes: 1, storedAt: 1000, done: true },
      { seq: 2, delivery: "delivery-b", bytes: 1, storedAt: 2000, done: false },
      undefined,
    ]);
  });

  it("keeps the time at which it was first done", async () => {
    const doneAt = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      insert(sql, 1);
      sql.markDone(1, 10);
      sql.markDone(1, 20);
      return storage.sql.exec("SELECT done_at FROM events").one()["done_at"];
    });
    expect(doneAt).toBe(10);
  });
});

describe("the next event", () => {
  it("is the first undone one behind a number", async () => {
    const walked = await withSql((sql) => {
      for (const seq of [1, 2, 3, 4]) insert(sql, seq);
      sql.markDone(2, 1);
      return [0, 1, 3, 4, 99].map((seq) => sql.nextFor("relay-one", seq, KEYS, false)?.seq);
    });
    expect(walked).toEqual([1, 3, 4, undefined, undefined]);
    expect(await withSql((sql) => [sql.get(5), sql.get(2)?.done, sql.get(3)?.done])).toEqual([
      undefined,
      true,
      false,
    ]);
  });

  it("is none that another relay has, but its own", async () => {
    const walked = await withSql((sql) => {
      for (const seq of [1, 2, 3]) insert(sql, seq);
      sql.lease(1, "relay-one");
      sql.lease(2, "relay-two");
      return [
        sql.nextFor("relay-one", 0, KEYS, false)?.seq,
        sql.nextFor("relay-one", 1, KEYS, false)?.seq,
        sql.nextFor("relay-two", 0, KEYS, false)?.seq,
        sql.nextFreed(0, KEYS)?.seq,
      ];
    });
    expect(walked).toEqual([1, 3, 2, 3]);
  });

  it("is, for a relay that goes on, none that it stored, but what was under way to it and what is free", async () => {
    const walked = await withSql((sql) => {
      for (const seq of [1, 2, 3, 4, 5]) insert(sql, seq);
      for (const seq of [1, 2, 4]) sql.lease(seq, "relay-one");
      sql.lease(3, "relay-two");
      sql.noteUnstored(2);
      sql.noteUnstored(3);
      sql.noteUnstored(4);
      sql.clearTrouble(4);
      return [0, 2, 5].map((after) => sql.nextFor("relay-one", after, KEYS, true)?.seq);
    });
    expect(walked).toEqual([2, 5, undefined]);
  });

  it("is set aside by troubles, not by a note that it was under way, which keeps the troubles' count", async () => {
    const walked = await withSql((sql) => {
      insert(sql, 1);
      sql.addTrouble(1, () => 10);
      sql.addTrouble(1, () => 20);
      for (let noted = 0; noted < 5; noted += 1) sql.noteUnstored(1);
      const seen = [sql.nextFor("relay-one", 0, KEYS, false)?.seq];
      sql.addTrouble(1, () => 30);
      return [...seen, sql.nextFor("relay-one", 0, KEYS, false)?.seq, sql.nextRetryAt(0)];
    });
    expect(walked).toEqual([1, undefined, 30]);
  });

  it("is none of a key that was revoked, and one of before there were several keys", async () => {
    const walked = await withSql((sql) => {
      insert(sql, 1, { pair_key: "revoked" });
      insert(sql, 2, { pair_key: null });
      return [[], KEYS, ["revoked"], ["pair", "revoked"]].map((keys) => [
        sql.nextFor("relay-one", 0, keys, false)?.seq,
        sql.nextFreed(0, keys)?.seq,
        sql.nextReplay([1, 2], "relay-one", keys)?.seq,
      ]);
    });
    expect(walked).toEqual([
      [2, 2, 2],
      [2, 2, 2],
      [1, 1, 1],
      [1, 1, 1],
    ]);
  });

  it("is free again when its relay is gone: released, all of it or one alone, but what is done", async () => {
    const walked = await withSql((sql) => {
      for (const seq of [1, 2, 3]) {
        insert(sql, seq);
        sql.lease(seq, "relay-one");
      }
      sql.markDone(1, 1);
      const seen: unknown[] = [sql.holders(), sql.nextFreed(0, KEYS)?.seq];
      sql.releaseOne(3, "relay-two");
      seen.push(sql.nextFreed(0, KEYS)?.seq);
      sql.releaseOne(3, "relay-one");
      seen.push(sql.nextFreed(0, KEYS)?.seq);
      seen.push(sql.release("relay-two"), sql.release("relay-one"), sql.release("relay-one"));
      seen.push(sql.nextFreed(0, KEYS)?.seq, sql.holders());
      return seen;
    });
    expect(walked).toEqual([["relay-one"], undefined, undefined, 3, false, true, false, 2, []]);
    expect((await storedEvents()).map(({ relay }) => relay)).toEqual(["relay-one", null, null]);
  });

  it("is found by reading few rows, however many are done", async () => {
    const read = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 1; seq <= 200; seq += 1) {
        insert(sql, seq);
        if (seq < 200) sql.markDone(seq, 1);
      }
      const counted = meter(storage);
      expect(sql.nextFor("relay-one", 0, KEYS, false)?.seq).toBe(200);
      const next = counted.rowsRead();
      expect(sql.nextFreed(0, KEYS)?.seq).toBe(200);
      return [next, counted.rowsRead() - next];
    });
    for (const rows of read) expect(rows).toBeLessThanOrEqual(3);
  });
});

describe("what is asked for again and again", () => {
  it("reads few rows, however many are kept", async () => {
    const read = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 1; seq <= 2000; seq += 1) {
        insert(sql, seq);
        sql.markDone(seq, 1000 + seq);
      }
      const rowsRead = (ask: () => unknown) => {
        const counted = meter(storage);
        ask();
        const rows = counted.rowsRead();
        vi.restoreAllMocks();
        return rows;
      };
      return {
        opening: rowsRead(() => openOutboxSql(storage)),
        holders: rowsRead(() => sql.holders()),
        find: rowsRead(() => sql.find("tag 2000")),
        nextSeq: rowsRead(() => sql.nextSeq()),
      };
    });
    for (const [asked, rows] of Object.entries(read)) expect(rows, asked).toBeLessThanOrEqual(10);
  });

  it("by an alarm reads no more rows than it may delete, however many are kept", async () => {
    const read = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 1; seq <= 2000; seq += 1) {
        insert(sql, seq, { storedAt: 1000 + seq });
        sql.markDone(seq, 1000 + seq);
      }
      const counted = meter(storage);
      expect(sql.purge(1000)).toBe(false);
      expect(sql.oldestDoneAt()).toBe(1001);
      return counted.rowsRead();
    });
    expect(read).toBeLessThanOrEqual(2 * 510);
  });
});

describe("when there is something to delete", () => {
  it("is told by the earliest of the first that are done, whichever comes first, and not by the newest", async () => {
    const told = await withSql((sql) => {
      for (const seq of [1, 2, 3, 4]) insert(sql, seq);
      const seen = [sql.oldestDoneAt()];
      sql.markDone(4, 5);
      seen.push(sql.oldestDoneAt());
      sql.markDone(1, 300);
      seen.push(sql.oldestDoneAt());
      sql.markDone(3, 100);
      seen.push(sql.oldestDoneAt());
      return seen;
    });
    expect(told).toEqual([undefined, undefined, 300, 100]);
  });

  it("is not known where the first five hundred are undone: it may be now", async () => {
    const told = await withSql((sql) => {
      const seen: unknown[] = [];
      for (let seq = 1; seq <= 500; seq += 1) insert(sql, seq);
      seen.push(sql.oldestDoneAt());
      for (const seq of [501, 502, 503]) insert(sql, seq);
      sql.markDone(502, 1);
      seen.push(sql.oldestDoneAt());
      sql.purge(10);
      seen.push(sql.get(502), sql.get(501)?.done);
      return seen;
    });
    expect(told).toEqual([undefined, 0, undefined, false]);
  });
});

describe("the next event to be stored anew", () => {
  const all: SelectionOf = { from: 1, to: 99 };
  const selections: { name: string; of: SelectionOf; after?: number; seqs: number[] }[] = [
    { name: "by numbers", of: { from: 2, to: 5 }, seqs: [2, 5] },
    { name: "after a number", of: all, after: 2, seqs: [5, 6] },
    { name: "by delivery", of: { delivery: "delivery-b" }, seqs: [2] },
    { name: "by time", of: { since: 2, until: 5 }, seqs: [2, 5] },
    { name: "of a selection without the oldest of its rows", of: { from: 5, to: 99 }, seqs: [5, 6, 8] },
    { name: "of nothing", of: { from: 90, to: 99 }, seqs: [] },
  ];

  it.for(selections)(
    "is done, no canary, and stands for the newer rows of its delivery and body: $name",
    async ({ of, after = 0, seqs }) => {
      const found = await withSql((sql) => {
        insert(sql, 1, { bodyTag: "undone", delivery: "delivery-a", storedAt: 1 });
        insert(sql, 2, { bodyTag: "b", delivery: "delivery-b", storedAt: 2 });
        insert(sql, 3, { bodyTag: "waits", delivery: "delivery-c", storedAt: 3 });
        insert(sql, 4, { topic: CANARY_TOPIC, bodyTag: "canary", storedAt: 4 });
        insert(sql, 5, { bodyTag: "of another id", delivery: "delivery-d", storedAt: 5 });
        insert(sql, 6, { bodyTag: "of another id", delivery: "delivery-e", storedAt: 6 });
        insert(sql, 7, { bodyTag: "waits", delivery: "delivery-c", storedAt: 7 });
        insert(sql, 8, { bodyTag: "b", delivery: "delivery-b", storedAt: 8 });
        for (const seq of [2, 3, 4, 5, 6, 8]) sql.markDone(seq, 9);
        const walked: number[] = [];
        for (let last = after; ;) {
          const row = sql.nextRedelivery(of, last);
          if (!row) return walked;
          walked.push((last = row.seq));
        }
      });
      expect(found).toEqual(seqs);
    },
  );

  it("is found by reading few rows, however many were stored anew", async () => {
    const read = await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 1; seq <= 200; seq += 1) {
        insert(sql, seq, { bodyTag: `tag ${seq % 100}`, delivery: `delivery-${seq % 100}` });
        sql.markDone(seq, 1);
      }
      const counted = meter(storage);
      for (let seq = 0; seq < 99; seq += 1)
        expect(sql.nextRedelivery({ from: 1, to: 200 }, seq)?.seq).toBe(seq + 1);
      return counted.rowsRead();
    });
    expect(read).toBeLessThan(99 * 8);
  });
});

describe("what waits", () => {
  it("is what is undone and older, and apart what has none of the keys", async () => {
    const waiting = await withSql((sql) => {
      insert(sql, 1, { storedAt: 1 });
      insert(sql, 2, { storedAt: 1, pair_key: "revoked" });
      insert(sql, 3, { storedAt: 1, pair_key: null });
      insert(sql, 4, { storedAt: 5 });
      insert(sql, 5, { storedAt: 1 });
      sql.markDone(5, 2);
      return [sql.waiting(5, KEYS), sql.waiting(6, []), sql.waiting(1, KEYS)];
    });
    expect(waiting).toEqual([
      { events: 3, unreachable: 1 },
      { events: 4, unreachable: 3 },
      { events: 0, unreachable: 0 },
    ]);
  });
});

describe("an absence", () => {
  it("is known once that is said, keeps its time, and is over when it is cleared", async () => {
    const seen = await withSql((sql) => {
      sql.setAbsent("relay-one", 10, false);
      const known = [sql.isAbsenceKnown("relay-one")];
      sql.setAbsent("relay-one", 20, true);
      known.push(sql.isAbsenceKnown("relay-one"));
      sql.setAbsent("relay-one", 30, false);
      known.push(sql.isAbsenceKnown("relay-one"), sql.isAbsenceKnown("relay-two"));
      const absences = sql.absences();
      sql.clearAbsence("relay-one");
      known.push(sql.isAbsenceKnown("relay-one"));
      return { known, absences };
    });
    expect(seen).toEqual({
      known: [false, true, true, false, false],
      absences: [{ relay: "relay-one", until: 10 }],
    });
  });
});

describe("the database", () => {
  it("is not written when it is opened again", async () => {
    const written = await runInDurableObject(outbox(), (_object, { storage }) => {
      openOutboxSql(storage);
      const { rowsWritten } = meter(storage);
      openOutboxSql(storage);
      return rowsWritten();
    });
    expect(written).toBe(0);
  });

  it("knows its stream's name from then on", async () => {
    const name = await runInDurableObject(outbox(), (_object, { storage }) => openOutboxSql(storage).stream);
    expect(name).toBe("builder");
  });
});

function insert(
  sql: OutboxSql,
  seq: number,
  {
    sealed = new Uint8Array(1),
    bodyTag = `tag ${seq}`,
    delivery = DELIVERY,
    pair_key = "pair",
    storedAt = 0,
    topic = "webhook.github.push",
  }: {
    sealed?: Uint8Array;
    bodyTag?: string;
    delivery?: string;
    pair_key?: string | null;
    storedAt?: number;
    topic?: string;
  } = {},
): void {
  const row = { seq, delivery, topic, bytes: sealed.length, tag: "tag", pair_key };
  sql.insert(row, bodyTag, sealed, storedAt);
}

function withSql<Result>(use: (sql: OutboxSql) => Result): Promise<Result> {
  return runInDurableObject(outbox(), (_object, { storage }) => use(openOutboxSql(storage)));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
