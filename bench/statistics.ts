/** Quantiles of a list of milliseconds, as one short text. */
export function quantiles(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => quantile(sorted, share).toFixed(2);
  return `p50 ${at(0.5).padStart(7)}   p95 ${at(0.95).padStart(7)}   p99 ${at(0.99).padStart(7)} ms`;
}

/** The value that a share of `sorted`, from 0 to 1, is below. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Milliseconds that each of `count` runs of `work` took, one after the other. */
export async function timesOf(count: number, work: (index: number) => Promise<unknown>): Promise<number[]> {
  const { times } = await fly(count, 1, clocked(work));
  return times;
}

/** Many runs of one thing, some of them at a time. */
export interface Flight {
  /** Milliseconds that each took. */
  times: number[];
  perSecond: number;
}

/** @param work resolves, when the next may begin, with the milliseconds that count. */
export async function fly(
  count: number,
  inFlight: number,
  work: (index: number) => Promise<number>,
): Promise<Flight> {
  const times: number[] = [];
  let begun = 0;
  const lane = async () => {
    while (begun < count) {
      begun += 1;
      times.push(await work(begun - 1));
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { times, perSecond: (count / (performance.now() - started)) * 1000 };
}

/** `work`, resolving with the milliseconds that it took. */
export function clocked(work: (index: number) => Promise<unknown>): (index: number) => Promise<number> {
  return async (index) => {
    const started = performance.now();
    await work(index);
    return performance.now() - started;
  };
}
