import { setTimeout as sleep } from "node:timers/promises";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Outcome, QueuedEvent } from "../../relay/queue/queue.ts";
import { event, type IntakeWorld, makeIntakeWorld, nameOf } from "./intake-world.ts";

const received: Outcome = { kind: "received", receipt: "AAAA" };
const unavailable: Outcome = { kind: "unavailable" };
const later: Outcome = { kind: "later", delayMs: 10_000, spent: false };
const dead: Outcome = { kind: "dead", reason: "ERR_NO_RECEIPT" };
/** Milliseconds: longer than any pause of the intake. */
const LONG_MS = 3000;
/** Milliseconds: the longest that the first of these pauses is. */
const FIRST_PAUSE_MS = 100;

/** Lets everything happen that needs no time. */
const settle = () => vi.advanceTimersByTimeAsync(0);
const names = (events: readonly QueuedEvent[]) => events.map(nameOf);
const underWay = ({ publishing }: IntakeWorld) => publishing.map((one) => nameOf(one.event));
const onTheWayIn = ({ adding }: IntakeWorld) => adding.map(({ events }) => names(events));

// Fake timers do not reach this module.
vi.mock(import("node:timers/promises"), { spy: true });
beforeEach(() => {
  vi.useFakeTimers();
  vi.mocked(sleep).mockImplementation((ms, value, { signal } = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<typeof value>();
    setTimeout(() => resolve(value), ms);
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    return promise;
  });
});
afterEach(() => void vi.useRealTimers());

describe("what comes from the edge", () => {
  it("is published at once while a builder is there and the queue is idle, and never stored", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.intake.take(event(2));
    expect(underWay(world)).toEqual(["docs-1", "docs-2"]);
    world.publishing[1]?.settle(received);
    world.publishing[0]?.settle({ kind: "received", receipt: undefined });
    await settle();
    expect(world.done).toEqual([
      ["docs-2", "AAAA"],
      ["docs-1", undefined],
    ]);
    expect(world.adding).toEqual([]);
    expect(world.intake.settled("docs", 1, undefined)).toBe(true);
    expect(world.intake.received("docs")).toEqual([{ seq: 2, receipt: "AAAA" }]);
    expect(world.intake.received("site")).toEqual([]);
  });

  it("goes to the queue in its order while nobody is there, those of one stream together", async () => {
    const world = makeIntakeWorld();
    for (const seq of [1, 2, 3]) world.intake.take(event(seq));
    world.intake.take(event(1, "site"));
    expect(onTheWayIn(world)).toEqual([["docs-1"]]);
    world.adding[0]?.store();
    await settle();
    expect(world.stored).toEqual(["docs-1"]);
    expect(onTheWayIn(world)).toEqual([["docs-2", "docs-3"]]);
    world.adding[0]?.store();
    await settle();
    expect(onTheWayIn(world)).toEqual([["site-1"]]);
    world.adding[0]?.store();
    await settle();
    expect(names(world.waiting)).toEqual(["docs-1", "docs-2", "docs-3", "site-1"]);
    expect(world.stored).toEqual(names(world.waiting));
    expect(world.published).toEqual([]);
  });

  it("waits while a builder is there and the queue has not caught up", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.adding[0]?.store();
    await settle();
    world.setReady("docs", true);
    world.intake.take(event(2));
    await settle();
    expect([world.published, world.adding]).toEqual([[], []]);
    world.emptyQueue();
    expect(names(world.published)).toEqual(["docs-2"]);
  });

  it("waits behind what is on its way into the queue", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.setReady("docs", true);
    world.intake.take(event(2));
    expect(world.published).toEqual([]);
    world.adding[0]?.store();
    await settle();
    expect(world.published).toEqual([]);
    world.emptyQueue();
    expect(names(world.published)).toEqual(["docs-2"]);
  });

  it("is published again in its order when the builder was away for a moment", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    for (const seq of [1, 2, 3]) world.intake.take(event(seq));
    world.settleAll(unavailable);
    await settle();
    expect(names(world.published).slice(3)).toEqual(["docs-1", "docs-2", "docs-3"]);
    expect(world.adding).toEqual([]);
  });

  it("goes to the queue in its order when the builder leaves", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    for (const seq of [1, 2, 3]) world.intake.take(event(seq));
    world.setReady("docs", false);
    world.intake.take(event(4));
    for (let round = 0; round < 3; round += 1) {
      await settle();
      world.adding[0]?.store();
    }
    await settle();
    expect(names(world.waiting)).toEqual(["docs-1", "docs-2", "docs-3", "docs-4"]);
  });

  it("follows what is still being published, even where nobody is there any more", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    const [first] = world.publishing;
    // The receipt came, and the builder went, before the next event.
    first?.settle(received);
    world.setReady("docs", false);
    world.intake.take(event(2));
    await settle();
    expect(world.done).toEqual([["docs-1", "AAAA"]]);
    expect(onTheWayIn(world)).toEqual([["docs-2"]]);
  });

  it.each([later, dead])("goes to the queue when it is $kind, and holds up nothing", async (outcome) => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.intake.take(event(2));
    world.publishing[0]?.settle(outcome);
    await settle();
    expect(onTheWayIn(world)).toEqual([["docs-1"]]);
    world.publishing[0]?.settle(received);
    await settle();
    expect(world.done).toEqual([["docs-2", "AAAA"]]);
  });

  it("holds up no other stream", async () => {
    const world = makeIntakeWorld();
    world.setReady("site", true);
    await settle();
    world.intake.take(event(1, "docs"));
    world.adding[0]?.store();
    await settle();
    world.emptyQueue();
    world.intake.take(event(2, "site"));
    expect(names(world.published)).toEqual(["site-2"]);
  });

  it("is said to be done with the receipt that the queue has of it", async () => {
    const world = makeIntakeWorld();
    world.receivedBefore.set("docs-1", "BBBB");
    world.intake.take(event(1));
    world.adding[0]?.store();
    await settle();
    expect(world.done).toEqual([["docs-1", "BBBB"]]);
  });
});

describe("a queue whose store is away", () => {
  it("is asked again with the same events, and those that came meanwhile, in order", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.intake.take(event(2));
    world.adding[0]?.fail();
    await settle();
    expect(world.adding).toEqual([]);
    world.intake.take(event(3));
    await vi.advanceTimersByTimeAsync(FIRST_PAUSE_MS);
    expect(onTheWayIn(world)).toEqual([["docs-1", "docs-2", "docs-3"]]);
    expect(world.stored).toEqual([]);
    world.adding[0]?.store();
    await settle();
    expect(world.stored).toEqual(["docs-1", "docs-2", "docs-3"]);
  });

  it("is not needed once a builder came", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.setReady("docs", true);
    world.adding[0]?.fail();
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(names(world.published)).toEqual(["docs-1"]);
    expect(world.adding).toEqual([]);
  });

  it("is still needed for what was published in vain", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.publishing[0]?.settle(later);
    await settle();
    world.adding[0]?.fail();
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(onTheWayIn(world)).toEqual([["docs-1"]]);
    expect(names(world.published)).toEqual(["docs-1"]);
  });
});

describe("what is not done soon", () => {
  it("is said to be stored, once, though it is only here", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    await settle();
    for (const seq of [1, 2]) world.intake.take(event(seq));
    world.publishing[0]?.settle(received);
    await vi.advanceTimersByTimeAsync(900);
    expect(world.stored).toEqual([]);
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored).toEqual(["docs-2"]);
    world.setReady("docs", false);
    await settle();
    world.adding[0]?.store();
    await settle();
    expect(world.stored).toEqual(["docs-2"]);
  });

  it("is said so again when the edge sends it again", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    await settle();
    world.intake.take(event(1));
    await vi.advanceTimersByTimeAsync(LONG_MS);
    world.intake.take(event(1));
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored).toEqual(["docs-1", "docs-1"]);
  });

  it("is not said so beyond 256 events", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    await settle();
    for (let seq = 1; seq <= 300; seq += 1) world.intake.take(event(seq));
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored).toHaveLength(256);
    world.publishing[0]?.settle(received);
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored.at(-1)).toBe("docs-257");
  });

  it("is not said so beyond 32 MiB", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    await settle();
    const sealed = new Uint8Array(12 * 1024 * 1024);
    for (const seq of [1, 2, 3]) world.intake.take({ ...event(seq), sealed });
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored).toEqual(["docs-1", "docs-2"]);
  });
});

describe("an event that the edge sends again", () => {
  it("is ignored while it is under way", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.intake.take(event(1));
    world.setReady("site", true);
    world.adding[0]?.store();
    await settle();
    world.emptyQueue();
    world.intake.take(event(1, "site"));
    world.intake.take(event(1, "site"));
    expect(names(world.waiting)).toEqual([]);
    expect(names(world.published)).toEqual(["site-1"]);
    expect(world.stored).toEqual(["docs-1"]);
    expect(world.reports.filter((each) => each.startsWith("drained"))).toEqual([
      "drained docs-1",
      "drained site-1",
    ]);
  });

  it("is answered with its receipt again once a builder has it", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.publishing[0]?.settle(received);
    await settle();
    world.intake.take(event(1));
    expect(world.done).toEqual([
      ["docs-1", "AAAA"],
      ["docs-1", "AAAA"],
    ]);
    expect(world.published).toHaveLength(1);
  });

  it("is published anew when it was done before", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.publishing[0]?.settle(received);
    await settle();
    world.intake.settled("docs", 1, undefined);
    world.intake.take(event(1));
    expect(world.published).toHaveLength(2);
  });
});

describe("another event of the same number, from an edge that began anew,", () => {
  const another = event(1, "docs", 1);

  it("takes the place of the one that is being published, whose receipt is not its own", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.intake.take(another);
    expect(world.published).toEqual([event(1), another]);
    world.publishing[0]?.settle(received);
    await settle();
    expect(world.done).toEqual([]);
    world.publishing[0]?.settle({ kind: "received", receipt: "BBBB" });
    await settle();
    expect(world.done).toEqual([["docs-1", "BBBB"]]);
  });

  it("is not said to be stored when the one before it is", async () => {
    const world = makeIntakeWorld();
    world.receivedBefore.set("docs-1", "AAAA");
    world.intake.take(event(1));
    world.intake.take(another);
    world.adding[0]?.store();
    await settle();
    expect([world.stored, world.done]).toEqual([[], []]);
    world.receivedBefore.clear();
    world.adding[0]?.store();
    await settle();
    expect(world.stored).toEqual(["docs-1"]);
    expect(world.waiting).toEqual([another]);
  });
});

describe("a receipt that the edge refuses", () => {
  it("sends its event to the queue, and later ones pass", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    world.publishing[0]?.settle(received);
    await settle();
    expect(world.intake.settled("docs", 1, "ERR_RECEIPT")).toBe(true);
    await settle();
    expect(onTheWayIn(world)).toEqual([["docs-1"]]);
    world.intake.take(event(2));
    expect(onTheWayIn(world)).toEqual([["docs-1"]]);
    world.adding[0]?.store();
    await settle();
    expect(world.stored).toEqual(["docs-1"]);
    expect(world.intake.received("docs")).toEqual([]);
  });

  it("is not the intake's business when the event is not here, or not received", () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.intake.take(event(1));
    expect(world.intake.settled("docs", 1, "ERR_RECEIPT")).toBe(true);
    expect(world.intake.settled("docs", 2, undefined)).toBe(false);
    expect(underWay(world)).toEqual(["docs-1"]);
  });

  it("is over once the edge accepted a receipt, whoever brought it: nothing is kept or published of it", async () => {
    const world = makeIntakeWorld();
    world.setReady("docs", true);
    world.waiting.push(event(1));
    for (const seq of [1, 2, 3]) world.intake.take(event(seq));
    expect(underWay(world), "the queue has not caught up").toEqual([]);
    expect(world.intake.settled("docs", 1, undefined)).toBe(true);
    expect(world.intake.settled("docs", 2, undefined)).toBe(true);
    world.emptyQueue();
    expect(underWay(world)).toEqual(["docs-3"]);
  });
});

describe("the end", () => {
  it("waits for what is on its way into the queue, and starts nothing more", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.intake.take(event(2));
    let isClosed = false;
    const closed = world.intake.close().then(() => (isClosed = true));
    await settle();
    expect(isClosed).toBe(false);
    world.adding[0]?.store();
    await closed;
    world.setReady("docs", true);
    world.intake.take(event(3));
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.stored).toEqual(["docs-1"]);
    expect([world.adding, world.published]).toEqual([[], []]);
  });

  it("does not wait for a store that is away", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    const closed = world.intake.close();
    world.adding[0]?.fail();
    await closed;
    expect(world.adding).toEqual([]);
  });

  it("does not wait until a store that is away would be asked again", async () => {
    const world = makeIntakeWorld();
    world.intake.take(event(1));
    world.adding[0]?.fail();
    await settle();
    await world.intake.close();
    await vi.advanceTimersByTimeAsync(LONG_MS);
    expect(world.adding).toEqual([]);
  });
});

describe("whatever happens", () => {
  const STREAMS = ["docs", "site"] as const;
  type Step = (world: IntakeWorld, model: Model) => void | Promise<unknown>;

  /** What must hold at each start of a publishing or an adding. */
  class Model {
    readonly taken: QueuedEvent[] = [];
    /** Those whose place is lost: they were published in vain, or the edge refused their receipt. */
    readonly outOfOrder = new Set<string>();
    readonly added = new Set<string>();
    readonly #world: IntakeWorld;

    constructor(world: IntakeWorld) {
      this.#world = world;
      world.watch = {
        publish: (given) => {
          const ahead = [...world.waiting, ...world.adding.flatMap((adding) => adding.events)].filter(
            (other) => other.stream === given.stream && !this.outOfOrder.has(nameOf(other)),
          );
          expect(ahead, "nothing of its stream waits in the queue, or is on its way there").toEqual([]);
          this.#mustNotOvertake(given);
        },
        add: (events) => {
          expect(world.adding, "one after the other").toEqual([]);
          for (const [index, given] of events.entries()) {
            expect(given.stream).toBe(events[0]?.stream);
            this.#mustNotOvertake(given, events.slice(0, index));
            expect(underWay(world), "only what is not being published").not.toContain(nameOf(given));
          }
        },
      };
    }

    /** Every event of its stream before it is on its way, or over. */
    #mustNotOvertake(given: QueuedEvent, with_: readonly QueuedEvent[] = []): void {
      const ahead = new Set([...underWay(this.#world), ...names(with_), ...this.added, ...this.outOfOrder]);
      for (const [name] of this.#world.done) ahead.add(name);
      for (const before of this.taken)
        if (before.stream === given.stream && before.seq < given.seq)
          expect(ahead, `${nameOf(given)} starts`).toContain(nameOf(before));
    }

    isOver(given: QueuedEvent): boolean {
      return this.added.has(nameOf(given)) || this.#world.done.some(([name]) => name === nameOf(given));
    }
  }

  const stream = fc.constantFrom(...STREAMS);
  const index = fc.nat({ max: 20 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 6,
      arbitrary: stream.map((name): Step => (world, model) => {
        const next = event(model.taken.filter((each) => each.stream === name).length + 1, name);
        model.taken.push(next);
        world.intake.take(next);
      }),
    },
    index.map((at): Step => (world, model) => {
      const again = model.taken[at];
      if (again && !model.isOver(again)) world.intake.take(again);
    }),
    {
      weight: 3,
      arbitrary: fc.tuple(stream, fc.boolean()).map(
        ([name, isReady]): Step =>
          (world) =>
            world.setReady(name, isReady),
      ),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(index, fc.constantFrom(received, received, unavailable, later, dead))
        .map(([at, outcome]): Step => (world, model) => {
          const one = world.publishing[at % Math.max(1, world.publishing.length)];
          if (!one) return undefined;
          if (outcome.kind === "later" || outcome.kind === "dead") model.outOfOrder.add(nameOf(one.event));
          one.settle(outcome);
          return settle();
        }),
    },
    fc.tuple(index, fc.boolean()).map(([at, isAccepted]): Step => (world, model) => {
      const name = STREAMS[at % 2] ?? "docs";
      const [first] = world.intake.received(name);
      if (!first) return;
      if (!isAccepted) model.outOfOrder.add(nameOf({ stream: name, seq: first.seq }));
      world.intake.settled(name, first.seq, isAccepted ? undefined : "ERR_RECEIPT");
    }),
    { weight: 3, arbitrary: fc.constant<Step>((world, model) => storeOne(world, model)) },
    fc.constant<Step>((world) => world.adding[0]?.fail()),
    fc.constant<Step>((world) => world.emptyQueue()),
    fc.constant<Step>(() => vi.advanceTimersByTimeAsync(LONG_MS)),
    { weight: 3, arbitrary: fc.constant<Step>(settle) },
  );

  function storeOne(world: IntakeWorld, model: Model): void {
    const [one] = world.adding;
    for (const each of one?.events ?? []) model.added.add(nameOf(each));
    one?.store();
  }

  it("no event is lost, and none overtakes another of its stream", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const world = makeIntakeWorld();
        const model = new Model(world);
        for (const each of steps) await each(world, model);
        // At last all is well.
        for (const name of STREAMS) world.setReady(name, true);
        for (let round = 0; !model.taken.every((each) => model.isOver(each)); round += 1) {
          expect(round, "everything comes to its end").toBeLessThan(100);
          world.settleAll(received);
          await settle();
          storeOne(world, model);
          world.emptyQueue();
          await vi.advanceTimersByTimeAsync(LONG_MS);
        }
        for (await settle(); world.adding.length > 0; await settle()) storeOne(world, model);
        expect(world.stored).toEqual(expect.arrayContaining([...model.added]));
        await world.intake.close();
      }),
      { numRuns: 1000 },
    );
  });
});
