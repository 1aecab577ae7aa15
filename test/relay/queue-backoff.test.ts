import { expect, test } from "vitest";
import { backoffMs } from "../../relay/queue-backoff.ts";

test.each([
  [0, 0, 1],
  [0, 0.999999, 1000],
  [3, 0.5, 4001],
  [6, 0.999999, 60_000],
  [1_000_000, 0.999999, 60_000],
])("after %i tries, at chance %d, the delay is %i ms", (tries, chance, ms) => {
  expect(backoffMs(tries, () => chance)).toBe(ms);
});
