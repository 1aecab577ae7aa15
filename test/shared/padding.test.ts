import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { padmeSize } from "../../shared/padding.ts";

const MIB = 1024 * 1024;

describe("the Padmé size", () => {
  /** Algorithm 1 of the PURBs paper, in its own words: the last E - S bits of the length become zero. */
  function padmeOfThePaper(length: number): number {
    if (length < 2) return length;
    const e = Math.floor(Math.log2(length));
    const s = Math.floor(Math.log2(e)) + 1;
    const mask = (1n << BigInt(Math.max(0, e - s))) - 1n;
    return Number((BigInt(length) + mask) & ~mask);
  }

  test.for([
    [0, 0],
    [1, 1],
    [2, 2],
    [8, 8],
    [9, 10],
    [100, 104],
    [255, 256],
    [256, 256],
    [257, 272],
    [1000, 1024],
    [MIB - 1, MIB],
    [MIB, MIB],
    [MIB + 1, MIB + 32_768],
    [25 * MIB, 25 * MIB],
    [25 * MIB + 1, 25.5 * MIB],
  ] as const)("of %i bytes is %i", ([length, size]) => {
    expect(padmeSize(length)).toBe(size);
  });

  it("is the paper's for every small length and for any length up to 64 MiB", () => {
    for (let length = 0; length < 20_000; length += 1)
      expect(padmeSize(length)).toBe(padmeOfThePaper(length));
    fc.assert(
      fc.property(fc.nat(64 * MIB), (length) => {
        expect(padmeSize(length)).toBe(padmeOfThePaper(length));
      }),
      { numRuns: 5000 },
    );
  });

  it("is never smaller, at most 12 % larger, and padding it again changes nothing", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 * MIB }), (length) => {
        const size = padmeSize(length);
        expect(size).toBeGreaterThanOrEqual(length);
        expect(size).toBeLessThanOrEqual(length * 1.12);
        expect(padmeSize(size)).toBe(size);
      }),
      { numRuns: 5000 },
    );
  });

  it("takes few values: 447 of them tell all lengths up to 25 MiB apart", () => {
    const sizes = new Set<number>();
    for (let length = 0; length <= 25 * MIB; length = padmeSize(length) + 1) sizes.add(padmeSize(length));
    expect(sizes.size).toBe(447);
  });

  test.for([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 32])(
    "is refused for %d",
    (length) => {
      expect(() => padmeSize(length)).toThrow(RangeError);
    },
  );

  it("is still right for the largest length it takes", () => {
    expect(padmeSize(2 ** 31 - 1)).toBe(2 ** 31);
  });
});
