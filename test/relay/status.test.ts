import { describe, expect, it } from "vitest";
import { FLOW_MS, judge, span, type Status } from "../../relay/health.ts";
import { makeStatus, type QueueStatus } from "../../relay/status.ts";

const NOTHING: QueueStatus = { counts: { waiting: 0, "in hand": 0, delayed: 0, received: 0, dead: 0 } };
const START = Date.UTC(2026, 10, 21);
const SECOND = 1000;

/** A status whose clock the test turns. */
function makeClocked(streams?: readonly string[]) {
  let time = START;
  const { note, snapshot } = makeStatus(() => time, streams);
  return {
    note,
    snapshot: (queue: QueueStatus | undefined = NOTHING): Status => judge(snapshot(queue)),
    away: () => judge(snapshot(undefined)),
    pass: (ms: number) => (time += ms),
    connect() {
      note("connected", { to: "edge", stream: "builder" });
      note("connected", { to: "router" });
      note("audience", { builders: 1 });
    },
    now: () => time,
  };
}

const event = (seq: number) => ({ delivery: `d-${seq}`, stream: "builder", seq });

describe("the hops", () => {
  it("are down from the relay's start until they are reached", () => {
    const { snapshot } = makeClocked();
    expect(snapshot().hops).toEqual([
      { hop: "edge", up: false, since: START },
      { hop: "router", up: false, since: START },
      { hop: "builder", up: false, since: START },
    ]);
  });

  it("have a row for every stream that is configured, also before its drain is open", () => {
    const { note, snapshot, pass } = makeClocked(["docs", "site"]);
    pass(SECOND);
    note("connected", { to: "edge", stream: "site", receipts: true });
    expect(snapshot().hops.slice(0, 2)).toEqual([
      { hop: "edge", stream: "docs", up: false, since: START },
      { hop: "edge", stream: "site", receipts: true, up: true, since: START + SECOND },
    ]);
  });

  it("say since when, and when the last event passed", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    pass(SECOND);
    connect();
    pass(SECOND);
    note("drained", event(1));
    pass(SECOND);
    note("published", event(1));
    pass(SECOND);
    note("received", event(1));
    // Said again, it is not new.
    connect();
    expect(snapshot().hops).toEqual([
      { hop: "edge", stream: "builder", up: true, since: START + SECOND, lastEventAt: START + 2 * SECOND },
      { hop: "router", up: true, since: START + SECOND, lastEventAt: START + 3 * SECOND },
      { hop: "builder", up: true, since: START + SECOND, lastEventAt: START + 4 * SECOND },
    ]);
  });

  it("lose the builder with the router", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    pass(SECOND);
    note("disconnected", { from: "router" });
    expect(snapshot().hops.slice(1)).toEqual([
      { hop: "router", up: false, since: START + SECOND },
      { hop: "builder", up: false, since: START + SECOND },
    ]);
  });
});

describe("health", () => {
  it("is good while a socket is closed for a moment", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    pass(3600 * SECOND);
    note("disconnected", { from: "edge", stream: "builder" });
    pass(FLOW_MS);
    expect(snapshot()).toMatchObject({
      healthy: true,
      reasons: [],
      attention: [
        "the drain of the stream builder has been down for 2 min; from 2 min on that is not healthy",
      ],
    });
  });

  it.each([
    ["edge", { from: "edge", stream: "builder" }, "the drain of the stream builder has been down for 2 h"],
    ["router", { from: "router" }, "the router has not been reached for 2 h"],
  ])("is bad when the %s stays away, although nothing waits", (_hop, fields, reason) => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    note("disconnected", fields);
    pass(7200 * SECOND);
    expect(snapshot().healthy).toBe(false);
    expect(snapshot().reasons).toContain(reason);
  });

  it("names the edge that was never reached", () => {
    const { snapshot, pass } = makeClocked();
    pass(FLOW_MS + 1);
    expect(snapshot().reasons[0]).toBe("the edge has not been reached for 2 min");
  });

  it("is bad when no builder is there, unless no builder gives receipts", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    note("audience", { builders: 0 });
    pass(FLOW_MS + 1);
    expect(snapshot().reasons).toEqual(["no builder has been there for 2 min"]);
    note("connected", { to: "edge", stream: "builder", receipts: false });
    expect(snapshot().healthy).toBe(true);
  });

  it("is bad when an event waits, and none was done meanwhile, although every socket is open", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    pass(3600 * SECOND);
    note("drained", event(1));
    note("published", event(1));
    pass(FLOW_MS);
    expect(snapshot().healthy).toBe(true);
    pass(180 * SECOND);
    expect(snapshot().reasons).toEqual([
      "events do not flow: the oldest has waited for 5 min, and none was done since the relay began, 65 min ago",
    ]);
    note("accepted", { stream: "builder", seq: 1 });
    expect(snapshot()).toMatchObject({ healthy: true, reasons: [] });
  });

  it("counts what is in the queue, and is good while others are done", () => {
    const { note, snapshot, pass, connect, now } = makeClocked();
    connect();
    const held = { ...NOTHING, oldestAt: START - 86_400 * SECOND };
    expect(snapshot(held).healthy).toBe(true);
    pass(FLOW_MS + 1);
    expect(snapshot(held).healthy).toBe(false);
    expect(snapshot(held).oldestAt).toBe(held.oldestAt);
    note("accepted", { stream: "builder", seq: 1 });
    expect(snapshot(held)).toMatchObject({ healthy: true, acceptedAt: now() });
    pass(10 * FLOW_MS);
    expect(snapshot(held).reasons[0]).toMatch(/waited for 24 h, and the last one was done 20 min ago$/);
  });

  it.each(["queued", "accepted", "unwanted"])("does not wait for what is %s in its memory", (end) => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    note("drained", event(1));
    note(end, event(1));
    pass(FLOW_MS + 1);
    expect(snapshot()).toMatchObject({ healthy: true });
    expect(snapshot()).not.toHaveProperty("oldestAt");
  });

  it("is bad from a lost canary until anything goes the whole way", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    note("canary", { stream: "builder", ms: 812 });
    pass(SECOND);
    note("canary_lost", { stream: "builder", where: "published" });
    expect(snapshot().canaries).toEqual([
      { stream: "builder", at: START, ms: 812, lostAt: START + SECOND, where: "published" },
    ]);
    expect(snapshot().reasons).toEqual([
      "the test event of 0 s ago on the stream builder did not come back; the last that was seen of it: published",
    ]);
    note("accepted", { stream: "builder", seq: 7 });
    expect(snapshot().healthy).toBe(true);
    note("canary_lost", { stream: "builder", where: "stored" });
    note("canary", { stream: "builder", ms: 600 });
    expect(snapshot()).toMatchObject({ healthy: true, canaries: [{ ms: 600 }] });
  });

  it("is bad while the queue's store is away", () => {
    const { away, connect } = makeClocked();
    connect();
    expect(away().reasons).toEqual(["the queue's store is away"]);
    expect(away()).not.toHaveProperty("queue");
  });

  it.each([
    [1, "1 event is a dead letter"],
    [2, "2 events are dead letters"],
  ])("is good with %d dead, which wants attention", (dead, sentence) => {
    const { snapshot, connect } = makeClocked();
    connect();
    const status = snapshot({ counts: { ...NOTHING.counts, dead } });
    expect(status.healthy).toBe(true);
    expect(status.attention[0]).toContain(sentence);
  });
});

describe("the last error", () => {
  it("is kept with its time, its peer and its remedy", () => {
    const { note, snapshot } = makeClocked();
    note("error", { code: "ERR_TOR_TIMEOUT", message: "no circuit", hint: "wait", to: "edge" });
    expect(snapshot().lastError).toEqual({
      at: START,
      code: "ERR_TOR_TIMEOUT",
      message: "no circuit",
      hint: "wait",
      to: "edge",
    });
  });

  const away = { code: "ERR_TOR_TIMEOUT", message: "no circuit" };

  it("is over once the peer that was away is there", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    note("error", { ...away, to: "router" });
    pass(SECOND);
    connect();
    pass(SECOND);
    expect(snapshot().lastError).toMatchObject({ at: START, overAt: START + SECOND });
    note("disconnected", { from: "router" });
    note("error", { ...away, to: "router" });
    expect(snapshot().lastError).not.toHaveProperty("overAt");
  });

  it("is not over by what another peer, or another stream's drain, does", () => {
    const { note, snapshot, pass } = makeClocked(["docs", "site"]);
    note("error", { ...away, to: "edge", stream: "docs" });
    pass(SECOND);
    note("connected", { to: "edge", stream: "site" });
    note("connected", { to: "router" });
    expect(snapshot().lastError).toMatchObject({ stream: "docs" });
    expect(snapshot().lastError).not.toHaveProperty("overAt");
    note("connected", { to: "edge", stream: "docs" });
    expect(snapshot().lastError).toMatchObject({ overAt: START + SECOND });
  });

  it("that was said while the peer was there is not over when it comes again", () => {
    const { note, snapshot, pass, connect } = makeClocked();
    connect();
    note("error", { code: "ERR_WAMP_REFUSED", message: "no", to: "router", ...event(1) });
    pass(SECOND);
    note("disconnected", { from: "router" });
    note("connected", { to: "router" });
    expect(snapshot().lastError).toMatchObject({ code: "ERR_WAMP_REFUSED" });
    expect(snapshot().lastError).not.toHaveProperty("overAt");
  });

  it.each([
    ["error", {}],
    ["connected", { to: "edge" }],
    ["drained", { stream: "builder" }],
    ["canary", { stream: "builder" }],
    ["unheard-of", { stream: 7 }],
    ["audience", undefined],
  ])("and everything else survives a report %s of %j", (name, fields) => {
    const { note, snapshot } = makeClocked();
    expect(() => note(name, fields)).not.toThrow();
    expect(snapshot()).not.toHaveProperty("lastError");
  });
});

it.each([
  [0, "0 s"],
  [119_999, "119 s"],
  [120_000, "2 min"],
  [7_199_999, "119 min"],
  [7_200_000, "2 h"],
  [172_800_000, "2 days"],
])("%d ms are told as %s", (ms, text) => {
  expect(span(ms)).toBe(text);
});
