/** What every delivery queue does, whatever it is kept in. Run by the test of every store. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import type { Outcome, QueuedEvent } from "../../../relay/queue/queue.ts";
import { until } from "../../helpers/until.ts";
import { roomContract } from "./room.contract.ts";
import { statesContract } from "./states.contract.ts";
import { addAll, closeAll, event, put, range, receive, watch, type Place } from "./watch.ts";

export function queueContract(newPlace: () => Promise<Place>): void {
  afterEach(closeAll);
  statesContract(newPlace);
  roomContract(newPlace);

  test("events are handed out as they were added, in order, and keep their receipts", async () => {
    const seen: QueuedEvent[] = [];
    const { queue, started, received } = await watch(await newPlace(), 1, async (given, tries) => {
      expect(tries).toEqual({ started: 0, spent: 0 });
      seen.push({ ...given, sealed: Buffer.from(given.sealed) });
      return receive(given, tries);
    });
    await addAll(queue, 1, 50);
    expect(started).toEqual([]);
    await queue.resume();
    await until(() => expect(received).toHaveLength(50));
    expect(seen).toEqual(range(1, 50).map((seq) => event(seq)));
    expect(received).toEqual(range(1, 50).map((seq) => [seq, `receipt ${seq}`]));
  });

  test("adding what is there changes nothing and tells how it stands", async () => {
    let outcome: Outcome = { kind: "later", delayMs: 60_000, spent: false };
    const inHand = Promise.withResolvers<void>();
    const { queue, started, received } = await watch(await newPlace(), 1, async () => {
      await inHand.promise;
      return outcome;
    });
    expect(await put(queue, event(1))).toEqual({ state: "added" });
    expect(await put(queue, event(1)), "waiting").toEqual({ state: "held" });
    await queue.resume();
    await until(() => expect(started).toEqual([1]));
    expect(await put(queue, event(1)), "in hand").toEqual({ state: "held" });
    inHand.resolve();
    await sleep(200);
    expect(await put(queue, event(1)), "later").toEqual({ state: "held" });
    outcome = { kind: "received", receipt: "its receipt" };
    await queue.promote();
    await until(() => expect(received).toEqual([[1, "its receipt"]]));
    expect(await put(queue, event(1))).toEqual({ state: "received", receipt: "its receipt" });
    await queue.remove("a-stream", 1);
    await queue.remove("a-stream", 1);
    expect(await put(queue, event(1)), "removed").toEqual({ state: "added" });
    expect(started).toEqual([1, 1]);
  });

  test("at most `concurrency` events are in hand", async () => {
    let inHand = 0;
    let most = 0;
    const { queue, received } = await watch(await newPlace(), 4, async (given, tries) => {
      inHand += 1;
      most = Math.max(most, inHand);
      await sleep(50);
      inHand -= 1;
      return receive(given, tries);
    });
    await addAll(queue, 1, 40);
    await queue.resume();
    await until(() => expect(received).toHaveLength(40));
    expect(most).toBe(4);
  });

  test("an outage in the middle of 50 events reorders nothing and spends no try", async () => {
    let away = false;
    let tried = 0;
    const { queue, started, received } = await watch(await newPlace(), 4, async (given, tries) => {
      tried += 1;
      if (tried === 20) away = true;
      // Those in hand fail in another order than that of their start.
      await sleep((given.seq * 7) % 20);
      return away ? { kind: "unavailable" } : receive(given, tries);
    });
    await addAll(queue, 1, 50);
    await queue.resume();
    await until(() => expect(away).toBe(true));
    await queue.pause();
    const before = started.length;
    await sleep(700);
    expect(started).toHaveLength(before);
    const done = received.map(([seq]) => seq);
    const rest = range(1, 55).filter((seq) => !done.includes(seq));
    await addAll(queue, 51, 55);
    started.length = 0;
    received.length = 0;
    away = false;
    await queue.resume();
    await until(() => expect(received).toHaveLength(rest.length));
    expect(started).toEqual(rest);
  });

  test("without a pause, an unavailable event is tried again, and not in a busy loop", async () => {
    let away = true;
    const { queue, started, received } = await watch(await newPlace(), 2, async (given, tries) =>
      away ? { kind: "unavailable" } : receive(given, tries),
    );
    await addAll(queue, 1, 3);
    await queue.resume();
    await sleep(1500);
    expect(started.length).toBeLessThan(5);
    away = false;
    await until(() => expect(received).toHaveLength(3));
    expect(started.slice(-3)).toEqual([1, 2, 3]);
  });

  test("a paused queue starts nothing; what is in hand goes on", async () => {
    const gate = Promise.withResolvers<void>();
    const { queue, started, received } = await watch(await newPlace(), 1, async (given, tries) => {
      await gate.promise;
      return receive(given, tries);
    });
    await addAll(queue, 1, 2);
    await queue.resume();
    await until(() => expect(started).toEqual([1]));
    await queue.pause();
    gate.resolve();
    await until(() => expect(received).toEqual([[1, "receipt 1"]]));
    await put(queue, event(3));
    await sleep(700);
    expect(started).toEqual([1]);
    await queue.resume();
    await until(() => expect(started).toEqual([1, 2, 3]));
  });

  test("no wake-up is lost: through 50 pauses and resumes, each event starts without a look", async () => {
    const { queue, started } = await watch(await newPlace(), 1, receive);
    // The pause between two looks does not end here: what a wake-up does not start, nothing starts.
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      for (const seq of range(1, 50)) {
        await queue.pause();
        if (seq % 3 === 0) await put(queue, event(seq));
        await sleep(seq % 5);
        await queue.resume();
        if (seq % 3 === 1) await sleep(seq % 7);
        if (seq % 3 !== 0) await put(queue, event(seq));
        while (started.at(-1) !== seq) await sleep(2);
      }
    } finally {
      vi.useRealTimers();
    }
    expect(started).toEqual(range(1, 50));
  });

  test("`later` hands out again after its delay; others overtake it, `promote` ends it", async () => {
    const tried: [seq: number, tries: number][] = [];
    const { queue, received } = await watch(await newPlace(), 1, async (given, tries) => {
      tried.push([given.seq, tries.started]);
      if (given.seq === 1 && tries.started === 0) return { kind: "later", delayMs: 700.5, spent: false };
      if (given.seq === 2 && tries.started === 0) return { kind: "later", delayMs: 3_600_000, spent: false };
      return receive(given, tries);
    });
    await addAll(queue, 1, 3);
    const added = Date.now();
    await queue.resume();
    await until(() => expect(received).toHaveLength(2));
    expect(Date.now() - added).toBeGreaterThan(600);
    expect(tried).toEqual([[1, 0], [2, 0], [3, 0], [1, 1]]); // prettier-ignore
    await queue.promote();
    await until(() => expect(received.at(-1)).toEqual([2, "receipt 2"]));
    expect(tried.at(-1)).toEqual([2, 1]);
  });

  test("`promote` makes what was delayed ready in the order of its numbers, and lets nothing overtake it", async () => {
    const tried: number[] = [];
    const { queue, received } = await watch(await newPlace(), 1, async (given, tries) => {
      tried.push(given.seq);
      // The earlier ones are due later, as after more tries.
      if (tries.started === 0) return { kind: "later", delayMs: 3_600_000 - 1000 * given.seq, spent: false };
      return receive(given, tries);
    });
    await queue.resume();
    await addAll(queue, 1, 12);
    await until(async () => expect((await queue.counts()).delayed).toBe(12));
    expect(queue.isIdle("a-stream")).toBe(true);
    await queue.pause();
    await queue.promote();
    expect(queue.isIdle("a-stream")).toBe(false);
    await queue.resume();
    await until(() => expect(received).toHaveLength(12));
    expect(tried.slice(12)).toEqual(range(1, 12));
    await until(() => expect(queue.isIdle("a-stream")).toBe(true));
  });

  test("`promote` also makes ready what is being tried", async () => {
    const trying = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const { queue, received } = await watch(await newPlace(), 1, async (given, tries) => {
      if (tries.started > 0) return receive(given, tries);
      trying.resolve();
      await answer.promise;
      return { kind: "later", delayMs: 3_600_000, spent: false };
    });
    await queue.resume();
    await addAll(queue, 1, 1);
    await trying.promise;
    await queue.promote();
    answer.resolve();
    await until(() => expect(received).toEqual([[1, "receipt 1"]]));
  });

  test("a handler that throws is reported by its code only, and tried again", async () => {
    const { queue, received, reports } = await watch(await newPlace(), 1, async (given, tries) => {
      expect(tries.spent).toBe(0);
      if (tries.started === 0) throw new Error("with a secret in it");
      return receive(given, tries);
    });
    await queue.resume();
    await put(queue, event(1));
    await until(() => expect(received).toHaveLength(1));
    const fields = { code: "ERR_INTERNAL", message: "an unexpected error", stream: "a-stream", seq: 1 };
    expect(reports).toEqual([["error", { ...fields, delivery: "guid-1" }]]);
  });

  test("a requeued event waits again, not before its time; only a received one is requeued", async () => {
    const { queue, started, received } = await watch(await newPlace(), 1, receive);
    await put(queue, event(1));
    await queue.requeue("a-stream", 1, 0);
    await queue.requeue("a-stream", 2, 0);
    await queue.resume();
    await until(() => expect(received).toHaveLength(1));
    const requeued = Date.now();
    await queue.requeue("a-stream", 1, 1000);
    expect(await put(queue, event(1))).toEqual({ state: "held" });
    await until(() => expect(received).toHaveLength(2));
    expect(Date.now() - requeued).toBeGreaterThan(900);
    expect(started).toEqual([1, 1]);
  });

  test("25 MiB and every value of a byte arrive as they were", async () => {
    const sealed = randomBytes(26_214_400 + 3_000_000);
    let same = false;
    const { queue, received } = await watch(await newPlace(), 2, async (given, tries) => {
      if (given.seq === 1) same = sealed.equals(given.sealed);
      return receive(given, tries);
    });
    await queue.resume();
    expect(await put(queue, event(1, sealed))).toEqual({ state: "added" });
    await put(queue, event(2, Buffer.from(range(0, 255))));
    await until(() => expect(received).toHaveLength(2));
    expect(same).toBe(true);
    expect(await put(queue, event(1, sealed))).toEqual({ state: "received", receipt: "receipt 1" });
    await queue.remove("a-stream", 1);
  }, 120_000);

  test("another event of the same number takes the place of the one that is there", async () => {
    const { queue, started, received } = await watch(await newPlace(), 1, receive);
    await put(queue, event(1));
    expect(await put(queue, event(1, Buffer.from("of an edge that began anew")))).toEqual({ state: "added" });
    await queue.resume();
    await until(() => expect(received).toHaveLength(1));
    expect(await put(queue, event(1, Buffer.from("and once more")))).toEqual({ state: "added" });
    await until(() => expect(received).toHaveLength(2));
    expect(started).toEqual([1, 1]);
  });

  test("what is received and not removed is listed with its receipt", async () => {
    const { queue, received } = await watch(await newPlace(), 2, receive);
    await queue.resume();
    for (const seq of [1, 2, 3]) await put(queue, event(seq));
    await until(() => expect(received).toHaveLength(3));
    await queue.remove("a-stream", 2);
    const left = await queue.received();
    expect(left.toSorted((a, b) => a.seq - b.seq)).toEqual([
      { stream: "a-stream", seq: 1, receipt: "receipt 1" },
      { stream: "a-stream", seq: 3, receipt: "receipt 3" },
    ]);
  });

  test("a closed queue opens again with all that it held, in order", async () => {
    const place = await newPlace();
    const closing = Promise.withResolvers<void>();
    const first = await watch(place, 2, async (given, tries) => {
      if (given.seq === 1) return receive(given, tries);
      if (given.seq === 2) return { kind: "later", delayMs: 500, spent: false };
      await closing.promise;
      return { kind: "unavailable" };
    });
    await addAll(first.queue, 1, 8);
    await first.queue.resume();
    await until(() => expect(first.started).toEqual([1, 2, 3, 4]));
    const closed = closeAll();
    closing.resolve();
    await closed;
    const second = await watch(place, 1, receive);
    expect(await put(second.queue, event(1))).toEqual({ state: "received", receipt: "receipt 1" });
    expect(await put(second.queue, event(2))).toEqual({ state: "held" });
    await second.queue.resume();
    await until(() => expect(second.received).toHaveLength(7));
    expect(second.started.filter((seq) => seq !== 2)).toEqual(range(3, 8));
  });

  test("closing is bounded: a handler that hangs is left, and its event put back first", async () => {
    const place = await newPlace();
    const first = await watch(place, 2, async (given, tries) =>
      given.seq === 1 ? hang() : receive(given, tries),
    );
    await addAll(first.queue, 1, 2);
    await first.queue.resume();
    await until(() => expect(first.received).toHaveLength(1));
    await first.queue.pause();
    await addAll(first.queue, 3, 4);
    const before = Date.now();
    await closeAll();
    expect(Date.now() - before).toBeLessThan(10_000);
    const second = await watch(place, 1, receive);
    await second.queue.resume();
    await until(() => expect(second.started).toEqual([1, 3, 4]));
  }, 30_000);
}

function hang(): Promise<never> {
  return new Promise(() => {});
}
