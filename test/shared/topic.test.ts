import * as fc from "fast-check";
import webhooks from "@octokit/webhooks-examples/api.github.com/index.json" with { type: "json" };
import { describe, expect, it, test } from "vitest";
import { RECEIPT_TOPIC, TOPIC_PREFIX, topicOf } from "../../shared/topic.ts";

const eventNameError = expect.objectContaining({ code: "ERR_EVENT_NAME" });

describe("the topic of an event", () => {
  it("is its name under webhook.github., for every event of GitHub's", () => {
    expect(webhooks.length).toBe(58);
    for (const { name } of webhooks) expect(topicOf(name)).toBe(`webhook.github.${name}`);
  });

  it("is in lower case", () => {
    expect(topicOf("Pull_Request")).toBe("webhook.github.pull_request");
  });

  test.for(["a", `a${"b".repeat(99)}`, "x9_"])("is made from %j", (name) => {
    expect(topicOf(name)).toBe(TOPIC_PREFIX + name);
  });

  test.for([
    "",
    "9push",
    "_push",
    `a${"b".repeat(100)}`,
    "push.",
    "pu.sh",
    "..",
    "pu sh",
    "push\n",
    "push\0",
    "pu-sh",
    "#",
    "ｐush",
  ])("is not made from %j", (name) => {
    expect(() => topicOf(name)).toThrow(eventNameError);
  });

  it("adds one component and no more, whatever the header held", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from("abZ09_.- #*\0\nK\u017f")), maxLength: 8 }),
        (name) => {
          let topic: string;
          try {
            topic = topicOf(name);
          } catch (error) {
            expect(error).toEqual(eventNameError);
            return;
          }
          expect(topic).toMatch(/^webhook\.github\.[a-z][a-z0-9_]*$/);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("is never the topic of receipts", () => {
    expect(RECEIPT_TOPIC.startsWith(TOPIC_PREFIX)).toBe(false);
  });
});
