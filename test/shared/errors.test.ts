import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { describe, expect, it, test } from "vitest";
import { describeError, errnoCode, OnionhookError } from "../../shared/errors.ts";

const LEAK = "postgres://user:hunter2@host/secret";

describe("an error of ours", () => {
  it("has a code, is not retryable unless it says so, and keeps its cause", () => {
    const cause = new Error(LEAK);
    const error = new OnionhookError("ERR_QUEUE", "the queue is away", { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "OnionhookError", code: "ERR_QUEUE", retryable: false, cause });
    expect(error.hint).toBeUndefined();
    expect(new OnionhookError("ERR_QUEUE", "…", { retryable: true }).retryable).toBe(true);
    expect("cause" in new OnionhookError("ERR_QUEUE", "…")).toBe(false);
  });

  it("is described by code, message and hint, and never by its cause", () => {
    const error = new OnionhookError("ERR_QUEUE", "the queue is away", {
      hint: "start it",
      cause: new Error(LEAK),
    });
    expect(describeError(error)).toEqual({
      code: "ERR_QUEUE",
      message: "the queue is away",
      hint: "start it",
    });
    expect(describeError(new OnionhookError("ERR_QUEUE", "the queue is away"))).toEqual({
      code: "ERR_QUEUE",
      message: "the queue is away",
    });
  });
});

describe("any other thrown value", () => {
  const strange: { name: string; value: unknown }[] = [
    { name: "an error", value: new Error(LEAK) },
    { name: "an error with a text for a code", value: Object.assign(new Error(LEAK), { code: LEAK }) },
    { name: "an error with a number for a code", value: Object.assign(new Error(LEAK), { code: 42 }) },
    { name: "an error with a telling name", value: Object.assign(new Error(LEAK), { name: LEAK }) },
    { name: "an object with a code", value: { code: "ECONNREFUSED", message: LEAK } },
    { name: "an error with an empty code", value: Object.assign(new Error(LEAK), { code: "" }) },
    { name: "a string", value: LEAK },
    { name: "null", value: null },
    { name: "nothing", value: undefined },
  ];
  test.for(strange)("is not described by a library's text: $name", ({ value }) => {
    expect(describeError(value)).toEqual({ code: "ERR_INTERNAL", message: "an unexpected error" });
    expect(errnoCode(value)).toBeUndefined();
  });

  it("is described by the system's code if it has one, without the path that Node.js puts into its text", async () => {
    const error: unknown = await readFile("/nowhere/at-all").catch((reason: unknown) => reason);
    expect(String(error)).toContain("/nowhere/at-all");
    expect(describeError(error)).toEqual({ code: "ENOENT", message: "ENOENT" });
  });

  it("is described by the system's code of a refused connection", async () => {
    const error = await new Promise((resolve) => {
      connect({ host: "127.0.0.1", port: 1 }).once("error", resolve);
    });
    expect(describeError(error)).toEqual({ code: "ECONNREFUSED", message: "ECONNREFUSED" });
  });
});
