/** The states of an event in the queue, and how they are looked at. Part of `queue.contract.ts`. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Outcome, Tries } from "../../../relay/queue/queue.ts";
import { until } from "../../helpers/until.ts";
import { addAll, closeAll, event, put, range, receive, watch, type Place, type Watched } from "./watch.ts";

const DAY_MS = 86_400_000;

export function statesContract(newPlace: () => Promise<Place>): void {
  test("events that come together are kept in order, and each is answered for itself", async () => {
    const { queue, started, received } = await watch(await newPlace(), 1, receive);
    await put(queue, event(3));
    await queue.resume();
    await until(() => expect(received).toHaveLength(1));
    await queue.pause();
    await put(queue, event(5));
    const added = await queue.add(range(1, 300).map((seq) => event(seq)));
    expect(added[2]).toEqual({ state: "received", receipt: "receipt 3" });
    expect(added[4]).toEqual({ state: "held" });
    expect(added.filter(({ state }) => state === "added")).toHaveLength(298);
    expect(await queue.add([])).toEqual([]);
    started.length = 0;
    await queue.resume();
    await until(() => expect(started).toHaveLength(299));
    expect(started).toEqual([5, ...range(1, 300).filter((seq) => seq !== 3 && seq !== 5)]);
  });

  test("events that are added at the same time, without waiting, are kept in order", async () => {
    const { queue, started } = await watch(await newPlace(), 1, receive);
    await Promise.all(range(1, 40).map((seq) => queue.add([event(seq), event(seq + 100)])));
    await queue.resume();
    await until(() => expect(started).toHaveLength(80));
    expect(started).toEqual(range(1, 40).flatMap((seq) => [seq, seq + 100]));
  });

  test("only a try that says so is spent, and a restart forgets none", async () => {
    const place = await newPlace();
    const tried: Tries[] = [];
    const outcomes: Outcome[] = [
      { kind: "later", delayMs: 0, spent: true },
      { kind: "later", delayMs: 0, spent: false },
      { kind: "later", delayMs: DAY_MS, spent: true },
    ];
    const handler = async (_: unknown, tries: Tries): Promise<Outcome> => {
      tried.push(tries);
      return outcomes.shift() ?? { kind: "received", receipt: "its receipt" };
    };
    const first = await watch(place, 1, handler);
    await put(first.queue, event(1));
    await first.queue.resume();
    await until(async () => expect((await first.queue.find("a-stream", 1))?.state).toBe("delayed"));
    await until(() => expect(tried).toHaveLength(3));
    await closeAll();
    const second = await watch(place, 1, handler);
    await second.queue.resume();
    await second.queue.promote();
    await until(() => expect(second.received).toHaveLength(1));
    expect(tried.map(({ spent }) => spent)).toEqual([0, 1, 1, 2]);
    expect(tried.map(({ started }) => started)).toEqual([0, 1, 2, 3]);
  });

  test("a dead event is kept, holds up no other, and is started again by `retry` only", async () => {
    const place = await newPlace();
    let poison = true;
    const tried: Tries[] = [];
    const handler = async (given: { seq: number }, tries: Tries): Promise<Outcome> => {
      if (given.seq !== 1) return { kind: "received", receipt: `receipt ${given.seq}` };
      tried.push(tries);
      return poison ? { kind: "dead", reason: "ERR_REFUSED" } : { kind: "received", receipt: "receipt 1" };
    };
    const first = await watch(place, 1, handler);
    await addAll(first.queue, 1, 3);
    await first.queue.resume();
    await until(() => expect(first.received.map(([seq]) => seq)).toEqual([2, 3]));
    await first.queue.promote();
    expect(await put(first.queue, event(1))).toEqual({ state: "held" });
    await first.queue.requeue("a-stream", 1, 0);
    await closeAll();

    const { queue, received } = await watch(place, 1, handler);
    await queue.resume();
    await sleep(700);
    expect(tried).toEqual([{ started: 0, spent: 0 }]);
    expect(await queue.find("a-stream", 1)).toMatchObject({
      state: "dead",
      reason: "ERR_REFUSED",
      tries: { started: 1, spent: 1 },
    });
    poison = false;
    expect(await queue.retry("a-stream", 1)).toBe(true);
    await until(() => expect(received).toEqual([[1, "receipt 1"]]));
    expect(tried[1]).toEqual({ started: 1, spent: 0 });
  });

  test("`retry` makes delayed and received events ready at once, and changes no other", async () => {
    const gate = Promise.withResolvers<void>();
    const tried: [seq: number, spent: number][] = [];
    const { queue, received } = await watch(await newPlace(), 2, async ({ seq }, tries) => {
      tried.push([seq, tries.spent]);
      if (seq === 1 && tries.started === 0) return { kind: "later", delayMs: DAY_MS, spent: true };
      if (seq === 3) await gate.promise;
      return { kind: "received", receipt: undefined };
    });
    await queue.resume();
    await addAll(queue, 1, 3);
    await until(() => expect(tried.map(([seq]) => seq)).toEqual([1, 2, 3]));
    await until(() => expect(received).toEqual([[2, undefined]]));
    expect(await queue.retry("a-stream", 3), "in hand").toBe(true);
    expect(await queue.retry("a-stream", 4), "not there").toBe(false);
    expect(await queue.retry("another", 1), "not there").toBe(false);
    expect(await queue.retry("a-stream", 1), "delayed").toBe(true);
    await until(() => expect(tried.at(-1)).toEqual([1, 0]));
    expect(await queue.retry("a-stream", 2), "received").toBe(true);
    await until(() => expect(tried.at(-1)).toEqual([2, 0]));
    await queue.pause();
    await put(queue, event(5));
    expect(await queue.retry("a-stream", 5), "waiting").toBe(true);
    gate.resolve();
    await until(() => expect(received).toHaveLength(4));
    expect(tried).toHaveLength(5);
  });

  test("an event that was retried while it was put off starts at once", async () => {
    const { queue, received } = await watch(await newPlace(), 1, receive);
    await queue.resume();
    await put(queue, event(1));
    await until(() => expect(received).toHaveLength(1));
    await queue.requeue("a-stream", 1, DAY_MS);
    await queue.retry("a-stream", 1);
    await until(async () => expect((await queue.find("a-stream", 1))?.state).not.toBe("waiting"));
    await queue.retry("a-stream", 1);
    await until(() => expect(received).toHaveLength(2));
  });

  test("received without a receipt is kept and told so", async () => {
    const place = await newPlace();
    const first = await watch(place, 1, async () => ({ kind: "received", receipt: undefined }));
    await first.queue.resume();
    await put(first.queue, event(1));
    await until(() => expect(first.received).toEqual([[1, undefined]]));
    await closeAll();
    const { queue } = await watch(place, 1, receive);
    expect(await put(queue, event(1))).toEqual({ state: "received", receipt: undefined });
    expect(await queue.received()).toEqual([{ stream: "a-stream", seq: 1, receipt: undefined }]);
  });

  test("events are counted, listed and found by state, without their bytes", async () => {
    const gate = Promise.withResolvers<void>();
    const { queue, started } = await watch(await newPlace(), 2, async ({ seq }) => {
      if (seq === 1 || seq === 2) return { kind: "received", receipt: `receipt ${seq}` };
      if (seq === 3 || seq === 4) return { kind: "dead", reason: `ERR_${seq}` };
      if (seq === 5 || seq === 6) return { kind: "later", delayMs: DAY_MS, spent: seq === 6 };
      await gate.promise;
      return { kind: "unavailable" };
    });
    const before = Date.now();
    await addAll(queue, 1, 10);
    await queue.resume();
    await until(() => expect(started).toHaveLength(8));
    expect(await queue.counts()).toEqual({ waiting: 2, "in hand": 2, delayed: 2, received: 2, dead: 2 });
    const seqs = async (...args: Parameters<typeof queue.list>) =>
      (await queue.list(...args)).map(({ seq }) => seq);
    expect(await seqs("received", 9)).toEqual([1, 2]);
    expect(await seqs("dead", 9)).toEqual([3, 4]);
    expect(await seqs("delayed", 9)).toEqual([5, 6]);
    expect(await seqs("in hand", 9)).toEqual([7, 8]);
    expect(await seqs("waiting", 9)).toEqual([9, 10]);
    expect(await seqs("waiting", 1)).toEqual([9]);
    expect(await seqs("waiting", 0)).toEqual([]);

    const name = { stream: "a-stream", topic: "webhook.github.push", bytes: 8, addedAt: expect.any(Number) };
    const delayed = await queue.find("a-stream", 6);
    expect(delayed).toEqual({
      ...name,
      seq: 6,
      delivery: "guid-6",
      state: "delayed",
      tries: { started: 1, spent: 1 },
      dueAt: expect.any(Number),
    });
    expect(delayed?.addedAt).toBeGreaterThanOrEqual(before - 1000);
    expect(delayed?.addedAt).toBeLessThanOrEqual(Date.now() + 1000);
    expect(delayed?.dueAt ?? 0).toBeGreaterThan(before + DAY_MS - 60_000);
    expect(await queue.list("dead", 1)).toEqual([
      {
        ...name,
        seq: 3,
        delivery: "guid-3",
        state: "dead",
        tries: { started: 1, spent: 1 },
        reason: "ERR_3",
      },
    ]);
    const states = await Promise.all(
      [1, 3, 5, 7, 9].map(async (seq) => (await queue.find("a-stream", seq))?.state),
    );
    expect(states).toEqual(["received", "dead", "delayed", "in hand", "waiting"]);
    expect((await queue.find("a-stream", 1))?.tries).toEqual({ started: 1, spent: 0 });
    expect(await queue.find("a-stream", 11)).toBeUndefined();
    gate.resolve();
  });

  test("a stream is idle when an event that comes would overtake none, and that is said each time", async () => {
    const place = await newPlace();
    let outcome: Outcome = { kind: "received", receipt: "its receipt" };
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const watched = await watch(place, 2, async ({ seq }) => {
      await gates[seq - 1]?.promise;
      return outcome;
    });
    const { queue, started } = watched;
    expect(queue.isIdle("a-stream"), "empty").toBe(true);
    await queue.add([event(1), event(2)]);
    expect(queue.isIdle("a-stream"), "waiting").toBe(false);
    expect(queue.isIdle("another-stream")).toBe(true);
    await queue.resume();
    await until(() => expect(started).toEqual([1, 2]));
    gates[0]?.resolve();
    await sleep(600);
    expect(queue.isIdle("a-stream"), "in hand").toBe(false);
    expect(watched.idled).toBe(0);
    gates[1]?.resolve();
    await until(() => expect(queue.isIdle("a-stream")).toBe(true));
    expect(watched.idled).toBe(1);
    outcome = { kind: "later", delayMs: DAY_MS, spent: false };
    // What is delayed may be overtaken.
    await addAll(queue, 3, 3);
    outcome = await untilIdle(watched, { kind: "dead", reason: "ERR_REFUSED" });
    await addAll(queue, 4, 4);
    outcome = await untilIdle(watched, { kind: "unavailable" });
    await queue.promote();
    await until(() => expect(started.at(-1)).toBe(3));
    expect(queue.isIdle("a-stream"), "made ready").toBe(false);
    await addAll(queue, 5, 5);
    await queue.pause();
    await sleep(700);
    expect(queue.isIdle("a-stream"), "unavailable").toBe(false);
    await closeAll();

    const again = await watch(place, 1, receive);
    await sleep(700);
    expect(again.queue.isIdle("a-stream"), "one waits from before").toBe(false);
    await again.queue.remove("a-stream", 5);
    await again.queue.remove("a-stream", 3);
    await until(() => expect(again.queue.isIdle("a-stream")).toBe(true));
  });
}

/** Waits until all is settled; returns what is to be the outcome from then on. */
async function untilIdle({ queue }: Watched, next: Outcome): Promise<Outcome> {
  await until(() => expect(queue.isIdle("a-stream")).toBe(true));
  return next;
}
