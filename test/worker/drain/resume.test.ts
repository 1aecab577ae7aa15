import {
  abortAllDurableObjects,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { HEARTBEAT_MS } from "../../../shared/drain.ts";
import type { Drain } from "../../../worker/drain/machine.ts";
import { alarmIn, letPass, untilAlarm } from "../clock.ts";
import { deliver } from "../deliver.ts";
import { receiptFor } from "../receipts.ts";
import { RelaySocket } from "../relay-socket.ts";
import { outbox, rowsOf, storedEvents } from "../stored.ts";

type Name = "relay-one" | "relay-two";
const NAMES = ["relay-one", "relay-two"] as const;

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a relay that comes back with all that it stored", () => {
  it("is sent what was under way and what is new, and nothing that it stored", async () => {
    await deliverMany(4);
    const relay = await RelaySocket.open();
    await relay.drain(10, 4);
    for (const seq of [1, 3]) relay.send({ type: "stored", seq });
    expect(await relay.isQuiet()).toBe(true);
    await drop("relay-one");
    await deliver();
    expect(await comesBack(true)).toEqual([2, 4, 5]);
  });

  it("is sent nothing when it stored all", async () => {
    await storedAll(3);
    await drop("relay-one");
    expect(await comesBack(true)).toEqual([]);
  });

  it("is sent that again which was under way once more when its connection ended again", async () => {
    await storedAll(2);
    await deliverMany(2);
    for (let times = 0; times < 2; times += 1) {
      await drop("relay-one");
      expect(await comesBack(true)).toEqual([3, 4]);
    }
  });

  it("is sent all that is its own and undone when it does not say so", async () => {
    await storedAll(3);
    await drop("relay-one");
    expect(await comesBack(false)).toEqual([1, 2, 3]);
  });

  it("can go on also when its earlier socket is still there, which then ends", async () => {
    await storedAll(2);
    await deliver();
    // Three is under way on the socket before.
    expect(await comesBack(true)).toEqual([3]);
  });

  it("can go on also after the object hibernated", async () => {
    await storedAll(2);
    await evictDurableObject(outbox());
    await drop("relay-one");
    await deliver();
    expect(await comesBack(true)).toEqual([3]);
  });

  test.for([
    { name: "aborted", restart: () => abortAllDurableObjects() },
    { name: "deployed anew", restart: () => evictDurableObject(outbox(), { webSockets: "close" }) },
  ])("is sent all when nobody saw its socket's end, as the object was $name", async ({ restart }) => {
    await storedAll(3);
    await restart();
    expect(await comesBack(true)).toEqual([1, 2, 3]);
  });

  test.for([
    { name: "ended", end: () => drop("relay-one") },
    { name: "is still there", end: () => Promise.resolve() },
  ])("is sent all that its socket before had no room for, when that $name", async ({ end }) => {
    await deliverMany(3);
    const relay = await RelaySocket.open();
    await relay.drain(3);
    // Nobody knows that nothing of it arrived.
    await abortAllDurableObjects();
    const narrow = await RelaySocket.open("relay-one", { resume: true });
    narrow.send({ type: "credit", events: 1 });
    expect((await narrow.eventsByNow()).map(({ seq }) => seq)).toEqual([1]);
    await end();
    expect(await comesBack(true)).toEqual([1, 2, 3]);
  });

  it("too late is sent what no other took meanwhile, as it is anybody's", async () => {
    await storedAll(2);
    await drop("relay-one");
    letPass(91_000);
    await runDurableObjectAlarm(outbox());
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 1 });
    expect((await two.event()).seq).toBe(1);
    expect(await comesBack(true)).toEqual([2]);
  });

  it("is sent what was under way also when another relay says that it stored that", async () => {
    await deliverMany(2);
    const one = await RelaySocket.open("relay-one");
    await one.drain(10, 2);
    await drop("relay-one");
    const two = await RelaySocket.open("relay-two");
    for (const seq of [1, 2]) two.send({ type: "stored", seq });
    expect(await two.isQuiet()).toBe(true);
    expect(await comesBack(true)).toEqual([1, 2]);
  });

  it("is not kept from an event that was often under way behind another: only the first is set aside", async () => {
    await deliverMany(2);
    for (let times = 0; times < 3; times += 1) {
      expect(await comesBack(true)).toEqual([1, 2]);
      await drop("relay-one");
    }
    const counts = (await rowsOf("troubles")).map(({ seq, times }) => [seq, times]);
    expect(counts).toEqual([
      [1, 3],
      [2, 0],
    ]);
    expect(await comesBack(true)).toEqual([2]);
  });
});

describe("relays that come, drop, resume, store and do", () => {
  const step = fc.record({
    relay: fc.constantFrom(...NAMES),
    act: fc.constantFrom(
      "deliver" as const,
      "deliver" as const,
      "take" as const,
      "store" as const,
      "store" as const,
      "finish" as const,
      "drop" as const,
      "close" as const,
      "redial" as const,
      "forget" as const,
      "abort" as const,
      "hibernate" as const,
    ),
  });

  it("are sent again every event that neither said stored for: none is forgotten", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 10, maxLength: 40 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, window) => {
          await reset();
          const pair = { "relay-one": new Queue("relay-one"), "relay-two": new Queue("relay-two") };
          for (const { relay, act } of steps) {
            if (act === "deliver") expect((await deliver()).status).toBe(202);
            else if (act === "abort") {
              await abortAllDurableObjects();
              for (const name of NAMES) pair[name].dropped();
            } else if (act === "hibernate") {
              // One that does not run cannot hibernate.
              await storedEvents();
              await evictDurableObject(outbox());
            } else await pair[relay][act](window);
          }
          // Whatever is set aside comes in the end, too: both stay, and store all that they get.
          for (const name of NAMES) await pair[name].redial(500);
          const missing = async () => {
            for (const name of NAMES) await pair[name].storeAll();
            return (await storedEvents()).filter(
              ({ seq, done }) => !done && !NAMES.some((name) => pair[name].stored.has(seq)),
            );
          };
          for (let beats = 0; (await missing()).length > 0; beats += 1) {
            expect(beats, "heartbeats until all came").toBeLessThan(200);
            const ms = await alarmIn();
            expect(ms, "an alarm is armed").toBeDefined();
            // Neither relay is silent for longer.
            if (ms !== undefined && ms <= HEARTBEAT_MS) await untilAlarm();
            else letPass(HEARTBEAT_MS);
          }
        },
      ),
      { numRuns: 30 },
    );
  }, 60_000);
});

/** A relay with its queue, which survives its connections, unless it forgets. */
class Queue {
  readonly stored = new Map<number, Uint8Array>();
  readonly #name: Name;
  #socket: RelaySocket | undefined;
  #underWay = new Map<number, Uint8Array>();
  #intact = false;

  constructor(name: Name) {
    this.#name = name;
  }

  /** Dials, whether or not the connection before is over. */
  async redial(window: number): Promise<void> {
    this.dropped();
    this.#socket = await RelaySocket.open(this.#name, { resume: this.#intact });
    if (!this.#intact) this.stored.clear();
    this.#intact = true;
    this.#socket.send({ type: "credit", events: window });
  }

  async take(window: number): Promise<void> {
    if (!this.#socket) await this.redial(window);
    for (const event of (await this.#socket?.eventsByNow()) ?? [])
      this.#underWay.set(event.seq, receiptFor(event));
  }

  async store(window: number): Promise<void> {
    await this.take(window);
    const [first] = this.#underWay;
    if (first) this.#store(...first);
    await this.take(window);
  }

  async storeAll(): Promise<void> {
    do {
      for (const each of this.#underWay) this.#store(...each);
      await this.take(500);
    } while (this.#underWay.size > 0);
  }

  #store(seq: number, receipt: Uint8Array): void {
    this.#underWay.delete(seq);
    this.stored.set(seq, receipt);
    this.#socket?.send({ type: "stored", seq });
  }

  async finish(window: number): Promise<void> {
    await this.take(window);
    const [first] = this.stored;
    if (!first) return;
    expect(await this.#socket?.done(...first)).toEqual({ type: "accepted", seq: first[0] });
    this.stored.delete(first[0]);
  }

  /** The connection breaks, and the edge is told. */
  async drop(): Promise<void> {
    if (this.#socket) await drop(this.#name);
    this.dropped();
  }

  /** It ends the connection itself: the edge keeps nothing for it. */
  async close(): Promise<void> {
    await this.#socket?.leave();
    this.dropped();
  }

  /** Another process: the queue is empty. */
  async forget(): Promise<void> {
    await this.drop();
    this.stored.clear();
    this.#intact = false;
  }

  dropped(): void {
    this.#socket = undefined;
    this.#underWay.clear();
  }
}

async function deliverMany(count: number): Promise<void> {
  for (let delivered = 0; delivered < count; delivered += 1) expect((await deliver()).status).toBe(202);
}

/** Has relay-one store so many events, on a socket that has room for more. */
async function storedAll(count: number): Promise<void> {
  await deliverMany(count);
  const relay = await RelaySocket.open();
  for (const { seq } of await relay.drain(10, count)) relay.send({ type: "stored", seq });
  expect(await relay.isQuiet()).toBe(true);
}

/** What relay-one is sent when it dials anew. */
async function comesBack(resume: boolean): Promise<number[]> {
  const relay = await RelaySocket.open("relay-one", { resume });
  relay.send({ type: "credit", events: 10 });
  return (await relay.eventsByNow()).map(({ seq }) => seq);
}

/** The object is told, as the runtime tells it, that the relay's connection broke. */
function drop(relay: Name): Promise<void> {
  return runInDurableObject(outbox(), (object, state) => {
    for (const socket of state.getWebSockets()) {
      const drain = socket.deserializeAttachment() as Partial<Drain & { relay: string }> | null;
      if (drain?.relay === relay) object.webSocketError(socket);
    }
  });
}
