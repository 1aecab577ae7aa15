import { setTimeout as sleep } from "node:timers/promises";
import { describeError, OnionhookError } from "../errors.ts";
import type { Report } from "../report.ts";
import { type Pauses, pauseMs } from "./backoff.ts";

/** So that a peer that comes back is noticed within seconds. */
const PAUSES: Pauses = { firstMs: 100, capMs: 5000 };
/** After an error that is not retryable: somebody has to mend it, and what they did is noticed within a minute. */
const MENDING_PAUSES: Pauses = { firstMs: 500, capMs: 60_000 };
/** What lasted this long was good, unless somebody has to mend it: the next pause is the shortest again. */
const SETTLED_MS = 10_000;

/** A log of hours without the peer has a line a minute, and says all the same that it is still so. */
const SAID_AGAIN_MS = 60_000;

/**
 * Runs `attempt` again and again until the signal, however it ends, with a pause in between. What it throws is
 * reported when it begins to, and after {@link SAID_AGAIN_MS} when it still does: what it `reached`, or an attempt
 * that resolves with nothing, ends that. An attempt that resolves with `Pauses` is followed by one of these; any other
 * by {@link PAUSES}, or {@link MENDING_PAUSES}. Resolves after the attempt that the signal ended.
 */
export async function keepTrying(
  attempt: (reached: () => void) => Promise<Pauses | void>,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const failures = makeFailures(report);
  for (let tries = 0; !signal.aborted; tries += 1) {
    const started = performance.now();
    let pauses = PAUSES;
    try {
      const own = await attempt(failures.over);
      if (own === undefined) failures.over();
      else pauses = own;
    } catch (error) {
      if (!signal.aborted) failures.add(error);
      if (error instanceof OnionhookError && !error.retryable) pauses = MENDING_PAUSES;
    }
    if (pauses !== MENDING_PAUSES && performance.now() - started > SETTLED_MS) tries = 0;
    await sleep(pauseMs(tries, pauses), undefined, { signal }).catch(() => {});
  }
}

function makeFailures(report: Report) {
  /** When each code was last reported. */
  const said = new Map<string, number>();
  return {
    add(error: unknown): void {
      const described = describeError(error);
      const now = performance.now();
      if (now - (said.get(described.code) ?? -Infinity) < SAID_AGAIN_MS) return;
      said.set(described.code, now);
      report("error", described);
    },
    over: () => said.clear(),
  };
}
