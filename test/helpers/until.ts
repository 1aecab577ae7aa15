import { vi } from "vitest";

/** Milliseconds. What is awaited takes a few; on a loaded machine anything may take seconds. */
const PATIENCE_MS = 30_000;
const POLL_MS = 5;

/** Waits until `check` no longer throws; then rejects with what it threw last. */
export function until(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, { timeout: PATIENCE_MS, interval: POLL_MS });
}

/** Waits until `condition` holds; fails naming `what` when it does not in time. */
export function eventually(what: string, condition: () => boolean, timeoutMs = PATIENCE_MS): Promise<void> {
  const check = () => {
    if (!condition()) throw new Error(`${what}: not so after ${timeoutMs} ms`);
  };
  return vi.waitFor(check, { timeout: timeoutMs, interval: POLL_MS });
}
