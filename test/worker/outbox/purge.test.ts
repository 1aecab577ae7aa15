import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CHUNK_BYTES } from "../../../shared/drain.ts";
import { openOutboxSql } from "../../../worker/outbox/sql.ts";
import { alarmIn, letPass, untilAlarm } from "../clock.ts";
import { configure } from "../configure.ts";
import { deliver } from "../deliver.ts";
import { bindings } from "../parties.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { execInOutbox, outbox, rowsOf, storedEvents } from "../stored.ts";

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("a done event", () => {
  it("is kept for seven days, and deleted by the alarm then, with its chunks", async () => {
    await deliver({ body: `{"a":"${"x".repeat(2 * CHUNK_BYTES)}"}` });
    await deliver();
    await deliver();
    await finish(2);
    letPass(7 * DAY_MS - HOUR_MS);
    await runDurableObjectAlarm(outbox());
    expect(await seqs()).toEqual([1, 2, 3]);
    expect(await rowsOf("chunks")).not.toEqual([]);

    expect(await ringAllUntil(2 * HOUR_MS)).toBeGreaterThan(0);
    expect(await seqs()).toEqual([3]);
    expect(await rowsOf("chunks")).toEqual([]);
  });

  it("is kept as long as the recipient's retention_days say", async () => {
    await retain(1);
    await deliver();
    await deliver();
    await finish(1);
    letPass(DAY_MS - HOUR_MS);
    await runDurableObjectAlarm(outbox());
    expect(await seqs()).toEqual([1, 2]);
    await ringAllUntil(2 * HOUR_MS);
    expect(await seqs()).toEqual([2]);
  });

  it("goes within hours where nothing is to be kept", async () => {
    await retain(0);
    for (let count = 0; count < 4; count += 1) await deliver();
    await finish(3);
    expect(await seqs()).toEqual([1, 2, 3, 4]);
    await ringAllUntil(2 * HOUR_MS);
    expect(await seqs()).toEqual([4]);
  });

  it("goes though one before it stays undone, and at the latest with one before it that was done later", async () => {
    await retain(1);
    for (let count = 0; count < 4; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [, second, third] = await relay.drain(4);
    if (!second || !third) throw new Error("four events were expected");
    await relay.done(3, receiptFor(third));
    letPass(DAY_MS / 2);
    const again = await RelaySocket.open();
    await again.done(2, receiptFor(second));
    await again.leave();
    await ringAllUntil(DAY_MS / 2 - HOUR_MS);
    expect(await seqs()).toEqual([1, 2, 3, 4]);
    await ringAllUntil(DAY_MS / 2 + 3 * HOUR_MS);
    expect(await seqs()).toEqual([1, 4]);
  });

  it("goes though the store is so full that not even a relay's absence can be noted", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [first] = await relay.drain(3);
    await relay.done(1, receiptFor(first));
    await execInOutbox(
      "CREATE TRIGGER full BEFORE INSERT ON absences BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
    await relay.leave();
    letPass(7 * DAY_MS);
    await runDurableObjectAlarm(outbox());
    expect(await seqs()).toEqual([2, 3]);
  });

  it("that cannot go stays, and a silent relay loses its events to another all the same", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const one = await RelaySocket.open("relay-one");
    const [first] = await one.drain(3);
    await one.done(1, receiptFor(first));
    await execInOutbox(
      "CREATE TRIGGER stuck BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
    letPass(8 * DAY_MS);
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 3 });
    await runDurableObjectAlarm(outbox());
    expect((await two.events(2)).map(({ seq }) => seq)).toEqual([2, 3]);
    expect((await one.closed).code).toBe(4408);
    expect(await seqs()).toEqual([1, 2, 3]);
    expect(await alarmIn()).toBeLessThanOrEqual(HOUR_MS);
  });

  it("goes though the object was away when its time came", async () => {
    await deliver();
    await deliver();
    await finish(1);
    await evictDurableObject(outbox());
    letPass(8 * DAY_MS);
    await untilAlarm();
    expect(await seqs()).toEqual([2]);
  });
});

describe("a done event behind others", () => {
  it("goes in its time when an earlier number is done later", async () => {
    await retain(1);
    for (let count = 0; count < 4; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [first, second] = await relay.drain(4);
    if (!second) throw new Error("four events were expected");
    await relay.done(2, receiptFor(second));
    await ringAllUntil(DAY_MS - HOUR_MS);
    const late = await RelaySocket.open();
    await late.done(1, receiptFor(first));
    await late.leave();
    await ringAllUntil(3 * HOUR_MS);
    expect(await seqs()).toEqual([1, 3, 4]);
    await ringAllUntil(DAY_MS);
    expect(await seqs()).toEqual([3, 4]);
  });

  it("goes though five hundred at the head stay undone", async () => {
    await retain(1);
    await deliver();
    await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 2; seq <= 503; seq += 1) {
        const { topic, tag, pair_key } = sql.get(1) ?? { topic: "", tag: "", pair_key: null };
        const row = { seq, delivery: `delivery-${seq}`, topic, bytes: 1, tag, pair_key };
        sql.insert(row, `${seq}`, new Uint8Array(1), Date.now());
      }
      for (const seq of [501, 502]) sql.markDone(seq, Date.now());
    });
    await evictDurableObject(outbox());
    await ringAllUntil(DAY_MS - HOUR_MS);
    expect(await seqs()).toHaveLength(503);
    await ringAllUntil(3 * HOUR_MS);
    expect((await seqs()).slice(-2)).toEqual([500, 503]);
    expect(await seqs()).toHaveLength(501);
  });
});

describe("what is never deleted", () => {
  it("is an undone event, however old", async () => {
    await deliver();
    await deliver();
    letPass(100 * DAY_MS);
    await runDurableObjectAlarm(outbox());
    await ringAllUntil(DAY_MS);
    expect(await seqs()).toEqual([1, 2]);
  });

  it("is the newest event: numbers go on behind it", async () => {
    await deliver();
    await deliver();
    await finish(2);
    await ringAllUntil(10 * DAY_MS);
    expect(await seqs()).toEqual([2]);
    await evictDurableObject(outbox());
    expect((await deliver()).json.stored).toEqual([{ stream: "builder", seq: 3, duplicate: false }]);
    await finish(1);
    await ringAllUntil(10 * DAY_MS);
    expect(await seqs()).toEqual([3]);
  });
});

describe("the alarm that deletes", () => {
  it("deletes at most 500 events at a time, and rings again at once for the rest", async () => {
    await deliver();
    await runInDurableObject(outbox(), (_object, { storage }) => {
      const sql = openOutboxSql(storage);
      for (let seq = 2; seq <= 1101; seq += 1) {
        const row = {
          seq,
          delivery: `delivery-${seq}`,
          topic: "webhook.github.push",
          bytes: 1,
          tag: "",
          pair_key: null,
        };
        sql.insert(row, `${seq}`, new Uint8Array(1), 0);
        sql.markDone(seq, 1000);
      }
    });
    await deliver();
    const left: number[] = [];
    // The first time by a delivery's own alarms, or none: the object is started anew, and arms one.
    await evictDurableObject(outbox());
    const waits: number[] = [];
    for (let times = 0; times < 3; times += 1) {
      const before = (await seqs()).length;
      waits.push(await untilAlarm());
      left.push((await seqs()).length);
      expect(before - (left.at(-1) ?? 0)).toBeLessThanOrEqual(500);
    }
    expect(left.at(-1)).toBe(2);
    expect(waits.slice(1)).toEqual([expect.closeTo(0, -3), expect.closeTo(0, -3)]);
    expect(await seqs()).toEqual([1, 1102]);
  });

  it("is not armed when nothing is undone and nothing is to be deleted", async () => {
    await deliver();
    await finish(1);
    await ringAllUntil(8 * DAY_MS);
    expect(await alarmIn()).toBeUndefined();
  });
});

async function retain(days: number): Promise<void> {
  await configure({ RECIPIENTS: { builder: { ...bindings.RECIPIENTS.builder, retention_days: days } } });
  await evictDurableObject(outbox());
}

async function seqs(): Promise<number[]> {
  return (await storedEvents()).map(({ seq }) => seq);
}

async function undone(): Promise<number> {
  return (await storedEvents()).filter(({ done }) => !done).length;
}

/** Drains that many events and has them done. */
async function finish(count: number): Promise<void> {
  const relay = await RelaySocket.open();
  // What comes next is taken, too, so that it is not in the way of the answers.
  const events = await relay.drain(500, await undone());
  for (const event of events.slice(0, count))
    expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
  await relay.leave();
}

/** Has every alarm ring that is due in so many milliseconds, each in its time: how often. */
async function ringAllUntil(ms: number): Promise<number> {
  const end = Date.now() + ms;
  let rung = 0;
  for (;;) {
    const next = await alarmIn();
    if (next === undefined || Date.now() + next > end) break;
    await untilAlarm();
    rung += 1;
    expect(rung, "alarms").toBeLessThan(30);
  }
  letPass(end - Date.now());
  return rung;
}
