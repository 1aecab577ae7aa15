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

/**
 * Runs `attempt` again and again until the signal, however it ends, with a pause in between; what it
 * throws is reported. An attempt that resolves with `Pauses` is followed by one of these; any other by
 * {@link PAUSES}, or {@link MENDING_PAUSES}. Resolves after the attempt that the signal ended.
 */
export async function keepTrying(
  attempt: () => Promise<Pauses | void>,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 0; !signal.aborted; tries += 1) {
    const started = performance.now();
    let pauses = PAUSES;
    try {
      pauses = (await attempt()) ?? PAUSES;
    } catch (error) {
      if (!signal.aborted) report("error", describeError(error));
      if (error instanceof OnionhookError && !error.retryable) pauses = MENDING_PAUSES;
    }
    if (pauses !== MENDING_PAUSES && performance.now() - started > SETTLED_MS) tries = 0;
    await sleep(pauseMs(tries, pauses), undefined, { signal }).catch(() => {});
  }
}
