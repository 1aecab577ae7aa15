import { describe, expect, it } from "vitest";
import type { OpenDrain } from "../../relay/drain/connection.ts";
import { makeOperations } from "../../relay/operations.ts";
import type { DeliveryQueue, HeldEvent } from "../../relay/queue/queue.ts";
import { makeStatus } from "../../relay/status.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { heldEvent } from "./fake-operations.ts";
import { scriptedDrain } from "./drain/open-drain.ts";

const away = new OnionhookError("ERR_QUEUE_UNREACHABLE", "the store is away", { retryable: true });

/** What operations ask of a queue, over a list: how a real one keeps events is its contract's business. */
function queueOf(held: readonly HeldEvent[], isAway = false) {
  const retried: string[] = [];
  const answer = async <T>(value: T): Promise<T> => {
    if (isAway) throw away;
    return value;
  };
  const find = (stream: string, seq: number) =>
    held.find((event) => event.stream === stream && event.seq === seq);
  const queue: Pick<DeliveryQueue, "find" | "list" | "counts" | "retry"> = {
    find: (stream, seq) => answer(find(stream, seq)),
    list: (state, limit) => answer(held.filter((event) => event.state === state).slice(0, limit)),
    counts: () =>
      answer({
        waiting: 1,
        "in hand": 0,
        delayed: 1,
        received: 0,
        dead: held.filter(({ state }) => state === "dead").length,
      }),
    async retry(stream, seq) {
      retried.push(`${stream}-${seq}`);
      return answer(find(stream, seq)?.state === "dead");
    },
  };
  return { queue, retried };
}

function start({
  held = [],
  drains = [],
  isAway = false,
}: { held?: readonly HeldEvent[]; drains?: readonly OpenDrain[]; isAway?: boolean } = {}) {
  const { queue, retried } = queueOf(held, isAway);
  const operations = makeOperations({
    queue: queue as DeliveryQueue,
    drains: { open: () => [...drains] },
    status: makeStatus(() => 1_000_000),
  });
  return { operations, retried };
}

describe("status", () => {
  it("has what the queue holds, and since when its oldest undone event waits", async () => {
    const held = [
      heldEvent(1, "dead", { addedAt: 100 }),
      heldEvent(2, "received", { addedAt: 200 }),
      heldEvent(3, "delayed", { addedAt: 500 }),
      heldEvent(4, "waiting", { addedAt: 400 }),
    ];
    const { queue } = await start({ held }).operations.status();
    expect(queue).toEqual({
      counts: { waiting: 1, "in hand": 0, delayed: 1, received: 0, dead: 1 },
      oldestAt: 200,
    });
    expect((await start().operations.status()).queue).not.toHaveProperty("oldestAt");
  });

  it("is told without the queue while its store is away", async () => {
    const status = await start({ isAway: true }).operations.status();
    expect(status.queue).toBeUndefined();
    expect(status.healthy).toBe(false);
  });
});

describe("an event", () => {
  const held = [
    heldEvent(1, "dead", { delivery: "delivery-a" }),
    heldEvent(2, "waiting", { delivery: "delivery-a" }),
    heldEvent(3, "received", { delivery: "72d3162e-cc78-11e3-81ab-123456789012" }),
    heldEvent(1, "delayed", { stream: "docs-2" }),
  ];

  it.each<[id: string, found: string[]]>([
    ["builder-2", ["builder-2"]],
    ["docs-2-1", ["docs-2-1"]],
    ["delivery-a", ["builder-1", "builder-2"]],
    ["72d3162e-cc78-11e3-81ab-123456789012", ["builder-3"]],
    ["builder-9", []],
    ["builder", []],
    ["", []],
  ])("is found by its delivery or by its name: %s", async (id, names) => {
    const found = await start({ held }).operations.find(id);
    expect(found.map(({ stream, seq }) => `${stream}-${seq}`).toSorted()).toEqual(names);
  });

  it("is listed with others of its state, up to a limit", async () => {
    const many = [1, 2, 3].map((seq) => heldEvent(seq, "dead"));
    expect(await start({ held: many }).operations.list("dead", 2)).toEqual(many.slice(0, 2));
  });

  it("is made ready with others, and it is told how many were", async () => {
    const { operations, retried } = start({ held });
    const names = [
      { stream: "builder", seq: 1 },
      { stream: "builder", seq: 2 },
      { stream: "builder", seq: 9 },
    ];
    expect(await operations.retry(names)).toBe(1);
    expect(retried).toEqual(["builder-1", "builder-2", "builder-9"]);
    expect(await operations.retry([])).toBe(0);
  });

  it("cannot be had while the store is away", async () => {
    const { operations } = start({ held, isAway: true });
    await expect(operations.find("builder-1")).rejects.toBe(away);
    await expect(operations.list("dead", 1)).rejects.toBe(away);
    await expect(operations.retry([{ stream: "builder", seq: 1 }])).rejects.toBe(away);
  });
});

describe("a replay of what was missed", () => {
  const of = { from: 3, to: 9 };
  const found = (events: number, stream: string) =>
    scriptedDrain(({ id }) => ({ type: "replaying", id, events }), { stream });

  it("is asked of every drain, or of the stream's", async () => {
    const drains = [found(2, "docs"), found(5, "site")];
    const { operations } = start({ drains });
    expect(await operations.replay({ of, how: "missed" })).toEqual({ events: 7 });
    expect(await operations.replay({ of, how: "missed", stream: "site" })).toEqual({ events: 5 });
    expect(drains.map(({ questions }) => questions.length)).toEqual([1, 2]);
    expect(drains[0]?.questions).toEqual([{ type: "replay", id: 1, of }]);
  });

  it.each([undefined, "elsewhere"])("needs a drain that is open: %s", async (stream) => {
    const drains = stream === undefined ? [] : [found(2, "docs")];
    const wish = { of, how: "missed", ...(stream !== undefined && { stream }) } as const;
    await expect(start({ drains }).operations.replay(wish)).rejects.toMatchObject({
      code: "ERR_NO_DRAIN",
      hint: expect.any(String),
      retryable: true,
    });
  });
});

describe("a replay that runs again", () => {
  const of = { since: "2026-11-21T00:00:00.000Z", until: "2026-11-22T00:00:00.000Z" };

  it("goes on until the edge says that there is no more", async () => {
    const portions = [{ events: 100, next: 101 }, { events: 100, next: 301 }, { events: 7 }];
    const drain = scriptedDrain(
      ({ id }) => ({ type: "redelivered", id, ...(portions[id - 1] ?? { events: 0 }) }),
      {
        may: ["redeliver"],
      },
    );
    expect(await start({ drains: [drain] }).operations.replay({ of, how: "again" })).toEqual({ events: 207 });
    expect(drain.questions).toEqual([
      { type: "redeliver", id: 1, of },
      { type: "redeliver", id: 2, of, after: 101 },
      { type: "redeliver", id: 3, of, after: 301 },
    ]);
  });

  it("is not asked for where the edge does not grant it", async () => {
    const drain = scriptedDrain(() => Promise.reject(new Error("not asked")), { may: ["canary"] });
    await expect(start({ drains: [drain] }).operations.replay({ of, how: "again" })).rejects.toMatchObject({
      code: "ERR_REDELIVER_DENIED",
      hint: expect.stringContaining("redeliver = true"),
    });
    expect(drain.questions).toEqual([]);
  });

  it("ends with the edge's silence", async () => {
    const silent = new OnionhookError("ERR_EDGE_SILENT", "no answer", { retryable: true });
    const drain = scriptedDrain(() => Promise.reject(silent), { may: ["redeliver"] });
    await expect(start({ drains: [drain] }).operations.replay({ of, how: "again" })).rejects.toBe(silent);
  });
});
