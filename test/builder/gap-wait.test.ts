import { describe, expect, it } from "vitest";
import {
  afterAnswer,
  type Clocks,
  GAP_ASK_MS,
  GAP_GIVE_UP_MS,
  holdsBack,
  idleMs,
  overdue,
  questionOf,
  renewWaits,
} from "../../builder/gap-wait.ts";

const gap = (from: number, to: number) => ({ from, to, givenUp: false });
const at = (always: number, session = always): Clocks => ({ always, session });
const waitFor = (from: number, to: number) => renewWaits([], [gap(from, to)], at(0));
const FREE = { session: true, free: true };

describe("the wait for a gap", () => {
  it("asks after a moment, once until there is an answer", () => {
    const waits = waitFor(5, 7);
    expect(questionOf(waits, at(GAP_ASK_MS - 1))).toBeUndefined();
    expect(idleMs(waits, at(500), FREE)).toBe(GAP_ASK_MS - 500);
    expect(questionOf(waits, at(GAP_ASK_MS))).toEqual({ from: 5, to: 7 });
    const answered = afterAnswer(waits, { from: 5, to: 7 }, true, at(3000));
    expect(questionOf(answered, at(22_999))).toBeUndefined();
    expect(questionOf(answered, at(23_000))).toEqual({ from: 5, to: 7 });
  });

  it("asks for a large gap in pieces, and not again for what is on its way", () => {
    let waits = waitFor(1, 2500);
    const questions = [];
    for (let question = questionOf(waits, at(2000)); question; question = questionOf(waits, at(2000))) {
      questions.push(question);
      waits = afterAnswer(waits, question, true, at(2000));
      if (questions.length === 1) waits = renewWaits(waits, [gap(1, 499), gap(501, 2500)], at(2000));
    }
    expect(questions).toEqual([
      { from: 1, to: 1000 },
      { from: 1001, to: 2000 },
      { from: 2001, to: 2500 },
    ]);
  });

  it("asks again after a failure, with pauses that double", () => {
    let waits = waitFor(5, 7);
    const times = [];
    for (let now = 0; now < GAP_GIVE_UP_MS; now += 1000) {
      const question = questionOf(waits, at(now));
      if (!question) continue;
      times.push(now);
      waits = afterAnswer(waits, question, false, at(now));
    }
    expect(times).toEqual([2000, 6000, 14_000, 30_000, 62_000]);
  });

  it("gives up after its time, which runs while a session is there", () => {
    const waits = waitFor(5, 7);
    expect(overdue(waits, at(1_000_000, GAP_GIVE_UP_MS))).toEqual([]);
    expect(overdue(waits, at(1_000_000, GAP_GIVE_UP_MS + 30))).toHaveLength(1);
    expect(idleMs(waits, at(GAP_GIVE_UP_MS), { session: false, free: false })).toBe(Infinity);
  });

  it("gives a large gap the time to come through an onion circuit, and one that nobody can have none", () => {
    expect(overdue(waitFor(1, 10_000), at(GAP_GIVE_UP_MS + 99_999))).toEqual([]);
    expect(overdue(waitFor(1, 100_001), at(0))).toHaveLength(1);
  });

  it("holds back what is behind it, also without a session, and never for longer than its time", () => {
    const waits = waitFor(5, 7);
    expect(holdsBack(waits, 8, at(GAP_GIVE_UP_MS - 1, 0))).toBe(true);
    expect(holdsBack(waits, 4, at(0))).toBe(false);
    expect(holdsBack(waits, 8, at(GAP_GIVE_UP_MS, 0))).toBe(false);
  });

  it("hands its times on to what is left of it", () => {
    const parts = renewWaits(
      waitFor(5, 9),
      [gap(5, 6), { ...gap(8, 8), givenUp: true }, gap(9, 9)],
      at(30_000),
    );
    expect(parts).toMatchObject([
      { from: 5, to: 6, heldUntil: GAP_GIVE_UP_MS },
      { from: 9, to: 9, heldUntil: GAP_GIVE_UP_MS },
    ]);
    expect(questionOf(parts, at(2000))).toEqual({ from: 5, to: 6 });
  });
});
