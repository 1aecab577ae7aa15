import { setTimeout as sleep } from "node:timers/promises";
import { Job } from "bullmq";
import type { Outcome } from "./queue.ts";
import type { TextQueue } from "./adder.ts";
import { isJobGone, type Outage } from "./outage.ts";
import type { TakenJob } from "./store.ts";

/** Milliseconds until the store is asked again to settle an event. */
const SETTLE_RETRY_MS = 500;

/** What is written down of a try; `unavailable` is not. */
export type Settled = Exclude<Outcome, { kind: "unavailable" }>;

/**
 * Writes the outcome of a taken job down, however long the store is away. Where the lock was lost, another relay has
 * the job or will; and after the signal the store is left alone: then nothing is written.
 */
export function makeSettler(
  queue: TextQueue,
  outage: Outage,
  signal: AbortSignal,
): (job: TakenJob, outcome: Settled) => Promise<void> {
  const { backend } = queue;

  const write = async ({ id, name, token }: TakenJob, outcome: Settled): Promise<unknown> => {
    const job = new Job<string, string | null>(queue, name, "", {}, id);
    switch (outcome.kind) {
      case "received":
        return backend.moveToCompleted(job, outcome.receipt ?? null, false, token, false);
      case "dead":
        return backend.moveToFailed(job, outcome.reason, false, token, false);
      case "later": {
        const delayMs = Math.max(0, Math.ceil(outcome.delayMs));
        return backend.moveToDelayed(id, Date.now(), delayMs, token, { skipAttempt: !outcome.spent });
      }
      default:
        return outcome satisfies never;
    }
  };

  return async (job, outcome) => {
    while (!signal.aborted) {
      try {
        await outage.watch(() => write(job, outcome));
        return;
      } catch (error) {
        if (isJobGone(error)) return;
        await sleep(SETTLE_RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
  };
}
