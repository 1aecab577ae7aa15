/** How many deliveries may have been begun by now. */
export interface Pace {
  allowed(): number;
  /** Lets it grow to `count`, evenly over so many milliseconds. */
  grow(count: number, overMs: number): void;
}

/** @param now milliseconds of a clock that never goes back. */
export function makePace(start: number, now: () => number = () => performance.now()): Pace {
  let from = start;
  let to = start;
  let begun = now();
  let lastsMs = 0;
  const allowed = () => {
    const share = lastsMs === 0 ? 1 : Math.min(1, (now() - begun) / lastsMs);
    return Math.floor(from + (to - from) * share);
  };
  return {
    allowed,
    grow(count, overMs) {
      from = allowed();
      to = count;
      begun = now();
      lastsMs = overMs;
    },
  };
}
