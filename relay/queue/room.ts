/**
 * How much the queue may hold. Counted in this process: what is in the store at the start, plus what is added, less
 * what is removed. Where other relays change the same store that is soon wrong, so a full queue counts anew.
 */
import { OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";

/** Milliseconds between counts of a full queue, and between attempts to add to a full store. */
const COUNT_MS = 2000;
/** Share of the limit below which a queue that was full may be told to be full again: not at every event. */
const RELIEF = 0.9;

export interface Room {
  /** Waits for room and counts the bytes in; until `deadline`, of the monotonic clock, at most. Rejects then, when the signal is aborted, or a count fails. */
  enter(bytes: number, deadline: number): Promise<void>;
  /** They did not come, or were removed. */
  leave(bytes: number): void;
  /** Resolves when something leaves, or after a while. Rejects when the signal is aborted. */
  change(deadline: number): Promise<void>;
}

/**
 * @param held bytes in the store at the start.
 * @param count counts them anew; absent where nobody else changes the store.
 */
export function makeRoom(
  held: number,
  maxBytes: number,
  count: (() => Promise<number>) | undefined,
  report: Report,
  signal: AbortSignal,
): Room {
  let bytesHeld = held;
  let told = false;
  const waiters = new Set<() => void>();

  const tell = (): void => {
    if (told) return;
    told = true;
    report("error", {
      code: "ERR_QUEUE_FULL",
      message: `the queue holds ${Math.round(bytesHeld / 1_048_576)} MiB, as much as it may; the rest waits at the edge`,
      hint: "Connect a builder, or look with `onionhook list` for what no builder takes.",
    });
  };

  const untilLess = (): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        waiters.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, COUNT_MS);
      signal.addEventListener("abort", done);
      waiters.add(done);
    });

  const change = async (deadline: number): Promise<void> => {
    signal.throwIfAborted();
    if (performance.now() >= deadline)
      throw new OnionhookError("ERR_QUEUE_FULL", "the queue has no room", { retryable: true });
    await untilLess();
    signal.throwIfAborted();
  };

  return {
    change,
    async enter(bytes, deadline) {
      while (bytesHeld >= maxBytes) {
        tell();
        await change(deadline);
        if (bytesHeld >= maxBytes && count !== undefined) bytesHeld = await count();
      }
      if (bytesHeld < maxBytes * RELIEF) told = false;
      bytesHeld += bytes;
    },
    leave(bytes) {
      bytesHeld = Math.max(0, bytesHeld - bytes);
      for (const wake of waiters) wake();
    },
  };
}
