import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arrive, giveUp, MAX_GAPS, type Numbering } from "../../builder/gaps.ts";

const AT = Date.parse("2026-11-21T00:00:00.000Z");

/** Numbers in the order of their arrival, all received within a second. */
function arrived(...numbers: number[]): Numbering {
  return later(undefined, ...numbers);
}

function later(before: Numbering | undefined, ...numbers: number[]): Numbering {
  let numbering = before;
  for (const seq of numbers) numbering = arrive(numbering, seq, AT + seq);
  if (!numbering) throw new TypeError("no number");
  return numbering;
}

const missing = (numbering: Numbering) =>
  numbering.missing.map(({ from, to, givenUp }) => `${from}-${to}${givenUp ? " given up" : ""}`);

describe("what is missing of a stream", () => {
  it.each([
    ["nothing before the first event ever seen", [7], []],
    ["nothing while the numbers follow each other", [7, 8, 9], []],
    ["what a higher number skips", [7, 10], ["8-9"]],
    ["what several skip", [1, 3, 6], ["2-2", "4-5"]],
    ["no more what came after all", [1, 3, 2], []],
    ["the rest of a gap that was filled at its start", [1, 5, 2], ["3-4"]],
    ["the rest of a gap that was filled at its end", [1, 5, 4], ["2-3"]],
    ["both sides of a number in the middle", [1, 5, 3], ["2-2", "4-4"]],
    ["nothing before the first, when an older event comes late", [7, 8, 6, 9], []],
  ])("is %s", (_what, numbers, expected) => {
    const numbering = arrived(...numbers);
    expect(missing(numbering)).toEqual(expected);
    expect(numbering).toMatchObject({ generation: 0, newest: Math.max(...numbers) });
  });

  it("starts over when a number comes again under another seal: the edge's store began anew", () => {
    const numbering = later(arrived(1, 2, 5), 2);
    expect(numbering).toMatchObject({ generation: 1, first: 2, newest: 2, missing: [] });
    expect(missing(later(numbering, 3, 5))).toEqual(["4-4"]);
  });

  it("starts over at a number below the first that was received long after the newest", () => {
    const before = arrived(100, 101);
    expect(arrive(before, 1, AT + 101 + 60_000)).toBe(before);
    expect(arrive(before, 1, AT + 101 + 60_001)).toMatchObject({ generation: 1, first: 1, newest: 1 });
  });

  it("knows what was given up, and is glad of it all the same", () => {
    const alarmed = giveUp(arrived(1, 10), { from: 4, to: 6 });
    expect(missing(alarmed)).toEqual(["2-3", "4-6 given up", "7-9"]);
    expect(missing(later(alarmed, 5))).toEqual(["2-3", "4-4 given up", "6-6 given up", "7-9"]);
    expect(missing(giveUp(alarmed, { from: 1, to: 10 }))).toEqual(["2-9 given up"]);
    expect(missing(giveUp(arrived(1, 3), { from: 7, to: 9 }))).toEqual(["2-2"]);
  });

  it("is bounded: the lowest gaps are no longer watched, and no event in them is mistaken for a new store's", () => {
    const odd = Array.from({ length: MAX_GAPS + 3 }, (_, index) => 2 * index + 1);
    const numbering = arrived(...odd);
    expect(numbering.missing).toHaveLength(MAX_GAPS);
    expect(numbering.first).toBe(5);
    expect(later(numbering, 2)).toBe(numbering);
  });

  it("is nothing in the end, in whatever order the events came", () => {
    const orders = fc.integer({ min: 1, max: 40 }).chain((last) =>
      fc.shuffledSubarray(
        Array.from({ length: last }, (_, index) => index + 2),
        { minLength: last },
      ),
    );
    fc.assert(
      fc.property(orders, (numbers) => {
        const numbering = arrived(1, ...numbers);
        expect(numbering).toMatchObject({ generation: 0, first: 1, newest: Math.max(1, ...numbers) });
        expect(numbering.missing).toEqual([]);
      }),
    );
  });

  it("is exactly what did not come between the first and the newest", () => {
    const some = fc.shuffledSubarray(Array.from({ length: 40 }, (_, index) => index + 2));
    fc.assert(
      fc.property(some, fc.integer({ min: 0, max: 42 }), (numbers, alarm) => {
        const before = arrived(1, ...numbers.slice(0, alarm));
        const numbering = later(giveUp(before, { from: 1, to: alarm }), ...numbers.slice(alarm));
        const expected = Array.from({ length: numbering.newest }, (_, index) => index + 1).filter(
          (seq) => seq !== 1 && !numbers.includes(seq),
        );
        const listed = numbering.missing.flatMap(({ from, to }) =>
          Array.from({ length: to - from + 1 }, (_, index) => from + index),
        );
        expect(listed).toEqual(expected);
        expect(numbering.generation).toBe(0);
      }),
    );
  });
});
