import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { makeDispatch, type Dispatch, type Supply } from "../../../relay/queue/dispatch.ts";

type End = "settled" | "parked";

/** A store in memory, whose runs end when the test says so. */
class Store implements Supply<number> {
  readonly waiting: number[] = [];
  readonly started: number[] = [];
  readonly ends = new Map<number, (end: End) => void>();
  away = false;

  /** How often it was told that nothing waits. */
  empty = 0;

  async take(count: number): Promise<number[]> {
    if (this.away) throw new Error("away");
    return this.waiting.splice(0, count);
  }

  async anyWaiting(): Promise<boolean> {
    if (this.away) throw new Error("away");
    return this.waiting.length > 0;
  }

  onNoneWaiting(): void {
    this.empty += 1;
  }

  run(job: number): Promise<End> {
    this.started.push(job);
    return new Promise((resolve) => this.ends.set(job, resolve));
  }

  async giveBack(job: number): Promise<void> {
    if (this.away) throw new Error("away");
    this.waiting.unshift(job);
  }

  /** Ends the runs of these jobs, in this order. */
  async end(end: End, ...jobs: number[]): Promise<void> {
    for (const job of jobs) {
      this.ends.get(job)?.(end);
      await vi.advanceTimersByTimeAsync(0);
    }
  }
}

let store: Store;
let dispatch: Dispatch<number>;
beforeEach(() => {
  vi.useFakeTimers();
  store = new Store();
  store.waiting.push(1, 2, 3, 4, 5, 6);
  dispatch = makeDispatch(store, 3);
});
afterEach(async () => {
  await Promise.all([dispatch.close(0), vi.advanceTimersByTimeAsync(1000)]);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

/** Resumes and lets everything happen that does not wait for time. */
async function resume(): Promise<void> {
  dispatch.resume();
  await vi.advanceTimersByTimeAsync(0);
}

test("nothing is taken before the first resume, then as many as may be in hand", async () => {
  await vi.advanceTimersByTimeAsync(10_000);
  expect(store.waiting).toHaveLength(6);
  await resume();
  expect(store.started).toEqual([1, 2, 3]);
  await store.end("settled", 2);
  expect(store.started).toEqual([1, 2, 3, 4]);
});

test("paused, parked events go back in order when the last one in hand has ended, whatever the order of ends", async () => {
  await resume();
  dispatch.pause();
  await store.end("parked", 2, 1);
  expect(store.waiting).toEqual([4, 5, 6]);
  await store.end("parked", 3);
  expect(store.waiting).toEqual([1, 2, 3, 4, 5, 6]);
  expect(dispatch.inHand()).toEqual([]);
});

test("parked events are started again first, in order, while others still run", async () => {
  await resume();
  await store.end("parked", 3, 1);
  expect(store.started).toEqual([1, 2, 3]);
  await resume();
  expect(store.started).toEqual([1, 2, 3, 1, 3]);
});

test("without resume, parked events are started again after a breath", async () => {
  await resume();
  await store.end("parked", 1);
  await store.end("settled", 2);
  await vi.advanceTimersByTimeAsync(900);
  expect(store.started).toEqual([1, 2, 3]);
  await vi.advanceTimersByTimeAsync(200);
  expect(store.started).toEqual([1, 2, 3, 1, 4]);
});

test("a store that is away is asked again, and nothing in hand is lost", async () => {
  await resume();
  dispatch.pause();
  store.away = true;
  await store.end("parked", 1, 2, 3);
  await vi.advanceTimersByTimeAsync(5000);
  expect(dispatch.inHand()).toEqual([1, 2, 3]);
  store.away = false;
  await vi.advanceTimersByTimeAsync(1000);
  expect(store.waiting).toEqual([1, 2, 3, 4, 5, 6]);
});

test("an idle dispatch finds by itself what others added, and at once what it is told of", async () => {
  store.waiting.length = 0;
  await resume();
  store.waiting.push(7);
  dispatch.wake();
  await vi.advanceTimersByTimeAsync(0);
  expect(store.started).toEqual([7]);
  store.waiting.push(8);
  await vi.advanceTimersByTimeAsync(600);
  expect(store.started).toEqual([7, 8]);
});

test("close waits for what runs, then puts back the rest in order", async () => {
  await resume();
  const closed = dispatch.close(5000);
  await store.end("settled", 2);
  await vi.advanceTimersByTimeAsync(5000);
  await closed;
  expect(store.waiting).toEqual([1, 3, 4, 5, 6]);
  expect(store.started).toEqual([1, 2, 3]);
});

test("it says that nothing waits when a look found so, and not while anything is admitted", async () => {
  await resume();
  expect(store.empty).toBe(0);
  await store.end("settled", 1, 2, 3, 4, 5, 6);
  await vi.advanceTimersByTimeAsync(0);
  expect(store.empty).toBeGreaterThan(0);
  const stored = Promise.withResolvers<void>();
  const admitted = dispatch.admit(() => stored.promise);
  store.empty = 0;
  dispatch.wake();
  await vi.advanceTimersByTimeAsync(5000);
  expect(store.empty, "on its way, whatever the looks meanwhile found").toBe(0);
  store.waiting.push(7);
  stored.resolve();
  await admitted;
  await vi.advanceTimersByTimeAsync(1000);
  expect(store.started.at(-1)).toBe(7);
  expect(store.empty).toBeGreaterThan(0);
});

test("while it is paused it looks whether what waited is still there", async () => {
  await vi.advanceTimersByTimeAsync(1000);
  expect(store.empty).toBe(0);
  store.waiting.length = 0;
  await vi.advanceTimersByTimeAsync(600);
  expect(store.empty).toBeGreaterThan(0);
});
