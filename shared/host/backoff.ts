export interface Pauses {
  /** Milliseconds before the first repetition, at most. */
  readonly firstMs: number;
  /** Milliseconds that no pause exceeds. */
  readonly capMs: number;
}

/**
 * Milliseconds to wait after try number `tries` (from 0): capped exponential backoff with full jitter, an
 * integer, at least 1. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function pauseMs(
  tries: number,
  { firstMs, capMs }: Pauses,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(capMs, firstMs * 2 ** Math.min(tries, 16));
  return 1 + Math.floor(random() * ceiling);
}
