import { abortAllDurableObjects, evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { encodeBase64 } from "../../../shared/bytes.ts";
import { CHUNK_BYTES, HEARTBEAT } from "../../../shared/drain.ts";
import { letPass, ringUntil } from "../clock.ts";
import { configure } from "../configure.ts";
import { deliver } from "../deliver.ts";
import { meter } from "../meter.ts";
import { bindings } from "../parties.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { outbox, storedEvents } from "../stored.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Of the 100,000 a day of the free plan: 16,000 deliveries. */
const MAX_ROWS = 6;
/** For a relay's coming and going, however much it drains meanwhile. */
const VISIT_ROWS = 5;

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("rows written for a delivery, indexes included, from the webhook to its deletion", () => {
  test.for([
    { name: "one at a time", window: 1, wakes: false },
    { name: "many at once", window: 500, wakes: false },
    { name: "by an object that hibernates all the time", window: 1, wakes: true },
  ])("are at most six: $name", async ({ window, wakes }) => {
    const count = 50;
    const counted = await metered();
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: window });
    for (let delivered = 0; delivered < count; delivered += 1) await deliver();
    for (let left = count; left > 0;) {
      if (wakes) await evictDurableObject(outbox());
      for (const { seq, ...event } of await relay.eventsByNow()) {
        relay.send({ type: "stored", seq });
        relay.send({ type: "done", seq, receipt: encodeBase64(receiptFor({ seq, ...event })) });
        left -= 1;
      }
    }
    expect(await relay.eventsByNow()).toEqual([]);
    await relay.leave();
    expect(counted.alarms()).toBeLessThanOrEqual(3);
    letPass(7 * DAY_MS);
    await ringUntil(async () => (await storedEvents()).length === 1);
    expect(counted.rowsWritten()).toBeGreaterThan(count * (MAX_ROWS - 1));
    expect(counted.rowsWritten()).toBeLessThanOrEqual(count * MAX_ROWS + VISIT_ROWS);
  });

  it("are as many more as it has pieces of 1 MiB, twice", async () => {
    await deliver();
    const counted = await metered();
    await deliver({ body: `{"a":"${"x".repeat(3 * CHUNK_BYTES)}"}` });
    await deliver();
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(3)) await relay.done(event.seq, receiptFor(event));
    await relay.leave();
    letPass(7 * DAY_MS);
    await ringUntil(async () => (await storedEvents()).length === 1);
    // Of the first only its drain, its end and its deletion were counted, of the last all but its deletion.
    const others = 3 + 5 + VISIT_ROWS;
    expect(counted.rowsWritten() - others).toBeLessThanOrEqual(MAX_ROWS + 2 * 4);
  });

  it.for([
    { name: "a canary", ask: (relay: RelaySocket) => relay.canary() },
    { name: "a redelivery", ask: (relay: RelaySocket) => relay.redeliver({ from: 1, to: 1 }) },
  ])("are as many for $name that a relay asks for", async ({ ask }) => {
    const sign_public = bindings.RELAYS["relay-one"];
    await configure({ RELAYS: { "relay-one": { sign_public, redeliver: true } } });
    const relay = await RelaySocket.open();
    await deliver();
    const [first] = await relay.drain(50, 1);
    await relay.done(first.seq, receiptFor(first));
    const counted = await metered();
    const count = 20;
    for (let asked = 0; asked < count; asked += 1) {
      letPass(10_000);
      await ask(relay);
      const event = await relay.event();
      relay.send({ type: "stored", seq: event.seq });
      expect(await relay.done(event.seq, receiptFor(event))).toMatchObject({ type: "accepted" });
    }
    await relay.leave();
    letPass(7 * DAY_MS);
    await ringUntil(async () => (await storedEvents()).length === 1);
    expect(counted.rowsWritten()).toBeGreaterThan(count * (MAX_ROWS - 1));
    expect(counted.rowsWritten()).toBeLessThanOrEqual(count * MAX_ROWS + VISIT_ROWS);
  });

  it("are none for a duplicate, a refused receipt or a heartbeat", async () => {
    const again = {
      body: '{"a":1}',
      headers: { "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958" },
    };
    await deliver(again);
    const relay = await RelaySocket.open();
    await relay.drain(1);
    const counted = await metered();
    expect((await deliver(again)).json.duplicate).toBe(true);
    expect(await relay.done(7, "AAAA")).toMatchObject({ type: "refused" });
    relay.sendRaw(HEARTBEAT);
    expect(await relay.message()).toEqual({ type: "pong" });
    expect([counted.rowsWritten(), counted.alarms()]).toEqual([0, 0]);
  });

  it("are none for waking up, or starting anew", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 1 });
    relay.send({ type: "stored", seq: (await relay.event()).seq });
    const counted = await metered();
    await evictDurableObject(outbox());
    await storedEvents();
    await abortAllDurableObjects();
    // Its relay is gone now: that is noted once, in one row.
    await storedEvents();
    await abortAllDurableObjects();
    await storedEvents();
    expect(counted.rowsWritten()).toBe(1);
    expect(counted.alarms()).toBeLessThanOrEqual(1);
  });
});

/** Counts what every object writes from now on, also after it was started anew. */
function metered() {
  return runInDurableObject(outbox(), (_object, { storage }) => meter(storage));
}
