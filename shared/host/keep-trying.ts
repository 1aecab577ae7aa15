import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../errors.ts";
import type { Report } from "../report.ts";
import { pauseMs } from "./backoff.ts";

/** So that a peer that comes back is noticed within seconds. */
const PAUSES = { firstMs: 100, capMs: 5000 };
/** What lasted this long was good: the next pause is the shortest again. */
const SETTLED_MS = 10_000;

/**
 * Runs `attempt` again and again until the signal, however it ends, with a pause in between; what it
 * throws is reported. Resolves after the attempt that the signal ended.
 */
export async function keepTrying(
  attempt: () => Promise<void>,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 0; !signal.aborted; tries += 1) {
    const started = performance.now();
    try {
      await attempt();
    } catch (error) {
      if (!signal.aborted) report("error", describeError(error));
    }
    if (performance.now() - started > SETTLED_MS) tries = 0;
    await sleep(pauseMs(tries, PAUSES), undefined, { signal }).catch(() => {});
  }
}
