import * as v from "valibot";
import { describe, expect, it, test } from "vitest";
import { MAX_REPLAY, replayAnswer, replayRequest } from "../../shared/replay.ts";

const isRequest = (value: unknown) => v.safeParse(replayRequest, value).success;
const isAnswer = (value: unknown) => v.safeParse(replayAnswer, value).success;

describe("what a builder asks for", () => {
  test.for([
    { name: "one number", value: { stream: "docs", from: 1, to: 1 } },
    { name: "as many as may be", value: { stream: "docs", from: 2, to: MAX_REPLAY + 1 } },
    {
      name: "the last numbers there are",
      value: { stream: "docs", from: Number.MAX_SAFE_INTEGER - 1, to: Number.MAX_SAFE_INTEGER },
    },
  ])("may be $name", ({ value }) => {
    expect(isRequest(value)).toBe(true);
  });

  test.for([
    { name: "more", value: { stream: "docs", from: 1, to: MAX_REPLAY + 1 } },
    { name: "a range that ends before it begins", value: { stream: "docs", from: 2, to: 1 } },
    { name: "number 0", value: { stream: "docs", from: 0, to: 1 } },
    { name: "a fraction", value: { stream: "docs", from: 1, to: 1.5 } },
    { name: "text", value: { stream: "docs", from: "1", to: "2" } },
    { name: "without a stream", value: { from: 1, to: 2 } },
    { name: "of a stream that is no name", value: { stream: "../docs", from: 1, to: 2 } },
    { name: "nothing", value: undefined },
  ])("may not be $name", ({ value }) => {
    expect(isRequest(value)).toBe(false);
  });
});

describe("what it is told", () => {
  it("is how many events there are, or why none is", () => {
    expect(isAnswer({ events: 0 })).toBe(true);
    expect(isAnswer({ events: MAX_REPLAY })).toBe(true);
    expect(isAnswer({ error: "ERR_NO_DRAIN" })).toBe(true);
  });

  test.for([
    { events: -1 },
    { events: 1.5 },
    { events: "1" },
    { error: "no drain is open" },
    { error: "" },
    {},
  ])("is not %j", (value) => {
    expect(isAnswer(value)).toBe(false);
  });
});
