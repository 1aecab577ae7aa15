/**
 * Who is started next. The order, the pauses and the wake-ups of the queue, apart from any store.
 *
 * What is taken from the store stays *in hand*, in the order of taking, until it is settled. An event in hand
 * either runs or is parked (taken but not started, or its outcome was `unavailable`); the first parked event
 * is always started before another is taken, so an outage reorders nothing. While the queue is paused and
 * everything in hand is parked, it goes back to the head of the store, last first, so that another relay on
 * the same store may have it.
 *
 * The store is not waited on (no BZPOPMIN, no LISTEN): everything of this process that may make an event wait runs
 * under `admit`, and a slow poll finds what others added and what has become due. There is no wake-up to lose.
 */
import { makeBell } from "./bell.ts";

/**
 * Milliseconds between looks: for events that another process added or whose delay is over; while paused, whether
 * those that wait are still there.
 */
const POLL_MS = 500;
/** Milliseconds until a store that failed is asked again. */
const STORE_RETRY_MS = 500;
/** Milliseconds without a new start after `unavailable`, unless `resume` says that it is over: no busy loop. */
const BREATH_MS = 1000;
/** Events taken in one go, at most: enough that a round trip to the store is shared by many. */
const TAKE_AT_ONCE = 64;

/**
 * Where events come from and what is done with them. `take`, `anyWaiting` and `giveBack` reject when the store is
 * away.
 */
export interface Supply<Job> {
  /** The first `count` that wait, in order, or as many as there are. */
  take(count: number): Promise<Job[]>;
  anyWaiting(): Promise<boolean>;
  /** Runs the event to its end, never rejects; `parked` asks to be run again, first in its place. */
  run(job: Job): Promise<"settled" | "parked">;
  /** Puts an event back at the head of the store. */
  giveBack(job: Job): Promise<void>;
  /** Called when a look found that nothing waits in the store. Must not throw. */
  onNoneWaiting(): void;
}

export interface Dispatch<Job> {
  /** Runs work that may make events wait in the store; they are looked for when it has ended. */
  admit<T>(work: () => Promise<T>): Promise<T>;
  /** Looks at the store. */
  wake(): void;
  pause(): void;
  resume(): void;
  inHand(): Job[];
  /** Starts nothing more, waits `graceMs` for what runs, then puts back all that is left. Never rejects. */
  close(graceMs: number): Promise<void>;
}

interface InHand<Job> {
  readonly job: Job;
  running: boolean;
}

/** Starts paused. */
export function makeDispatch<Job>(supply: Supply<Job>, concurrency: number): Dispatch<Job> {
  const hand: InHand<Job>[] = [];
  const bell = makeBell();
  const closing = new AbortController();
  let paused = true;
  let breathUntil = 0;
  /** Whether events may wait in the store. */
  let mayWait = true;
  /** How much `admit` is doing, and how often this may have put something into the store. */
  let admitting = 0;
  let admitted = 0;

  const expectMore = (): void => {
    admitted += 1;
    mayWait = true;
    bell.ring();
  };

  /** Looks at the store; what was admitted while it answered may still wait. */
  const look = async <T>(work: () => Promise<T>, isEmpty: (answer: T) => boolean): Promise<T> => {
    const before = admitted;
    const answer = await work();
    if (isEmpty(answer) && admitted === before && admitting === 0) mayWait = false;
    return answer;
  };

  const drop = (entry: InHand<Job>): void => {
    hand.splice(hand.indexOf(entry), 1);
  };

  const start = async (entry: InHand<Job>): Promise<void> => {
    entry.running = true;
    const end = await supply.run(entry.job);
    entry.running = false;
    if (end === "settled") drop(entry);
    else breathUntil = Date.now() + BREATH_MS;
    bell.ring();
  };

  /** Last first, so that the first in hand ends as the head of the store. */
  const giveBackAll = async (): Promise<void> => {
    for (const entry of hand.toReversed()) {
      mayWait = true;
      await supply.giveBack(entry.job);
      drop(entry);
    }
  };

  const stepPaused = async (): Promise<void> => {
    if (hand.length > 0 && hand.every((entry) => !entry.running)) await giveBackAll();
    if (mayWait)
      await look(
        () => supply.anyWaiting(),
        (some) => !some,
      );
    if (!mayWait) supply.onNoneWaiting();
    return bell.wait(mayWait ? POLL_MS : undefined);
  };

  /** Where nothing is known to wait, one is asked for: to ask for many costs as many calls. */
  const take = async (): Promise<void> => {
    const count = mayWait ? Math.min(TAKE_AT_ONCE, concurrency - hand.length) : 1;
    const jobs = await look(
      () => supply.take(count),
      (taken) => taken.length < count,
    );
    if (!mayWait && jobs.length === count) mayWait = true;
    hand.push(...jobs.map((job) => ({ job, running: false })));
    if (!mayWait) supply.onNoneWaiting();
    if (jobs.length === 0) return bell.wait(POLL_MS);
  };

  /** One step; resolves when there is reason for the next. */
  const step = async (): Promise<void> => {
    if (paused) return stepPaused();
    const breathMs = breathUntil - Date.now();
    if (breathMs > 0) return bell.wait(breathMs);
    const parked = hand.find((entry) => !entry.running);
    if (parked !== undefined) return void start(parked);
    if (hand.length >= concurrency) return bell.wait();
    return take();
  };

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await step().catch(() => bell.wait(STORE_RETRY_MS));
    }
  };
  const stopped = loop();

  return {
    async admit(work) {
      admitting += 1;
      try {
        return await work();
      } finally {
        admitting -= 1;
        expectMore();
      }
    },
    wake: expectMore,
    pause() {
      paused = true;
      bell.ring();
    },
    resume() {
      breathUntil = 0;
      // Another relay may have added events while this one did not look.
      if (paused) expectMore();
      paused = false;
      bell.ring();
    },
    inHand: () => hand.map((entry) => entry.job),
    async close(graceMs) {
      const deadline = Date.now() + graceMs;
      closing.abort();
      bell.ring();
      await stopped;
      while (hand.some((entry) => entry.running) && Date.now() < deadline) {
        await bell.wait(deadline - Date.now());
      }
      await giveBackAll().catch(() => {});
    },
  };
}
