import webhooks from "@octokit/webhooks-examples/api.github.com/index.json";
import { describe, expect, it, test } from "vitest";
import { shapeFault } from "../../../worker/webhook/event-shape.ts";

const examples = webhooks.flatMap(({ name, examples: bodies }) =>
  (bodies as object[]).map((body) => ({ event: name, keys: new Set(Object.keys(body)) })),
);
const events = webhooks.map(({ name }) => name);

describe("a body of GitHub's", () => {
  it("has the shape of its own event: all 329 examples", () => {
    expect(examples).toHaveLength(329);
    for (const { event, keys } of examples) expect(shapeFault(event, keys), event).toBeUndefined();
  });

  it("has not the shape of another event, but for these: 18,690 of 18,753 pairs are refused", () => {
    const alike: Record<string, Record<string, number>> = {};
    let refused = 0;
    for (const { event, keys } of examples) {
      for (const other of events.filter((name) => name !== event)) {
        if (shapeFault(other, keys) !== undefined) refused += 1;
        else {
          const counts = (alike[other] ??= {});
          counts[event] = (counts[event] ?? 0) + 1;
        }
      }
    }
    expect(refused).toBe(18_690);
    // First the event that the header names, then the one that the body is of.
    expect(alike).toEqual({
      dependabot_alert: { repository_vulnerability_alert: 4 },
      deployment: { workflow_job: 1 },
      github_app_authorization: { installation: 7 },
      installation: { organization: 3, repository: 3, watch: 1 },
      organization: { repository: 8 },
      repository: { github_app_authorization: 2, installation: 7, organization: 5, watch: 3 },
      repository_vulnerability_alert: { dependabot_alert: 3 },
      watch: { repository: 13 },
      workflow_run: { deployment: 3 },
    });
  });

  it("is no push, issue, pull request or release if it is of another event", () => {
    for (const event of ["push", "issues", "issue_comment", "pull_request", "release", "workflow_dispatch"]) {
      for (const { keys } of examples.filter((example) => example.event !== event)) {
        expect(shapeFault(event, keys)).toBeDefined();
      }
    }
  });
});

describe("the shape of", () => {
  const body = (members: string) => new Set(members.split(" "));

  test.for<{ event: string; members: string; other?: string }>([
    { event: "push", members: "ref before after commits pusher repository" },
    { event: "push", members: "zen", other: "ping" },
    { event: "push", members: "ref before after" },
    { event: "push", members: "hello repository" },
    { event: "push", members: "ref repository issue", other: "issues" },
    { event: "ping", members: "zen hook hook_id sender" },
    { event: "ping", members: "hook hook_id action", other: "meta" },
    { event: "issues", members: "action issue label changes something_new" },
    { event: "issues", members: "action issue comment", other: "issue_comment" },
    { event: "watch", members: "action repository sender organization something_new" },
    { event: "watch", members: "action repository sender starred_at", other: "star" },
    { event: "public", members: "repository sender installation" },
    { event: "public", members: "repository sender pusher ref before after commits", other: "push" },
    { event: "organization", members: "action membership organization sender" },
    { event: "installation", members: "action installation repositories requester sender" },
    { event: "secret_scanning_alert", members: "action alert repository" },
  ])("$event, of a body with $members", ({ event, members, other }) => {
    expect(shapeFault(event, body(members))).toBe(other && `the body is one of ${other}, not of ${event}`);
  });

  test.for(["an_event_of_tomorrow", "", "constructor", "__proto__", "Push"])(
    "an event that is not known is any: %j",
    (event) => {
      expect(shapeFault(event, new Set())).toBeUndefined();
      expect(shapeFault(event, body("ref issue action"))).toBeUndefined();
    },
  );
});
