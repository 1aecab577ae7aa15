import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { HEARTBEAT } from "../../../shared/drain.ts";
import type { Open } from "../../../worker/drain/machine.ts";
import type { Outbox } from "../../../worker/outbox.ts";
import { until } from "../../helpers/until.ts";
import { letPass, ringUntil, untilAlarm } from "../clock.ts";
import { configure } from "../configure.ts";
import { deliver } from "../deliver.ts";
import { bindings } from "../parties.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { outbox, rowsOf, socketOf, storedEvents } from "../stored.ts";

const LEASE_MS = 90_000;

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("two relays on one stream", () => {
  it("share its events: each gets what the other has no room for", async () => {
    const one = await RelaySocket.open("relay-one");
    const two = await RelaySocket.open("relay-two");
    one.send({ type: "credit", events: 2 });
    two.send({ type: "credit", events: 2 });
    expect([await one.isQuiet(), await two.isQuiet()]).toEqual([true, true]);
    await deliverMany(5);
    const ofOne = (await one.events(2)).map(({ seq }) => seq);
    const ofTwo = (await two.events(2)).map(({ seq }) => seq);
    expect([...ofOne, ...ofTwo].toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
    expect([await one.isQuiet(), await two.isQuiet()]).toEqual([true, true]);

    const [first = 0] = ofTwo;
    two.send({ type: "stored", seq: first });
    expect((await two.event()).seq).toBe(5);
    expect(await one.isQuiet()).toBe(true);
    const byOne = (await storedEvents()).filter(({ relay }) => relay === "relay-one");
    expect(byOne.map(({ seq }) => seq)).toEqual(ofOne);
  });

  it("have every event at one of them only, however they take, store, do, leave and come", async () => {
    const step = fc.record({
      relay: fc.constantFrom("relay-one" as const, "relay-two" as const),
      act: fc.constantFrom("deliver" as const, "store" as const, "finish" as const, "leave" as const),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 25 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, window) => {
          await reset();
          const pair = {
            "relay-one": await Taker.open("relay-one", window),
            "relay-two": await Taker.open("relay-two", window),
          };
          let delivered = 0;
          for (const { relay, act } of steps) {
            if (act === "deliver") delivered += (await deliver()).json.stored.length;
            else if (act === "store") pair[relay].store();
            else if (act === "finish") await pair[relay].finish();
            else {
              await pair[relay].leave();
              pair[relay] = await Taker.open(relay, window);
            }
            const [one, two] = [await pair["relay-one"].take(), await pair["relay-two"].take()];
            expect(one.filter((seq) => two.includes(seq))).toEqual([]);
          }
          // What neither has done is all with one of them once the other has left.
          await pair["relay-one"].leave();
          const last = pair["relay-two"];
          await until(async () => {
            do await last.take();
            while (last.store());
            // An event on which three connections ended is set aside.
            const aside = (await rowsOf("troubles")).filter(({ times }) => Number(times) >= 3);
            const undone = (await storedEvents())
              .filter(({ seq, done }) => !done && !aside.some((trouble) => trouble["seq"] === seq))
              .map(({ seq }) => seq);
            const taken = (await last.take()).toSorted((a, b) => a - b);
            expect(taken).toEqual(expect.arrayContaining(undone));
          });
          expect(await storedEvents()).toHaveLength(delivered);
        },
      ),
      { numRuns: 15 },
    );
  }, 30_000);

  it("get no event twice because its receipt, brought by the one, was true", async () => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 1 });
    const event = await two.event();
    // The builder's receipts come to every relay that listens.
    expect(await one.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    await two.leave();
    one.send({ type: "credit", events: 1 });
    expect(await one.isQuiet()).toBe(true);
  });

  it("are each told why a receipt is false, and the other gets the event", async () => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    const two = await RelaySocket.open("relay-two");
    const [event] = await one.drain(1);
    two.send({ type: "credit", events: 1 });
    expect(await two.isQuiet()).toBe(true);
    expect(await one.done(1, "AAAA")).toEqual({ type: "refused", seq: 1, code: "ERR_NOT_OPENED" });
    expect(await two.event()).toEqual(event);
    expect((await storedEvents()).map(({ relay }) => relay)).toEqual(["relay-two"]);
    // The one that lied may still be right later.
    expect(await one.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
  });
});

describe("an event for which both relays bring a false receipt", () => {
  test.for([
    { name: "each said stored before", says: true },
    { name: "neither said stored", says: false },
  ])("goes from the one to the other once, and not back: $name", async ({ says }) => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    const [event] = await one.drain(1);
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 10 });
    expect(await two.isQuiet()).toBe(true);
    const refused = { type: "refused", seq: 1, code: "ERR_NOT_OPENED" };
    if (says) one.send({ type: "stored", seq: 1 });
    expect(await one.done(1, "AAAA")).toEqual(refused);
    expect((await two.event()).seq).toBe(1);
    if (says) two.send({ type: "stored", seq: 1 });
    one.send({ type: "credit", events: 10 });
    for (let times = 0; times < 2; times += 1) {
      expect(await two.done(1, "AAAA")).toEqual(refused);
      expect(await one.done(1, "AAAA")).toEqual(refused);
    }
    expect([await one.isQuiet(), await two.isQuiet()]).toEqual([true, true]);
    expect((await storedEvents()).map(({ relay }) => relay)).toEqual(["relay-two"]);
    expect(await two.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
  });
});

describe("a connection that breaks without a close", () => {
  const breakings: { name: string; happen: () => Promise<void> }[] = [
    {
      name: "told by the runtime as code 1006",
      happen: () => breakOff((object, socket) => object.webSocketClose(socket, 1006, "", false)),
    },
    { name: "told as an error", happen: () => breakOff((object, socket) => object.webSocketError(socket)) },
    { name: "by a deploy", happen: () => evictDurableObject(outbox(), { webSockets: "close" }) },
  ];

  test.for(breakings)(
    "leaves the events with the relay for a while, then another gets them: $name",
    async ({ happen }) => {
      await deliverMany(2);
      const one = await RelaySocket.open("relay-one");
      await one.drain(2);
      one.send({ type: "stored", seq: 1 });
      expect(await one.isQuiet()).toBe(true);
      await happen();

      const two = await RelaySocket.open("relay-two");
      two.send({ type: "credit", events: 10 });
      expect(await two.isQuiet()).toBe(true);
      // Sockets that are not proven ring earlier.
      await ringUntil(async () => (await rowsOf("absences")).length === 0 || !(await two.isQuiet()));
      expect((await two.events(2)).map(({ seq }) => seq)).toEqual([1, 2]);
      expect((await storedEvents()).map(({ relay }) => relay)).toEqual(["relay-two", "relay-two"]);
    },
  );

  test.for(breakings)("takes nothing from a relay that comes back in time: $name", async ({ happen }) => {
    await deliverMany(2);
    const one = await RelaySocket.open("relay-one");
    const before = await one.drain(2);
    await happen();

    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 10 });
    letPass(LEASE_MS - 1000);
    const again = await RelaySocket.open("relay-one");
    expect(await again.drain(2)).toEqual(before);
    expect(await rowsOf("absences")).toEqual([]);
    letPass(2000);
    await runDurableObjectAlarm(outbox());
    expect([await two.isQuiet(), await again.isQuiet()]).toEqual([true, true]);
  });

  it("is waited for as long from its end, though the object hibernates and wakes in between", async () => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    await one.drain(1);
    await evictDurableObject(outbox(), { webSockets: "close" });
    const before = await rowsOf("absences");
    expect(before).toEqual([
      { relay: "relay-one", until: expect.closeTo(Date.now() + LEASE_MS, -4), known: 0 },
    ]);
    letPass(LEASE_MS / 2);
    await evictDurableObject(outbox());
    expect(await rowsOf("absences")).toEqual(before);
  });

  it("of a relay that is not configured any more frees what it had, too", async () => {
    await deliver();
    const one = await RelaySocket.open("relay-one");
    await one.drain(1);
    await configure({ RELAYS: { "relay-two": bindings.RELAYS["relay-two"] } });
    await evictDurableObject(outbox(), { webSockets: "close" });
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 1 });
    expect(await two.isQuiet()).toBe(true);
    letPass(LEASE_MS);
    await runDurableObjectAlarm(outbox());
    expect((await two.event()).seq).toBe(1);
  });
});

describe("a relay that closes its socket", () => {
  it("has nothing any more: another gets it at once, in order, and before what is new", async () => {
    await deliverMany(3);
    const one = await RelaySocket.open("relay-one");
    await one.drain(2);
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 1 });
    expect((await two.event()).seq).toBe(3);
    await deliver();
    await one.leave();
    two.send({ type: "credit", events: 10 });
    expect((await two.events(3)).map(({ seq }) => seq)).toEqual([1, 2, 4]);
    expect(await rowsOf("absences")).toEqual([]);
  });

  it("leaves nothing behind when it had nothing", async () => {
    const one = await RelaySocket.open("relay-one");
    await one.leave();
    expect(await rowsOf("absences")).toEqual([]);
    expect(await rowsOf("troubles")).toEqual([]);
  });
});

describe("a relay that fell silent", () => {
  it("is closed with 4408 after its time, by the alarm, and another gets its events", async () => {
    await deliverMany(2);
    const one = await RelaySocket.open("relay-one");
    await one.drain(2);
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 10 });
    letPass(LEASE_MS - 1000);
    await runDurableObjectAlarm(outbox());
    expect(await two.isQuiet()).toBe(true);

    expect(await untilAlarm()).toBeLessThanOrEqual(1000);
    expect(await one.closed).toEqual({ code: 4408, reason: "no heartbeat" });
    expect((await two.events(2)).map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await rowsOf("absences")).toEqual([]);
  });

  it("is one without heartbeats: with them another loses nothing, though the object was not woken", async () => {
    await deliverMany(2);
    const one = await RelaySocket.open("relay-one");
    await one.drain(1);
    const two = await RelaySocket.open("relay-two");
    await two.drain(1);
    for (const relay of ["relay-one", "relay-two"])
      await socketOf(relay, (socket, drain) =>
        socket.serializeAttachment({ ...drain, heardAt: drain.heardAt - LEASE_MS }),
      );
    await evictDurableObject(outbox());
    two.sendRaw(HEARTBEAT);
    expect(await two.message()).toEqual({ type: "pong" });

    await runDurableObjectAlarm(outbox());
    expect((await one.closed).code).toBe(4408);
    two.send({ type: "credit", events: 2 });
    expect((await two.event()).seq).toBe(1);
  });

  it("may be silent for ever where no other may drain: nobody else would have its events", async () => {
    await configure({ RELAYS: { "relay-one": bindings.RELAYS["relay-one"] } });
    await evictDurableObject(outbox());
    await deliver();
    const one = await RelaySocket.open("relay-one");
    const [event] = await one.drain(1);
    letPass(100 * LEASE_MS);
    await runDurableObjectAlarm(outbox());
    expect(await one.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
  });
});

async function deliverMany(count: number): Promise<void> {
  for (let delivered = 0; delivered < count; delivered += 1) expect((await deliver()).status).toBe(202);
}

/** The object is told that relay-one's connection is over, as the runtime tells it. */
function breakOff(tell: (object: Outbox, socket: WebSocket) => void): Promise<void> {
  return runInDurableObject(outbox(), (object, state) => {
    const ended = state
      .getWebSockets()
      .find((socket) => (socket.deserializeAttachment() as Partial<Open>).relay === "relay-one");
    if (!ended) throw new Error("relay-one has no socket");
    tell(object, ended);
  });
}

/** A relay that takes whatever it is sent, and knows what it has. */
class Taker {
  readonly #socket: RelaySocket;
  readonly #events = new Map<number, Uint8Array>();
  readonly #unstored = new Set<number>();

  private constructor(socket: RelaySocket) {
    this.#socket = socket;
  }

  static async open(relay: "relay-one" | "relay-two", window: number): Promise<Taker> {
    const socket = await RelaySocket.open(relay);
    socket.send({ type: "credit", events: window });
    return new Taker(socket);
  }

  /** What it has by now, and has not seen done. */
  async take(): Promise<number[]> {
    for (const event of await this.#socket.eventsByNow()) {
      expect(this.#events.has(event.seq), `${event.seq} came once`).toBe(false);
      this.#events.set(event.seq, receiptFor(event));
      this.#unstored.add(event.seq);
    }
    return [...this.#events.keys()];
  }

  store(): boolean {
    const [seq] = this.#unstored;
    if (seq === undefined) return false;
    this.#unstored.delete(seq);
    this.#socket.send({ type: "stored", seq });
    return true;
  }

  async finish(): Promise<void> {
    const [event] = this.#events;
    if (!event) return;
    const [seq, receipt] = event;
    await this.take();
    this.#socket.send({ type: "stored", seq });
    await this.take();
    expect(await this.#socket.done(seq, receipt)).toEqual({ type: "accepted", seq });
    this.#events.delete(seq);
    this.#unstored.delete(seq);
  }

  async leave(): Promise<void> {
    await this.#socket.leave();
    this.#events.clear();
    this.#unstored.clear();
  }
}
