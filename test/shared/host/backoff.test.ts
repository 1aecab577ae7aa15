import * as fc from "fast-check";
import { expect, it } from "vitest";
import { pauseMs } from "../../../shared/host/backoff.ts";

const PAUSES = { firstMs: 100, capMs: 5000 };

it("pauses ever longer, up to the cap", () => {
  const longest = Array.from({ length: 40 }, (_, tries) => pauseMs(tries, PAUSES, () => 0.9999));
  expect(longest.slice(0, 7)).toEqual([100, 200, 400, 800, 1600, 3200, 5000]);
  expect(Math.max(...longest)).toBe(5000);
});

it("pauses for a whole number of milliseconds, at least one, whatever the jitter", () => {
  fc.assert(
    fc.property(
      fc.nat(1000),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (tries, jitter) => {
        const pause = pauseMs(tries, PAUSES, () => jitter);
        expect(Number.isInteger(pause)).toBe(true);
        expect(pause).toBeGreaterThanOrEqual(1);
        expect(pause).toBeLessThanOrEqual(5000);
      },
    ),
  );
});
