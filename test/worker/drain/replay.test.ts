import { abortAllDurableObjects, evictDurableObject, reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { deliver } from "../deliver.ts";
import { letPass } from "../clock.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { execInOutbox, outbox, storedEvents } from "../stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a replay", () => {
  it("by numbers sends done events again, marked, the same bytes, and takes done again, whatever the receipt", async () => {
    const relay = await RelaySocket.open();
    const events = await finishMany(relay, 4);
    expect(await relay.replay({ from: 2, to: 3 }, 77)).toBe(2);
    const again = await relay.events(2);
    expect(again).toEqual(events.slice(1, 3).map((event) => ({ ...event, replay: true })));
    expect(events.map(({ replay }) => replay)).toEqual([false, false, false, false]);
    relay.send({ type: "stored", seq: 2 });
    for (const event of again)
      expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
    expect(await relay.done(2, "AAAA")).toEqual({ type: "accepted", seq: 2 });
    expect(await relay.done(3)).toEqual({ type: "accepted", seq: 3 });
    expect(await relay.isQuiet()).toBe(true);
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true, true, true, true]);
  });

  it("by delivery sends what was stored of it, redeliveries, too, in order", async () => {
    const relay = await RelaySocket.open();
    const again = { body: '{"same":true}', headers: { "X-GitHub-Delivery": ID } };
    await finishMany(relay, 1, again);
    await finishMany(relay, 1);
    await finishMany(relay, 1, again);
    expect(await relay.replay({ delivery: ID })).toBe(2);
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([1, 3]);
    expect(await relay.replay({ delivery: "00000000-0000" })).toBe(0);
    expect(await relay.isQuiet()).toBe(true);
  });

  it("by time sends what was stored between, both ends included", async () => {
    const relay = await RelaySocket.open();
    const times: string[] = [];
    for (let count = 0; count < 4; count += 1) {
      await finishMany(relay, 1);
      const [stored] = (await storedEvents()).slice(-1);
      times.push(stored ? receivedAt(stored.storedAt) : "");
      letPass(60_000);
    }
    expect(await relay.replay({ since: times[1] ?? "", until: times[2] ?? "" })).toBe(2);
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([2, 3]);
    expect(await relay.replay({ since: times[2] ?? "", until: times[1] ?? "" })).toBe(0);
    expect(await relay.isQuiet()).toBe(true);
  });

  it("keeps to the window, and goes on as it is stored, also by an object that hibernated", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 5);
    relay.send({ type: "credit", events: 2 });
    expect(await relay.replay({ from: 1, to: 5 })).toBe(5);
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await relay.isQuiet()).toBe(true);
    await evictDurableObject(outbox());
    relay.send({ type: "stored", seq: 1 });
    expect((await relay.event()).seq).toBe(3);
    expect(await relay.isQuiet()).toBe(true);
  });

  it("lets what is new pass first", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 3);
    relay.send({ type: "credit", events: 1 });
    expect(await relay.replay({ from: 1, to: 3 })).toBe(3);
    expect((await relay.event()).seq).toBe(1);
    await deliver();
    relay.send({ type: "stored", seq: 1 });
    expect(await relay.event()).toMatchObject({ seq: 4, replay: false });
    relay.send({ type: "stored", seq: 4 });
    expect(await relay.event()).toMatchObject({ seq: 2, replay: true });
  });

  it("leaves out what was purged or never was, and what another relay has", async () => {
    const one = await RelaySocket.open("relay-one");
    await finishMany(one, 3);
    await deliver();
    const two = await RelaySocket.open("relay-two");
    one.send({ type: "credit", events: 1 });
    expect((await one.event()).seq).toBe(4);
    await execInOutbox("DELETE FROM events WHERE seq = 2");
    two.send({ type: "credit", events: 10 });
    await two.replay({ from: 1, to: 1000 });
    expect((await two.events(2)).map(({ seq }) => seq)).toEqual([1, 3]);
    expect(await two.isQuiet()).toBe(true);
  });

  it("sends an undone event that nobody has, and has it be this relay's from then on", async () => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    await one.replay({ from: 1, to: 1 });
    one.send({ type: "credit", events: 1 });
    // It is new, too: as such it comes first, and the replay adds nothing but itself.
    expect(await one.event()).toMatchObject({ seq: 1, replay: false });
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 1 });
    expect(await two.isQuiet()).toBe(true);
  });

  it("sends what this relay stored and did not do, whoever sent it before", async () => {
    await deliver();
    await deliver();
    const relay = await RelaySocket.open();
    const events = await relay.drain(2);
    for (const { seq } of events) relay.send({ type: "stored", seq });
    expect(await relay.replay({ from: 1, to: 2 })).toBe(2);
    expect(await relay.events(2)).toEqual(events.map((event) => ({ ...event, replay: true })));
    expect((await storedEvents()).map(({ done, relay: holder }) => [done, holder])).toEqual([
      [false, "relay-one"],
      [false, "relay-one"],
    ]);
  });

  it("leaves out what is under way on the same socket, also by an object that hibernated", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(50, 3);
    relay.send({ type: "stored", seq: 2 });
    expect(await relay.replay({ from: 1, to: 3 })).toBe(3);
    expect(await relay.event()).toMatchObject({ seq: 2, replay: true });
    expect(await relay.isQuiet()).toBe(true);
    await evictDurableObject(outbox());
    expect(await relay.replay({ from: 1, to: 3 })).toBe(3);
    expect(await relay.isQuiet()).toBe(true);
  });

  it("waits in sixteen ranges at most; what touches one is one with it, and of more none is found", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 40);
    relay.send({ type: "credit", events: 1 });
    const ask = async (id: number, seq: number) => {
      relay.send({ type: "replay", id, of: { from: seq, to: seq } });
      return relay.message();
    };
    expect(await ask(0, 1)).toEqual({ type: "replaying", id: 0, events: 1 });
    expect((await relay.event()).seq).toBe(1);
    for (let asked = 1; asked <= 16; asked += 1)
      expect(await ask(asked, 2 * asked + 1)).toEqual({ type: "replaying", id: asked, events: 1 });
    expect(await ask(17, 40)).toEqual({ type: "replaying", id: 17, events: 0 });
    expect(await ask(18, 4)).toEqual({ type: "replaying", id: 18, events: 1 });
    expect(await ask(19, 40)).toEqual({ type: "replaying", id: 19, events: 1 });
    expect((await storedEvents()).every(({ done }) => done)).toBe(true);
  });

  test.for([{ name: "hibernates" }, { name: "is aborted" }])(
    "is over with its socket: the relay asks again after the object $name",
    async ({ name }) => {
      const first = await RelaySocket.open();
      await finishMany(first, 3);
      first.send({ type: "credit", events: 1 });
      await first.replay({ from: 1, to: 3 });
      await first.event();
      if (name === "is aborted") await abortAllDurableObjects();
      else await evictDurableObject(outbox(), { webSockets: "close" });
      const relay = await RelaySocket.open();
      relay.send({ type: "credit", events: 10 });
      expect(await relay.isQuiet()).toBe(true);
      await relay.replay({ from: 1, to: 3 });
      expect((await relay.events(3)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    },
  );
});

/** Delivers so often, and has each done. */
async function finishMany(relay: RelaySocket, count: number, delivery = {}) {
  relay.send({ type: "credit", events: 50 });
  const events = [];
  for (let done = 0; done < count; done += 1) {
    expect((await deliver(delivery)).status).toBe(202);
    const event = await relay.event();
    expect(await relay.done(event.seq, receiptFor(event))).toMatchObject({ type: "accepted" });
    events.push(event);
  }
  return events;
}

function receivedAt(storedAt: number): string {
  return new Date(storedAt).toISOString();
}
