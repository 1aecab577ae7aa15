/** Milliseconds before the first repetition, at most: a fault that passes by itself has then passed. */
const BASE_MS = 1000;
/** Milliseconds, the cap: an event whose cause was mended waits no longer than this. */
const CAP_MS = 60_000;

/**
 * Milliseconds to wait before an event is tried again that was tried `tries` times before: capped
 * exponential backoff with full jitter, an integer (Postgres stores no other), at least 1.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoffMs(tries: number, random: () => number = Math.random): number {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(tries, 16));
  return 1 + Math.floor(random() * ceiling);
}
