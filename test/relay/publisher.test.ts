/** At our own router, with builders that answer, refuse, are silent or leave. */
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { makePublisher, type Publisher } from "../../relay/publisher.ts";
import type { Outcome } from "../../relay/queue/queue.ts";
import { sealTag } from "../../shared/cryptobox.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { WampSession } from "../../shared/wamp/session.ts";
import { superviseWamp } from "../../shared/wamp/supervisor.ts";
import { until } from "../helpers/until.ts";
import { type Change, startTestbed, type Testbed, TRANSPORT } from "../router/testbed.ts";
import { join } from "../shared/wamp/joined.ts";
import { type BuilderPeer, plainEvent, receipt, refusal, silence, startBuilderPeer } from "./builder-peer.ts";

const fresh = { started: 0, spent: 0 };
const received: Outcome = { kind: "received", receipt: "AAAA" };
const unavailable: Outcome = { kind: "unavailable" };
const later = (spent: boolean, delayMs: number): Outcome => ({ kind: "later", delayMs, spent });

interface Started {
  bed: Testbed;
  publisher: Publisher;
  /** One for each change of who listens: whether somebody came. */
  audience: boolean[];
  /** Resolves once what `change` does to who listens is known. */
  afterChange<Result>(change: () => Promise<Result>): Promise<Result>;
  reports: [event: string, fields: Record<string, unknown>][];
  /** Of `error` reports. */
  codes(): unknown[];
}

/** A publisher at a router of its own, on a session that is joined again whenever it ends. */
async function start({
  givesReceipts = true,
  changes = [],
  through = (session) => session,
}: {
  givesReceipts?: boolean;
  changes?: readonly Change[];
  /** What the publisher has in place of the session. */
  through?: (session: WampSession) => WampSession;
} = {}): Promise<Started> {
  const bed = await startTestbed({ changes });
  const audience: boolean[] = [];
  const reports: Started["reports"] = [];
  const publisher = makePublisher({
    report: (event, fields = {}) => void reports.push([event, { ...fields }]),
    givesReceipts: () => givesReceipts,
    onAudience: (cameOne) => void audience.push(cameOne),
  });
  const stop = new AbortController();
  const running = superviseWamp({
    purpose: "test",
    join: () => join(bed, "relay"),
    onSession: (session) => publisher.onSession(through(session)),
    onLost: publisher.onLost,
    report: () => {},
    signal: stop.signal,
  });
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  await until(() => expect(audience).not.toEqual([]));
  const afterChange: Started["afterChange"] = async (change) => {
    const before = audience.length;
    const result = await change();
    // One for the subscription and one for the subscriber.
    await until(() => expect(audience.length).toBeGreaterThanOrEqual(before + 2));
    return result;
  };
  const codes = () => reports.filter(([event]) => event === "error").map(([, fields]) => fields["code"]);
  return { bed, publisher, audience, afterChange, reports, codes };
}

const isThere = (publisher: Publisher, isReady = true) =>
  until(() => expect(publisher.isReady("docs")).toBe(isReady));

async function startWith(answer = receipt): Promise<Started & { builder: BuilderPeer }> {
  const started = await start();
  const builder = await startBuilderPeer(started.bed, answer);
  await isThere(started.publisher);
  return { ...started, builder };
}

afterEach(() => void vi.useRealTimers());

describe("where builders give receipts", () => {
  it("nothing is published before a builder is there, and what is, is received", async () => {
    const { bed, publisher, audience, reports } = await start();
    expect(publisher.isReady("docs")).toBe(false);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(unavailable);
    const builder = await startBuilderPeer(bed);
    await isThere(publisher);
    expect(audience.at(-1)).toBe(true);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(received);
    expect(builder.seen).toEqual(["docs-1"]);
    const event = { delivery: "delivery-docs-1", stream: "docs", seq: 1 };
    expect(reports).toEqual([
      ["audience", { builders: 1 }],
      ["published", event],
      ["received", event],
    ]);
  });

  it("whoever has only one topic is not waited for, and gets its events all the same", async () => {
    const { bed, publisher } = await start();
    const listener = await startBuilderPeer(bed, silence, { match: "exact", topic: "webhook.github.push" });
    const builder = await startBuilderPeer(bed);
    await isThere(publisher);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(received);
    expect(await publisher.publish(plainEvent(2, "docs", { topic: "webhook.github.issues" }), fresh)).toEqual(
      received,
    );
    expect([builder.seen, listener.seen]).toEqual([["docs-1", "docs-2"], ["docs-1"]]);
    await builder.session.close();
    await isThere(publisher, false);
    expect(await publisher.publish(plainEvent(3), fresh)).toEqual(unavailable);
  });

  it("it is told when one more came, and when one left", async () => {
    const { bed, publisher, audience, reports } = await startWith();
    const second = await startBuilderPeer(bed);
    const told = () => reports.flatMap(([event, { builders }]) => (event === "audience" ? [builders] : []));
    await until(() => expect(told()).toEqual([1, 2]));
    expect(audience.at(-1)).toBe(true);
    await second.session.close();
    await until(() => expect(told()).toEqual([1, 2, 1]));
    expect(audience.at(-1)).toBe(false);
    expect(publisher.isReady("docs")).toBe(true);
  });

  it("the event of a builder that left is unavailable, also when it is back at once", async () => {
    const { bed, publisher, builder } = await startWith(silence);
    const left = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(builder.seen).toEqual(["docs-1"]));
    const back = startBuilderPeer(bed);
    await Promise.all([builder.session.close(), back]);
    expect(await left).toEqual(unavailable);
    await isThere(publisher);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(received);
  });

  it("a refusal spends the try, soon", async () => {
    const { publisher, builder } = await startWith(refusal);
    const started = performance.now();
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(later(true, 1000));
    // A silent builder is waited for 10 s.
    expect(performance.now() - started).toBeLessThan(9000);
    expect(await publisher.publish(plainEvent(1), { started: 4, spent: 4 })).toEqual({
      kind: "dead",
      reason: "ERR_NOT_OPENED",
    });
    expect(builder.seen).toHaveLength(2);
  });

  it("what is under way when another builder comes keeps its place: the one it went to may be dead", async () => {
    const { bed, publisher, builder } = await startWith(silence);
    const outcome = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(builder.seen).toEqual(["docs-1"]));
    await startBuilderPeer(bed, receipt);
    expect(await outcome).toEqual({ kind: "unavailable" });
  });

  it("one builder's refusal does not undo another's receipt", async () => {
    const { bed, publisher, builder, reports } = await startWith(refusal);
    const other = await startBuilderPeer(bed, silence);
    await until(() => expect(reports).toContainEqual(["audience", { builders: 2 }]));
    const outcome = publisher.publish(plainEvent(1), fresh);
    await until(() => expect([builder.seen, other.seen]).toEqual([["docs-1"], ["docs-1"]]));
    await other.say({ stream: "docs", seq: 1, receipt: "BBBB" });
    expect(await outcome).toEqual({ kind: "received", receipt: "BBBB" });
  });

  it("words that are malformed, or about another event, are no receipt and no refusal", async () => {
    const { publisher, builder, codes } = await startWith(silence);
    const event = plainEvent(1);
    const outcome = publisher.publish(event, fresh);
    for (const word of [
      { stream: "docs", seq: "1", receipt: "AAAA" },
      { stream: "docs", seq: 1, receipt: "no base64!" },
      { tag: sealTag(event.sealed), refused: "because" },
      { refused: "ERR_NOT_OPENED" },
      {},
    ])
      await builder.say(word);
    await builder.say({ stream: "docs", seq: 2, receipt: "AAAA" });
    await builder.say({ stream: "site", seq: 1, receipt: "AAAA" });
    await builder.say({ tag: sealTag(plainEvent(2).sealed), refused: "ERR_NOT_OPENED" });
    await builder.say({ stream: "docs", seq: 1, receipt: "BBBB" });
    expect(await outcome).toEqual({ kind: "received", receipt: "BBBB" });
    expect(codes()).toEqual(Array.from({ length: 5 }, () => "ERR_RECEIPT"));
  });
});

describe("a builder that is silent", () => {
  it("does not spend the try while nothing else passes", async () => {
    const { publisher, builder } = await startWith(silence);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const outcome = publisher.publish(plainEvent(1), { started: 1, spent: 4 });
    await until(() => expect(builder.seen).toEqual(["docs-1"]));
    await vi.advanceTimersByTimeAsync(11_000);
    expect(await outcome).toEqual(later(false, 20_000));
  });

  it("spends it when others of its stream pass meanwhile, and at last the event is dead", async () => {
    const { publisher } = await startWith((seen) => (seen.seq === 1 ? undefined : receipt(seen)));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const before = await publisher.publish(plainEvent(2), fresh);
    await vi.advanceTimersByTimeAsync(1);
    const elsewhere = publisher.publish(plainEvent(1), fresh);
    expect(await publisher.publish(plainEvent(3, "site"), fresh)).toEqual(received);
    await vi.advanceTimersByTimeAsync(11_000);
    expect([before, await elsewhere]).toEqual([received, later(false, 10_000)]);

    const passed = publisher.publish(plainEvent(1), fresh);
    await vi.advanceTimersByTimeAsync(1);
    expect(await publisher.publish(plainEvent(4), fresh)).toEqual(received);
    await vi.advanceTimersByTimeAsync(11_000);
    expect(await passed).toEqual(later(true, 10_000));

    const last = publisher.publish(plainEvent(1), { started: 9, spent: 4 });
    await vi.advanceTimersByTimeAsync(1);
    expect(await publisher.publish(plainEvent(5), fresh)).toEqual(received);
    await vi.advanceTimersByTimeAsync(11_000);
    expect(await last).toEqual({ kind: "dead", reason: "ERR_NO_RECEIPT" });
  });

  it("is given more time for a large event", async () => {
    const { publisher, builder } = await startWith(silence);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const sealed = Buffer.concat([plainEvent(1).sealed, Buffer.alloc(2 * 1024 * 1024)]);
    let outcome: Outcome | undefined;
    void publisher.publish(plainEvent(1, "docs", { sealed }), fresh).then((ended) => (outcome = ended));
    await until(() => expect(builder.seen).toEqual(["docs-1"]));
    await vi.advanceTimersByTimeAsync(35_000);
    expect(outcome).toBeUndefined();
    await vi.advanceTimersByTimeAsync(8000);
    expect(outcome).toEqual(later(false, 10_000));
  });

  it("is given more time behind a large event", async () => {
    const { publisher, builder } = await startWith(silence);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const sealed = Buffer.concat([plainEvent(1).sealed, Buffer.alloc(2 * 1024 * 1024)]);
    const ended: number[] = [];
    for (const event of [plainEvent(1, "docs", { sealed }), plainEvent(2)])
      void publisher.publish(event, fresh).then(() => ended.push(event.seq));
    await vi.waitFor(() => expect(builder.seen).toEqual(["docs-1", "docs-2"]));
    await vi.advanceTimersByTimeAsync(35_000);
    expect(ended).toEqual([]);
    await vi.advanceTimersByTimeAsync(8000);
    expect(ended).toEqual([1, 2]);
  });
});

describe("where no receipts are given", () => {
  const to = (topic: string) => ({ match: "exact", topic: `webhook.github.${topic}` }) as const;
  const heard: Outcome = { kind: "received", receipt: undefined };

  it("an event that the router is slow to acknowledge is not published again", async () => {
    const { promise: acknowledged, resolve: acknowledge } = Promise.withResolvers<void>();
    const { bed, publisher, afterChange } = await start({
      givesReceipts: false,
      through: (session) => ({
        ...session,
        async publish(...args) {
          await session.publish(...args);
          await acknowledged;
        },
      }),
    });
    const listener = await afterChange(() => startBuilderPeer(bed, silence, to("push")));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const outcome = publisher.publish(plainEvent(1), fresh);
    await vi.waitFor(() => expect(listener.seen).toEqual(["docs-1"]));
    await vi.advanceTimersByTimeAsync(15_000);
    acknowledge();
    expect(await outcome).toEqual(heard);
  });

  it("an event is received when somebody subscribed to its topic, else tried later, until somebody does", async () => {
    const { bed, publisher, afterChange, audience } = await start({ givesReceipts: false });
    expect(publisher.isReady("docs")).toBe(true);
    const push = plainEvent(1);
    const issue = plainEvent(2, "docs", { topic: "webhook.github.issues" });
    expect(await publisher.publish(push, fresh)).toEqual(later(false, 10_000));
    const listener = await afterChange(() => startBuilderPeer(bed, silence, to("push")));
    expect(audience.at(-1)).toBe(true);
    expect(await publisher.publish(push, fresh)).toEqual(heard);
    expect(await publisher.publish(issue, { started: 3, spent: 0 })).toEqual(later(false, 80_000));
    const other = await afterChange(() => startBuilderPeer(bed, silence, to("issues")));
    expect(audience.at(-1)).toBe(true);
    expect(await publisher.publish(issue, fresh)).toEqual(heard);
    expect([listener.seen, other.seen]).toEqual([["docs-1"], ["docs-2"]]);
  });

  it("an event is tried later again once everybody left", async () => {
    const { bed, publisher, afterChange } = await start({ givesReceipts: false });
    const listener = await afterChange(() => startBuilderPeer(bed, silence, to("push")));
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(heard);
    await afterChange(() => listener.session.close());
    expect(await publisher.publish(plainEvent(2), fresh)).toEqual(later(false, 10_000));
  });

  it("a topic is not taken for heard after its subscriber left, from the router's next word on", async () => {
    const { bed, publisher, afterChange } = await start({ givesReceipts: false });
    const listener = await afterChange(() => startBuilderPeer(bed, silence, to("push")));
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(heard);
    await listener.session.close();
    // At once: nobody has looked who listens since.
    expect(await publisher.publish(plainEvent(2), fresh)).toEqual(later(false, 10_000));
    expect(listener.seen).toEqual(["docs-1"]);
  });

  it("an event that was heard is not published again because others come and go", async () => {
    const { bed, publisher, afterChange } = await start({ givesReceipts: false });
    await afterChange(() => startBuilderPeer(bed, silence, to("push")));
    const outcomes: Outcome[] = [];
    const over = new AbortController();
    const comeAndGo = async () => {
      for (let round = 0; round < 5; round += 1)
        await (await startBuilderPeer(bed, silence, to("issues"))).session.close();
      over.abort();
    };
    const others = comeAndGo();
    for (let seq = 1; !over.signal.aborted; seq += 1)
      outcomes.push(await publisher.publish(plainEvent(seq), fresh));
    await others;
    expect(outcomes.length).toBeGreaterThan(5);
    expect(outcomes.filter(({ kind }) => kind !== "received")).toEqual([]);
  });

  it("a builder that gives receipts all the same is no hindrance", async () => {
    const { bed, publisher, afterChange } = await start({ givesReceipts: false });
    const { seen } = await afterChange(() => startBuilderPeer(bed));
    expect(await publisher.publish(plainEvent(1), fresh)).toMatchObject({ kind: "received" });
    await until(() => expect(seen).toEqual(["docs-1"]));
  });
});

describe("a session that ends", () => {
  it("leaves unavailable what waits for its receipt", async () => {
    const { publisher, builder, bed } = await startWith(silence);
    const outcome = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(builder.seen).toEqual(["docs-1"]));
    await bed.router.close();
    expect(await outcome).toEqual(unavailable);
    await isThere(publisher, false);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(unavailable);
  });

  it("is the event's fault when it ends a second time with it, and at last the event is dead", async () => {
    const { bed, publisher, codes } = await start({
      // The least that the router takes; the event below is more.
      changes: [
        [`${TRANSPORT}.options.max_message_size`, 65_536],
        [`${TRANSPORT}.options.max_frame_size`, 65_536],
      ],
    });
    await startBuilderPeer(bed);
    await isThere(publisher);
    const poison = plainEvent(1, "docs", { sealed: new Uint8Array(70_000) });
    const attempt = async (spent: number) => {
      await isThere(publisher);
      return publisher.publish(poison, { started: 0, spent });
    };
    expect(await attempt(0)).toEqual(unavailable);
    expect(await attempt(0)).toEqual(later(true, 10_000));
    expect(await attempt(4)).toEqual(unavailable);
    expect(await attempt(4)).toEqual({ kind: "dead", reason: "ERR_SESSION_BREAKS" });
    await isThere(publisher);
    expect(await publisher.publish(plainEvent(2), fresh)).toEqual(received);
    expect(codes()).toEqual([]);
  });

  it("is nobody's fault when the event was published in between", async () => {
    const lost = new OnionhookError("ERR_WAMP_LOST", "lost", { retryable: true });
    const { publisher, reports } = await start();
    const [first, second, third] = [faultySession(), faultySession(), faultySession()];
    await publisher.onSession(first.session);
    first.fail.push(lost);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(unavailable);
    expect(publisher.isReady("docs"), "a session that failed is left, whatever its socket says").toBe(false);
    await publisher.onSession(second.session);
    const published = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(reports.map(([event]) => event)).toContain("published"));
    publisher.onLost();
    expect(await published).toEqual(unavailable);
    await publisher.onSession(third.session);
    third.fail.push(lost);
    expect(await publisher.publish(plainEvent(1), fresh)).toEqual(unavailable);
  });
});

/** A router whose answers fail when a test says so: a real one cannot be made to. */
function faultySession(): { session: WampSession; fail: OnionhookError[] } {
  const fail: OnionhookError[] = [];
  const session: WampSession = {
    async publish() {
      const error = fail.shift();
      if (error) throw error;
    },
    subscribe: async () => {},
    call: async (procedure) => (procedure.endsWith("lookup") ? 17 : [1]),
    register: async () => {},
    closed: new Promise(() => {}),
    close: async () => {},
  };
  return { session, fail };
}

describe("a router that does not let us publish", () => {
  it("is reported, and spends nothing", async () => {
    const { publisher, reports } = await startWith();
    const foreign = plainEvent(1, "docs", { topic: "wamp.github.push" });
    expect(await publisher.publish(foreign, { started: 0, spent: 4 })).toEqual(later(false, 10_000));
    expect(reports.at(-1)).toEqual([
      "error",
      {
        code: "ERR_WAMP_REFUSED",
        message: expect.stringContaining("wamp.error."),
        to: "router",
        delivery: "delivery-docs-1",
        stream: "docs",
        seq: 1,
      },
    ]);
  });
});

describe("builders that share the work", () => {
  const streams = Array.from({ length: 40 }, (_, index) => `stream-${index}`);
  const sharing = { match: "wildcard" } as const;
  const publishAll = (publisher: Publisher, seq: number) =>
    Promise.all(streams.map((stream) => publisher.publish(plainEvent(seq, stream), fresh)));

  it("get each stream's events one alone; those that take all get them all, and nobody else any", async () => {
    const { bed, publisher, reports } = await start();
    const builders = [
      await startBuilderPeer(bed, receipt, sharing),
      await startBuilderPeer(bed, receipt, sharing),
      await startBuilderPeer(bed, receipt, sharing),
    ];
    const observer = await startBuilderPeer(bed, silence);
    const listener = await startBuilderPeer(bed, silence, { match: "exact", topic: "webhook.github.push" });
    await until(() => expect(reports.at(-1)).toEqual(["audience", { builders: 4 }]));
    expect(await publishAll(publisher, 1)).toEqual(streams.map(() => received));
    const shares = builders.map(({ seen }) => [...seen]);
    expect(shares.flat().toSorted()).toEqual(streams.map((stream) => `${stream}-1`).toSorted());
    expect(
      shares.every((share) => share.length > 0),
      "everybody has a share",
    ).toBe(true);
    await until(() => expect(observer.seen.toSorted()).toEqual(shares.flat().toSorted()));

    // The streams of the one that leaves go to the others, which keep their own.
    await builders[2]?.session.close();
    await until(() => expect(reports.at(-1)).toEqual(["audience", { builders: 3 }]));
    expect(await publishAll(publisher, 2)).toEqual(streams.map(() => received));
    const seconds = builders.map(({ seen }) => seen.filter((name) => name.endsWith("-2")));
    expect(seconds.flat()).toHaveLength(streams.length);
    expect(seconds[2]).toEqual([]);
    for (const at of [0, 1])
      expect(seconds[at]).toEqual(
        expect.arrayContaining(shares[at]?.map((name) => name.replace(/1$/, "2")) ?? []),
      );
    expect(listener.seen).toEqual([]);
  });

  it("get nothing before the relay knows of them, so that no event goes to two", async () => {
    let answers = Promise.resolve();
    const { bed, publisher, reports } = await start({
      through: (session) => ({
        ...session,
        async call(...question) {
          await answers;
          return session.call(...question);
        },
      }),
    });
    const first = await startBuilderPeer(bed, receipt, sharing);
    await isThere(publisher);
    const { promise, resolve: letKnow } = Promise.withResolvers<void>();
    answers = promise;
    const second = await startBuilderPeer(bed, receipt, sharing);
    expect(await publishAll(publisher, 1)).toEqual(streams.map(() => received));
    letKnow();
    await until(() => expect(reports).toContainEqual(["audience", { builders: 2 }]));
    expect(await publishAll(publisher, 2)).toEqual(streams.map(() => received));
    expect(second.seen.length).toBeGreaterThan(0);
    expect(second.seen.filter((name) => !name.endsWith("-2"))).toEqual([]);
    expect([...first.seen, ...second.seen].toSorted()).toEqual(
      streams.flatMap((stream) => [`${stream}-1`, `${stream}-2`]).toSorted(),
    );
  });

  it("lose none when the one that has a stream leaves in the middle of it", async () => {
    const { bed, publisher, reports } = await start();
    const builders = [
      await startBuilderPeer(bed, silence, sharing),
      await startBuilderPeer(bed, silence, sharing),
    ];
    await until(() => expect(reports.at(-1)).toEqual(["audience", { builders: 2 }]));
    const first = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(builders.flatMap(({ seen }) => seen)).toEqual(["docs-1"]));
    const [chosen, other] = builders[0]?.seen.length === 1 ? builders : builders.toReversed();
    await chosen?.session.close();
    expect(await first).toEqual(unavailable);
    const again = publisher.publish(plainEvent(1), fresh);
    await until(() => expect(other?.seen).toEqual(["docs-1"]));
    await other?.say({ stream: "docs", seq: 1, receipt: "AAAA" });
    expect(await again).toEqual(received);
  });
});
