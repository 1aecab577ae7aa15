import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { CHUNK_BYTES } from "../../../shared/drain.ts";
import { alarmIn, letPass, ringUntil, untilAlarm } from "../clock.ts";
import { deliver } from "../deliver.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { execInOutbox, outbox, rowsOf, storedEvents } from "../stored.ts";

let printed: string[];

beforeEach(() => {
  printed = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("an event on which connections end", () => {
  it("is sent as ever after the first two times, and holds up the others no more after the third", async () => {
    await deliverMany(3);
    for (let times = 0; times < 3; times += 1) {
      const relay = await RelaySocket.open();
      expect((await relay.drain(1)).map(({ seq }) => seq)).toEqual([1]);
      await relay.leave();
    }
    const relay = await RelaySocket.open();
    expect((await relay.drain(2)).map(({ seq }) => seq)).toEqual([2, 3]);
    expect((await rowsOf("troubles")).map(({ seq, times }) => [seq, times])).toEqual([[1, 3]]);
  });

  it("is the first that was not stored: those behind it make no trouble", async () => {
    await deliverMany(3);
    const relay = await RelaySocket.open();
    await relay.drain(3);
    relay.send({ type: "stored", seq: 1 });
    expect(await relay.isQuiet()).toBe(true);
    await relay.leave();
    // That the third was under way is noted, and is not held against it.
    expect((await rowsOf("troubles")).map(({ seq, times }) => [seq, times])).toEqual([
      [2, 1],
      [3, 0],
    ]);
  });

  it("is tried again, alone, when a while has passed, and once only on a socket", async () => {
    await deliverMany(2);
    await trouble(1);
    const relay = await RelaySocket.open();
    const [second] = await relay.drain(5, 1);
    expect(second.seq).toBe(2);
    await ringUntil(async () => {
      expect(await relay.isQuiet()).toBe(true);
      return (await rowsOf("troubles")).every(({ retry_at }) => Number(retry_at) <= Date.now());
    });
    // The other is under way: the troublesome one waits until it is alone.
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 2 });
    expect((await relay.event()).seq).toBe(1);
    await deliver();
    expect((await relay.event()).seq).toBe(3);

    relay.send({ type: "stored", seq: 1 });
    relay.send({ type: "stored", seq: 3 });
    expect(await relay.isQuiet()).toBe(true);
    expect(await rowsOf("troubles")).toEqual([]);
  });

  it("is not sent a second time on a socket, though it is the newest and stored is said", async () => {
    await deliver();
    await trouble(1);
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 5 });
    await retryTime(relay);
    expect((await relay.event()).seq).toBe(1);
    relay.send({ type: "stored", seq: 1 });
    expect(await relay.isQuiet()).toBe(true);
    expect((await deliver()).status).toBe(202);
    expect((await relay.event()).seq).toBe(2);
  });

  it("is tried after a later one, too, when its own time comes", async () => {
    await deliverMany(2);
    await trouble(2);
    letPass(60_000);
    await trouble(1);
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 5 });
    for (const seq of [2, 1]) {
      await retryTime(relay);
      expect((await relay.event()).seq).toBe(seq);
      relay.send({ type: "stored", seq });
    }
  });

  it("waits ever longer, up to an hour, as the connection goes on to end on it", async () => {
    await deliver();
    await trouble(1);
    const waits: number[] = [];
    for (let times = 0; times < 6; times += 1) {
      const [{ retry_at = 0 } = {}] = await rowsOf("troubles");
      waits.push(Math.round((Number(retry_at) - Date.now()) / 60_000));
      const relay = await RelaySocket.open();
      relay.send({ type: "credit", events: 5 });
      await retryTime(relay);
      expect((await relay.event()).seq).toBe(1);
      await relay.leave();
    }
    expect(waits).toEqual([8, 16, 32, 60, 60, 60]);
  });

  it("makes none any more once it is done, and leaves no trace when it is purged", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    await relay.leave();
    expect(await rowsOf("troubles")).toHaveLength(1);
    const next = await RelaySocket.open();
    await next.drain(1);
    // The receipt may overtake the queue's answer.
    expect(await next.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    expect(await rowsOf("troubles")).toEqual([]);
  });
});

describe("a row that lost bytes", () => {
  const large = { body: `{"a":"${"x".repeat(2 * CHUNK_BYTES)}"}` };
  test.for([
    { name: "a chunk is missing", delivery: large, damage: "DELETE FROM chunks WHERE seq = 2 AND part = 1" },
    { name: "all chunks are missing", delivery: large, damage: "DELETE FROM chunks WHERE seq = 2" },
    {
      name: "a chunk is cut",
      delivery: large,
      damage: "UPDATE chunks SET data = x'00' WHERE seq = 2 AND part = 2",
    },
    {
      name: "the blob is cut",
      delivery: {},
      damage: "UPDATE events SET sealed = substr(sealed, 2) WHERE seq = 2",
    },
    { name: "the blob is missing", delivery: {}, damage: "UPDATE events SET sealed = NULL WHERE seq = 2" },
  ])("is reported once, left out, and blocks nothing: $name", async ({ delivery, damage }) => {
    await deliver();
    const { json } = await deliver(delivery);
    await deliver();
    await execInOutbox(damage);
    const relay = await RelaySocket.open();
    expect((await relay.drain(10, 2)).map(({ seq }) => seq)).toEqual([1, 3]);
    await deliver();
    expect((await relay.event()).seq).toBe(4);
    expect(await relay.isQuiet()).toBe(true);
    expect(errors()).toEqual([
      {
        event: "error",
        at: expect.any(Number),
        code: "ERR_ROW_DAMAGED",
        message: expect.any(String),
        hint: expect.any(String),
        stream: "builder",
        seq: 2,
        delivery: json.delivery,
      },
    ]);
  });

  it("is reported again a day later, not before", async () => {
    await deliver();
    await execInOutbox("UPDATE events SET sealed = NULL");
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    for (let asked = 0; asked < 5; asked += 1) expect(await relay.isQuiet()).toBe(true);
    await evictDurableObject(outbox());
    relay.send({ type: "credit", events: 10 });
    expect(await relay.isQuiet()).toBe(true);
    expect(errors()).toHaveLength(1);
    letPass(24 * 60 * 60_000 - 60_000);
    relay.send({ type: "credit", events: 10 });
    expect(await relay.isQuiet()).toBe(true);
    expect(errors()).toHaveLength(1);
    letPass(120_000);
    relay.send({ type: "credit", events: 10 });
    expect(await relay.isQuiet()).toBe(true);
    expect(errors()).toHaveLength(2);
  });

  it("is left out of a replay, and nothing is known of it once it is deleted", async () => {
    await deliverMany(3);
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(3)) await relay.done(event.seq, receiptFor(event));
    await execInOutbox("UPDATE events SET sealed = NULL WHERE seq = 2");
    await relay.replay({ from: 1, to: 3 });
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([1, 3]);
    for (const seq of [1, 3]) relay.send({ type: "stored", seq });
    expect(await relay.isQuiet()).toBe(true);
    expect(errors()).toHaveLength(1);
    expect(await rowsOf("troubles")).toHaveLength(1);
    letPass(8 * 24 * 60 * 60_000);
    await ringUntil(async () => (await storedEvents()).length === 1);
    expect(await rowsOf("troubles")).toEqual([]);
  });
});

describe("a store that fails", () => {
  const full = (table: "events" | "chunks" | "troubles", when = "") =>
    `CREATE TRIGGER full BEFORE INSERT ON ${table} ${when} BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`;
  const large = { body: `{"a":"${"x".repeat(3 * CHUNK_BYTES)}"}` };

  test.for([
    { name: "at the row", trigger: full("events"), delivery: {} },
    { name: "at the first chunk", trigger: full("chunks"), delivery: large },
    { name: "half-way through the chunks", trigger: full("chunks", "WHEN NEW.part = 2"), delivery: large },
  ])(
    "stores nothing of the delivery, spends no number, and goes on afterwards: $name",
    async ({ trigger, delivery }) => {
      await deliver();
      const relay = await RelaySocket.open();
      relay.send({ type: "credit", events: 10 });
      expect((await relay.event()).seq).toBe(1);
      await execInOutbox(trigger);
      const failed = await deliver(delivery);
      expect([failed.status, failed.json.error?.code]).toEqual([503, "ERR_STORE"]);
      expect(JSON.stringify(failed.json)).not.toContain("disk");
      expect(printed.join("\n")).not.toContain("disk");
      expect(await storedEvents()).toHaveLength(1);
      expect(await rowsOf("chunks")).toEqual([]);
      expect(await relay.isQuiet()).toBe(true);

      await execInOutbox("DROP TRIGGER full");
      expect((await deliver(delivery)).json.stored).toEqual([
        { stream: "builder", seq: 2, duplicate: false },
      ]);
      expect((await relay.event()).seq).toBe(2);
    },
  );

  it("lets relays drain what is there, and have it done", async () => {
    await deliverMany(2);
    await execInOutbox(full("events"));
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(2))
      expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
    expect((await deliver()).status).toBe(503);
  });

  it("keeps no socket whose relay left, though what was under way to it cannot be noted", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(1);
    await execInOutbox(full("troubles"));
    await relay.leave();
    await execInOutbox("DROP TRIGGER full");
    expect(
      (await (await RelaySocket.open("relay-one", { resume: true })).drain(1)).map(({ seq }) => seq),
    ).toEqual([1]);
  });

  it("has no event missing on a socket when not even a relay's name can be written to it", async () => {
    await deliverMany(2);
    const relay = await RelaySocket.open();
    await execInOutbox(
      "CREATE TRIGGER full BEFORE UPDATE ON events WHEN NEW.seq = 2 BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
    relay.send({ type: "credit", events: 10 });
    expect((await relay.event()).seq).toBe(1);
    expect((await relay.closed).code).toBe(1011);
    await execInOutbox("DROP TRIGGER full");
    expect((await (await RelaySocket.open()).drain(2)).map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test.for([
    { name: "the first", seq: 1, others: [2, 3] },
    { name: "one in the middle", seq: 2, others: [1, 3] },
    { name: "the last", seq: 3, others: [1, 2] },
  ])(
    "sets aside an event that cannot be sent after three connections, and no other: $name",
    async ({ seq: broken, others }) => {
      await deliverMany(3);
      await execInOutbox(
        `CREATE TRIGGER full BEFORE UPDATE OF relay ON events WHEN NEW.seq = ${broken} BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`,
      );
      for (let times = 1; times <= 3; times += 1) {
        const relay = await RelaySocket.open();
        relay.send({ type: "credit", events: 10 });
        expect((await relay.closed).code).toBe(1011);
        const { times: counted } = (await rowsOf("troubles")).find(({ seq }) => seq === broken) ?? {};
        expect(counted).toBe(times);
      }
      const relay = await RelaySocket.open();
      relay.send({ type: "credit", events: 10 });
      expect((await relay.eventsByNow()).map(({ seq }) => seq)).toEqual(others);
      await execInOutbox("DROP TRIGGER full");
      for (const seq of others) relay.send({ type: "stored", seq });
      await retryTime(relay);
      expect((await relay.event()).seq).toBe(broken);
    },
  );

  it("is reported by the outbox with the database's code, and by the Worker with its own", async () => {
    await deliver();
    await execInOutbox(full("events"));
    await deliver({ headers: { "X-GitHub-Delivery": "the-delivery" } });
    const told = { event: "error", at: expect.any(Number), stream: "builder", delivery: "the-delivery" };
    expect(errors()).toEqual([
      { ...told, code: expect.stringMatching(/^SQLITE_[A-Z_]+$/), message: "the store failed" },
      { ...told, code: "ERR_STORE", message: expect.any(String) },
    ]);
  });

  it("is reported so also when not even a duplicate can be looked for", async () => {
    await deliver();
    await execInOutbox("ALTER TABLE events RENAME TO gone");
    await deliver();
    expect(errors()).toMatchObject([
      { code: "SQLITE_ERROR", stream: "builder" },
      { code: "ERR_STORE", stream: "builder" },
    ]);
  });

  it("is reported by the outbox with our code where it is no failure of the database's", async () => {
    const request = {
      v: 1,
      id: "delivery",
      event: "push",
      topic: "webhook.github.push",
      hookId: null,
    } as const;
    const call = { ...request, signature: "", bytes: 5, leadingNul: [], bodyTag: "push:tag" };
    // Errors do not come through a call from a test.
    await runInDurableObject(outbox(), async (object) => {
      await expect(object.take(call, new Uint8Array(4))).rejects.toThrow();
    });
    expect(errors()).toMatchObject([{ code: "ERR_BODY_LENGTH", stream: "builder", delivery: "delivery" }]);
    expect(await storedEvents()).toEqual([]);
  });

  it("fails no delivery that is stored because it cannot be sent on", async () => {
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    expect(await relay.isQuiet()).toBe(true);
    await execInOutbox(
      "CREATE TRIGGER full BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
    expect((await deliver()).status).toBe(202);
  });

  it("is tried again by the alarm: one that failed is armed anew, and reported", async () => {
    await deliver();
    await RelaySocket.dial();
    await execInOutbox("ALTER TABLE absences RENAME TO gone");
    await untilAlarm();
    expect(errors()).toEqual([
      {
        event: "error",
        at: expect.any(Number),
        code: "ERR_INTERNAL",
        message: expect.any(String),
        stream: "builder",
      },
    ]);
    expect(await alarmIn()).toBeGreaterThan(0);
    await execInOutbox("ALTER TABLE gone RENAME TO absences");
    await untilAlarm();
    expect(errors()).toHaveLength(1);
  });
});

describe("a relay's socket that is over, though the object was not told yet", () => {
  it("makes no delivery fail", async () => {
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 100 });
    expect(await relay.isQuiet()).toBe(true);
    await runInDurableObject(outbox(), (_object, state) => {
      for (const socket of state.getWebSockets()) socket.close(1000);
    });
    expect((await deliver()).status).toBe(202);
  });
});

async function deliverMany(count: number): Promise<void> {
  for (let delivered = 0; delivered < count; delivered += 1) expect((await deliver()).status).toBe(202);
}

/** Has three connections end on an event, which is sent first. */
async function trouble(seq: number): Promise<void> {
  for (let times = 0; times < 3; times += 1) {
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(seq))
      if (event.seq < seq) relay.send({ type: "stored", seq: event.seq });
    expect(await relay.isQuiet()).toBe(true);
    await relay.leave();
  }
}

/** Lets pass what is left until the next troublesome event may be tried. */
async function retryTime(relay: RelaySocket): Promise<void> {
  expect(await relay.isQuiet()).toBe(true);
  const times = (await rowsOf("troubles")).map(({ retry_at }) => Number(retry_at));
  letPass(Math.min(...times.filter((time) => time > Date.now())) - Date.now());
  relay.send({ type: "stored", seq: 1_000_000 });
  await runDurableObjectAlarm(outbox());
}

function errors(): unknown[] {
  return printed
    .map((line) => JSON.parse(line) as { event: string })
    .filter(({ event }) => event === "error");
}
