import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Canaries, type CanaryParts, startCanaries } from "../../relay/canary.ts";
import type { OpenDrain } from "../../relay/drain/connection.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { scriptedDrain } from "./drain/open-drain.ts";

const EVERY_MS = 100;
/** Long enough that no canary is lost unless a test waits for it. */
const WAY_MS = 60_000;

// Also the promises of `node:timers`, by which canaries wait.
beforeEach(() => void vi.useFakeTimers({ fakeNodeBuiltins: true }));
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
  vi.useRealTimers();
});
const ends: (() => Promise<void>)[] = [];
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

type Told = [event: string, fields: Record<string, unknown>];

/** Canaries over drains of the test's; `tell` is a report of the relay's, `heard` what came through. */
function start(drains: readonly OpenDrain[], more: Partial<CanaryParts> = {}) {
  const reports: Told[] = [];
  const heard: Told[] = [];
  const stop = new AbortController();
  const canaries = startCanaries({
    drains: () => drains,
    givesReceipts: () => true,
    everyMs: EVERY_MS,
    wayMs: WAY_MS,
    report: (event, fields = {}) => void reports.push([event, { ...fields }]),
    signal: stop.signal,
    ...more,
  });
  const tell = canaries.sift((event, fields = {}) => void heard.push([event, { ...fields }]));
  const end = () => {
    stop.abort();
    return canaries.ended;
  };
  ends.push(end);
  return { canaries, reports, heard, tell, end };
}

const canary = { stream: "docs", seq: 7, delivery: "d", topic: CANARY_TOPIC };
/** An edge that stores each canary under the next number, from 7; the one before must be done. */
function edge(may = ["canary"], stream = "docs") {
  let seq = 7;
  const drain = scriptedDrain(({ id }) => ({ type: "canary", id, seq }), { may, stream });
  return Object.assign(drain, { accept: (canaries: Canaries) => canaries.accepted(stream, seq++) });
}

describe("a canary", () => {
  it("is sent each time that nothing passed for as long, and tells how long its way took", async () => {
    const drain = edge();
    const { canaries, reports } = start([drain]);
    for (const sent of [1, 2, 3]) {
      await pass(EVERY_MS);
      expect(drain.questions).toHaveLength(sent);
      expect(drain.questions.at(-1)).toMatchObject({ type: "canary" });
      drain.accept(canaries);
    }
    expect(reports).toEqual([1, 2, 3].map(() => ["canary", { stream: "docs", ms: expect.any(Number) }]));
  });

  it("is sent in every interval, though the one before it passed in between", async () => {
    const drain = edge();
    const { canaries } = start([drain]);
    for (const sent of [1, 2, 3, 4, 5]) {
      await pass(EVERY_MS);
      expect(drain.questions).toHaveLength(sent);
      await pass(5);
      drain.accept(canaries);
    }
  });

  it("is not sent while events pass", async () => {
    const drain = edge();
    const { canaries } = start([drain]);
    for (let seq = 100; seq < 110; seq += 1) {
      canaries.accepted("docs", seq);
      await pass(0.3 * EVERY_MS);
    }
    expect(drain.questions).toEqual([]);
    await pass(EVERY_MS);
    expect(drain.questions).toHaveLength(1);
  });

  it("is of one stream: what passes on another proves nothing for it", async () => {
    const [docs, site] = [edge(), edge(["canary"], "site")];
    const { canaries } = start([docs, site]);
    for (let seq = 100; seq < 106; seq += 1) {
      canaries.accepted("site", seq);
      await pass(0.3 * EVERY_MS);
    }
    expect(docs.questions.length).toBeGreaterThan(0);
    expect(site.questions).toEqual([]);
  });

  it.each<[what: string, drain: ReturnType<typeof edge>, more: Partial<CanaryParts>]>([
    ["an edge that does not know them", edge([]), {}],
    ["a stream whose builders give no receipts", edge(), { givesReceipts: () => false }],
    ["none asked for", edge(), { everyMs: 0 }],
  ])("is never sent: %s", async (_what, drain, more) => {
    const { reports } = start([drain], more);
    await pass(3 * EVERY_MS);
    expect([drain.questions, reports]).toEqual([[], []]);
  });

  it("is lost when it is not accepted in time, and it is told where it was last seen", async () => {
    const drain = edge();
    const { reports, tell, heard, canaries } = start([drain], { wayMs: 150 });
    await pass(EVERY_MS);
    tell("drained", canary);
    tell("queued", canary);
    await pass(149);
    expect(reports).toEqual([]);
    await pass(1);
    expect(reports).toEqual([["canary_lost", { stream: "docs", where: "queued" }]]);
    expect(heard).toEqual([]);
    // It comes back all the same, in the end.
    drain.accept(canaries);
    expect(reports.at(-1)).toEqual(["canary", { stream: "docs", ms: expect.any(Number) }]);
  });

  it("that the edge did not send is lost where it was stored", async () => {
    const drain = edge();
    const { reports } = start([drain], { wayMs: 50 });
    await pass(EVERY_MS + 50);
    expect(reports).toEqual([["canary_lost", { stream: "docs", where: "stored" }]]);
  });

  it("that is still under way when it is asked for again began when it was first asked for", async () => {
    const drain = edge();
    const { canaries, reports } = start([drain]);
    await pass(3 * EVERY_MS);
    expect(drain.questions).toHaveLength(3);
    drain.accept(canaries);
    expect(reports).toEqual([["canary", { stream: "docs", ms: 2 * EVERY_MS }]]);
  });

  it("that came back is not lost when the edge, asked a moment later, names it again", async () => {
    const drain = scriptedDrain(({ id }) => ({ type: "canary", id, seq: 7 }), { may: ["canary"] });
    const { canaries, reports } = start([drain], { wayMs: 50 });
    await pass(EVERY_MS);
    expect(drain.questions).toHaveLength(1);
    canaries.accepted("docs", 7);
    await pass(3 * EVERY_MS);
    expect(drain.questions).toHaveLength(4);
    expect(reports.map(([event]) => event)).toEqual(["canary"]);
  });

  it("may come before the edge has said its number", async () => {
    const answered = Promise.withResolvers<void>();
    const drain = scriptedDrain(
      async ({ id }) => {
        await answered.promise;
        return { type: "canary", id, seq: 7 };
      },
      { may: ["canary"] },
    );
    const { canaries, reports, tell, heard } = start([drain], { wayMs: 100 });
    await pass(EVERY_MS);
    expect(drain.questions).toHaveLength(1);
    tell("drained", canary);
    answered.resolve();
    await pass(0);
    tell("published", canary);
    canaries.accepted("docs", 7);
    await pass(120);
    expect(heard).toEqual([]);
    expect(reports.filter(([event]) => event === "canary")).toHaveLength(1);
    expect(reports.filter(([event]) => event === "canary_lost")).toEqual([]);
  });

  it("that cannot be asked for is told as an error", async () => {
    const drain = scriptedDrain(
      () => Promise.reject(new OnionhookError("ERR_EDGE_SILENT", "no answer", { retryable: true })),
      { may: ["canary"] },
    );
    const { reports } = start([drain]);
    await pass(EVERY_MS);
    expect(reports).toMatchObject([["error", { code: "ERR_EDGE_SILENT" }]]);
  });

  it("keeps nobody waiting at the end", async () => {
    const drain = edge();
    const { reports, end } = start([drain]);
    await pass(EVERY_MS);
    expect(drain.questions).toHaveLength(1);
    await end();
    await pass(0);
    expect(reports).toEqual([]);
  });
});

describe("the reports of events", () => {
  it("pass, but for those of canaries, and but for errors", async () => {
    const { tell, heard } = start([]);
    const event = { stream: "docs", seq: 6, delivery: "e", topic: "webhook.github.push" };
    tell("drained", event);
    tell("drained", canary);
    tell("published", { stream: "docs", seq: 7, delivery: "d" });
    tell("published", { stream: "docs", seq: 6, delivery: "e" });
    tell("published", { stream: "site", seq: 7, delivery: "f" });
    tell("error", { stream: "docs", seq: 7, code: "ERR_WAMP_REFUSED" });
    tell("connected", { to: "router" });
    tell("audience");
    expect(heard).toEqual([
      ["drained", event],
      ["published", { stream: "docs", seq: 6, delivery: "e" }],
      ["published", { stream: "site", seq: 7, delivery: "f" }],
      ["error", { stream: "docs", seq: 7, code: "ERR_WAMP_REFUSED" }],
      ["connected", { to: "router" }],
      ["audience", {}],
    ]);
  });

  it("of a canary that another relay, or this one before, asked for do not pass either", async () => {
    const { tell, heard, canaries, reports } = start([]);
    tell("drained", canary);
    tell("received", canary);
    canaries.accepted("docs", 7);
    expect(heard).toEqual([]);
    expect(reports).toEqual([]);
  });
});
