/**
 * Who is started next. The order, the pauses and the wake-ups of the queue, apart from any store.
 *
 * What is taken from the store stays *in hand*, in the order of taking, until it is settled. An event in hand
 * either runs or is parked (taken but not started, or its outcome was `unavailable`); the first parked event
 * is always started before another is taken, so an outage reorders nothing. While the queue is paused and
 * everything in hand is parked, it goes back to the head of the store, last first, so that another relay on
 * the same store may have it.
 *
 * The store is not waited on (no BZPOPMIN, no LISTEN): `wake` is called for every event that this process
 * adds, and a slow poll finds what others added and what has become due. There is no wake-up to lose.
 */

/** Milliseconds between looks for events that another process added or whose delay is over. */
const POLL_MS = 500;
/** Milliseconds until a store that failed is asked again. */
const STORE_RETRY_MS = 500;
/** Milliseconds without a new start after `unavailable`, unless `resume` says that it is over: no busy loop. */
const BREATH_MS = 1000;

/** Where events come from and what is done with them. `take` and `giveBack` reject when the store is away. */
export interface Supply<Job> {
  take(): Promise<Job | undefined>;
  /** Runs the event to its end, never rejects; `parked` asks to be run again, first in its place. */
  run(job: Job): Promise<"settled" | "parked">;
  /** Puts an event back at the head of the store. */
  giveBack(job: Job): Promise<void>;
}

export interface Dispatch<Job> {
  /** Says that there may be something to take. */
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
  let paused = true;
  const closing = new AbortController();
  let breathUntil = 0;

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
      await supply.giveBack(entry.job);
      drop(entry);
    }
  };

  /** One step; resolves when there is reason for the next. */
  const step = async (): Promise<void> => {
    if (paused) {
      if (hand.length > 0 && hand.every((entry) => !entry.running)) await giveBackAll();
      return bell.wait();
    }
    const breathMs = breathUntil - Date.now();
    if (breathMs > 0) return bell.wait(breathMs);
    const parked = hand.find((entry) => !entry.running);
    if (parked !== undefined) return void start(parked);
    if (hand.length >= concurrency) return bell.wait();
    const job = await supply.take();
    if (job === undefined) return bell.wait(POLL_MS);
    hand.push({ job, running: false });
  };

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await step().catch(() => bell.wait(STORE_RETRY_MS));
    }
  };
  const stopped = loop();

  return {
    wake: () => bell.ring(),
    pause() {
      paused = true;
      bell.ring();
    },
    resume() {
      paused = false;
      breathUntil = 0;
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

interface Bell {
  ring(): void;
  /** Resolves when the bell rings, when it has rung since the last wait, or after `ms`. */
  wait(ms?: number): Promise<void>;
}

function makeBell(): Bell {
  let rung = false;
  let answer: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      answer?.();
    },
    async wait(ms) {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
          answer = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      rung = false;
    },
  };
}
