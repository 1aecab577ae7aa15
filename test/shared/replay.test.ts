import * as v from "valibot";
import { describe, expect, it, test } from "vitest";
import { MAX_REPLAY, replayAnswer, replayRequest } from "../../shared/replay.ts";

const ID = "7f6c1f0e-3b0a-4c64-9d39-1d2a0b6b9c11";

const isRequest = (value: unknown) => v.safeParse(replayRequest, value).success;
const isAnswer = (value: unknown) => v.safeParse(replayAnswer, value).success;

describe("what a builder asks for", () => {
  test.for([
    { name: "one number", value: { id: ID, stream: "docs", from: 1, to: 1 } },
    { name: "as many as may be", value: { id: ID, stream: "docs", from: 2, to: MAX_REPLAY + 1 } },
    {
      name: "the last numbers there are",
      value: { id: ID, stream: "docs", from: Number.MAX_SAFE_INTEGER - 1, to: Number.MAX_SAFE_INTEGER },
    },
  ])("may be $name", ({ value }) => {
    expect(isRequest(value)).toBe(true);
  });

  test.for([
    { name: "more", value: { id: ID, stream: "docs", from: 1, to: MAX_REPLAY + 1 } },
    { name: "a range that ends before it begins", value: { id: ID, stream: "docs", from: 2, to: 1 } },
    { name: "number 0", value: { id: ID, stream: "docs", from: 0, to: 1 } },
    { name: "a fraction", value: { id: ID, stream: "docs", from: 1, to: 1.5 } },
    { name: "text", value: { id: ID, stream: "docs", from: "1", to: "2" } },
    { name: "without a stream", value: { id: ID, from: 1, to: 2 } },
    { name: "of a stream that is no name", value: { id: ID, stream: "../docs", from: 1, to: 2 } },
    { name: "without an id", value: { stream: "docs", from: 1, to: 2 } },
    { name: "of an id that is no UUID", value: { id: "1", stream: "docs", from: 1, to: 2 } },
    { name: "nothing", value: undefined },
  ])("may not be $name", ({ value }) => {
    expect(isRequest(value)).toBe(false);
  });
});

describe("what it is told", () => {
  it("is how many events there are, or why none is", () => {
    expect(isAnswer({ id: ID, events: 0 })).toBe(true);
    expect(isAnswer({ id: ID, events: MAX_REPLAY })).toBe(true);
    expect(isAnswer({ id: ID, error: "ERR_NO_DRAIN" })).toBe(true);
    expect(isAnswer({ id: "", error: "ERR_REPLAY_REQUEST" }), "of a malformed question").toBe(true);
  });

  test.for([
    { id: ID, events: -1 },
    { id: ID, events: 1.5 },
    { id: ID, events: "1" },
    { id: ID, error: "no drain is open" },
    { id: ID, error: "" },
    { id: ID },
    { events: 0 },
    { error: "ERR_NO_DRAIN" },
    {},
  ])("is not %j", (value) => {
    expect(isAnswer(value)).toBe(false);
  });
});
