/** The relay as it is wired: an edge's drain, our own router, the embedded queue. */
import { randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { RelayConfig } from "../../relay/config.ts";
import { openQueue } from "../../relay/queue/open.ts";
import type { DeliveryQueue } from "../../relay/queue/queue.ts";
import { runRelay } from "../../relay/relay.ts";
import { CRYPTOBOX } from "../../shared/cryptobox.ts";
import { openPayload, sealPayload } from "../../shared/sealed-payload.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import { startTestbed, type Testbed } from "../router/testbed.ts";
import { join as joinRouter, seedOf, urlOf } from "../shared/wamp/joined.ts";
import { plainEvent, receipt, refusal, silence, startBuilderPeer } from "./builder-peer.ts";
import { type FakeEdge, startFakeEdge } from "./fake-edge.ts";
import { range } from "./queue/watch.ts";

/** Milliseconds, on a machine with much else to do: less than any pause after which things would come by themselves. */
const AT_ONCE_MS = 9000;
/** Milliseconds until the relay knows who subscribed, at the latest: it tells only of builders. */
const AUDIENCE_MS = 2000;
const shared = new Uint8Array(32).fill(4);

let root = "";
let places = 0;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "oh-relay-"));
  // Opened and closed once: making one takes seconds.
  await (await openQueue({ ...place("template"), report: () => {} })).close();
});
afterAll(() => rmSync(root, { recursive: true }));

const place = (name: string) => ({ url: "embedded", dataDir: join(root, name), concurrency: 16 });

interface Running {
  bed: Testbed;
  edge: FakeEdge;
  queue: DeliveryQueue;
  dataDir: string;
  reports: [event: string, fields: Record<string, unknown>][];
  /** How often this was reported. */
  count(event: string): number;
  stop(): Promise<void>;
}

async function run(
  edge: FakeEdge,
  more: Partial<Pick<RelayConfig, "replay" | "canaryMs">> = {},
): Promise<Running> {
  onTestFinished(() => edge.close());
  const bed = await startTestbed();
  const name = `place-${(places += 1)}`;
  const { dataDir } = place(name);
  cpSync(join(root, "template"), dataDir, { recursive: true });
  const reports: Running["reports"] = [];
  const report = (event: string, fields: Readonly<Record<string, unknown>> = {}) =>
    void reports.push([event, { ...fields }]);
  const queue = await openQueue({ ...place(name), report });
  const config: RelayConfig = {
    dataDir,
    tor: "none",
    torControl: undefined,
    edge: { url: edge.url, relay: "relay", seed: new Uint8Array(32).fill(3), streams: undefined },
    router: { url: urlOf(bed), realm: "onionhook", authid: "relay", seed: seedOf(bed.keys.relay) },
    queue: { url: "embedded", maxBytes: undefined },
    replay: undefined,
    canaryMs: 0,
    control: { socket: join(dataDir, "control.sock"), metricsPort: undefined },
    ...more,
  };
  const ending = new AbortController();
  const running = runRelay(config, queue, report, ending.signal);
  const stop = () => {
    ending.abort();
    return running;
  };
  onTestFinished(stop);
  const count = (event: string) => reports.filter(([name_]) => name_ === event).length;
  await vi.waitFor(() => expect(count("connected")).toBe(2), AT_ONCE_MS);
  return { bed, edge, queue, dataDir, reports, count, stop };
}

const events = (from: number, to: number, topic = "webhook.github.push") =>
  range(from, to).map((seq) => plainEvent(seq, "docs", { topic }));
const names = (from: number, to: number) => range(from, to).map((seq) => `docs-${seq}`);
const builderThere = ({ reports }: Running, builders = 1) =>
  vi.waitFor(
    () => expect(reports.findLast(([event]) => event === "audience")?.[1]).toEqual({ builders }),
    AT_ONCE_MS,
  );
const allDone = ({ edge }: Running) => vi.waitFor(() => expect(edge.undone()).toEqual([]), AT_ONCE_MS);
const queueIs = (queue: DeliveryQueue, counts: Partial<Awaited<ReturnType<DeliveryQueue["counts"]>>>) =>
  vi.waitFor(
    async () =>
      expect(await queue.counts()).toEqual({
        waiting: 0,
        "in hand": 0,
        delayed: 0,
        received: 0,
        dead: 0,
        ...counts,
      }),
    AT_ONCE_MS,
  );

describe("events of a stream whose builders give receipts", () => {
  it("flow past the queue while a builder is there", async () => {
    const relay = await run(await startFakeEdge());
    const builder = await startBuilderPeer(relay.bed);
    await builderThere(relay);
    relay.edge.put(...events(1, 50));
    await allDone(relay);
    expect(builder.seen).toEqual(names(1, 50));
    expect(new Set(relay.edge.done.map(([, given]) => given))).toEqual(new Set(["AAAA"]));
    await vi.waitFor(() => expect(relay.count("accepted")).toBe(50), AT_ONCE_MS);
    for (const step of ["drained", "published", "received"])
      expect([step, relay.count(step)]).toEqual([step, 50]);
    expect([relay.count("queued"), relay.count("error")]).toEqual([0, 0]);
  });

  it("wait in the queue while none is there, and flow at once, in order, before new ones, when one is", async () => {
    const relay = await run(await startFakeEdge());
    relay.edge.put(...events(1, 20));
    await queueIs(relay.queue, { waiting: 20 });
    await vi.waitFor(() => expect(relay.edge.stored).toEqual(range(1, 20)), AT_ONCE_MS);
    let answered = 0;
    const builder = await startBuilderPeer(relay.bed, (seen) => {
      // New ones come in the middle of the backlog.
      if ((answered += 1) === 5) relay.edge.put(...events(21, 40));
      return receipt(seen);
    });
    await allDone(relay);
    expect(builder.seen).toEqual(names(1, 40));
    await queueIs(relay.queue, {});
    expect(relay.count("error")).toBe(0);
  });

  it("stay in their order when the builder leaves in the middle of them, and run none twice", async () => {
    const relay = await run(await startFakeEdge());
    let answered = 0;
    const first = await startBuilderPeer(relay.bed, (seen) =>
      (answered += 1) <= 10 ? receipt(seen) : undefined,
    );
    await builderThere(relay);
    relay.edge.put(...events(1, 30));
    await vi.waitFor(() => expect(relay.edge.undone()).toEqual(range(11, 30)), AT_ONCE_MS);
    await first.session.close();
    await queueIs(relay.queue, { waiting: 20 });
    relay.edge.put(...events(31, 35));
    const second = await startBuilderPeer(relay.bed);
    await allDone(relay);
    expect(second.seen).toEqual(names(11, 35));
    await queueIs(relay.queue, {});
  });

  it("that a builder refuses hold up nobody, and are dead letters in the end", async () => {
    const relay = await run(await startFakeEdge());
    await startBuilderPeer(relay.bed, (seen) => (seen.seq === 3 ? refusal(seen) : receipt(seen)));
    await builderThere(relay);
    relay.edge.put(...events(1, 10));
    await vi.waitFor(() => expect(relay.edge.undone()).toEqual([3]), AT_ONCE_MS);
    await vi.waitFor(
      async () => expect(await relay.queue.find("docs", 3)).toMatchObject({ state: "dead" }),
      50_000,
    );
    expect(await relay.queue.find("docs", 3)).toMatchObject({ reason: "ERR_NOT_OPENED" });
    expect(relay.reports).toContainEqual(["dead", expect.objectContaining({ reason: "ERR_NOT_OPENED" })]);
    expect(relay.edge.undone()).toEqual([3]);
  });

  it("are published again when the edge refuses the receipt", async () => {
    const relay = await run(await startFakeEdge());
    const judged: number[] = [];
    relay.edge.judge = (seq) => (judged.push(seq) === 1 ? "ERR_RECEIPT" : "accept");
    const builder = await startBuilderPeer(relay.bed);
    await builderThere(relay);
    relay.edge.put(...events(1, 1));
    await allDone(relay);
    expect(builder.seen).toEqual(["docs-1", "docs-1"]);
    expect(relay.reports).toContainEqual(["error", expect.objectContaining({ code: "ERR_RECEIPT", seq: 1 })]);
  });

  it("are over when the edge does not want them any more", async () => {
    const relay = await run(await startFakeEdge());
    relay.edge.judge = () => "ERR_UNKNOWN_EVENT";
    relay.edge.put(...events(1, 3));
    await queueIs(relay.queue, { waiting: 3 });
    const builder = await startBuilderPeer(relay.bed);
    await vi.waitFor(() => expect(builder.seen).toEqual(names(1, 3)), AT_ONCE_MS);
    await queueIs(relay.queue, {});
    expect(relay.count("accepted")).toBe(0);
  });

  it("keep their receipts until the edge has accepted them, over any number of connections", async () => {
    const relay = await run(await startFakeEdge());
    relay.edge.judge = () => "say nothing";
    relay.edge.put(...events(1, 3));
    await queueIs(relay.queue, { waiting: 3 });
    const builder = await startBuilderPeer(relay.bed);
    await queueIs(relay.queue, { received: 3 });
    relay.edge.put(...events(4, 6));
    await vi.waitFor(() => expect(new Set(relay.edge.done.map(([seq]) => seq)).size).toBe(6), AT_ONCE_MS);
    relay.edge.judge = () => "accept";
    relay.edge.hangUp();
    await allDone(relay);
    expect(builder.seen).toEqual(names(1, 6));
    await queueIs(relay.queue, {});
  });
});

describe("events of a stream whose builders give no receipts", () => {
  it("are done once somebody heard them, and wait for somebody who does", async () => {
    const relay = await run(await startFakeEdge({ receipts: false }));
    const to = (topic: string) => ({ match: "exact", topic: `webhook.github.${topic}` }) as const;
    const listener = await startBuilderPeer(relay.bed, silence, to("push"));
    await sleep(AUDIENCE_MS);
    relay.edge.put(...events(1, 3), ...events(4, 4, "webhook.github.issues"));
    await vi.waitFor(() => expect(relay.edge.undone()).toEqual([4]), AT_ONCE_MS);
    expect(relay.edge.done.every(([, given]) => given === undefined)).toBe(true);
    await queueIs(relay.queue, { delayed: 1 });
    const other = await startBuilderPeer(relay.bed, silence, to("issues"));
    await allDone(relay);
    await vi.waitFor(() => expect(other.seen).toContain("docs-4"), AT_ONCE_MS);
    expect(listener.seen).toEqual(names(1, 3));
  });
});

describe("a builder that asks for what it misses", () => {
  it("gets it from the edge, through the relay", async () => {
    const relay = await run(await startFakeEdge(), { replay: { sharedKeys: [shared] } });
    const builder = await startBuilderPeer(relay.bed);
    await builderThere(relay);
    relay.edge.put(...events(1, 3));
    await allDone(relay);
    const asking = await joinRouter(relay.bed, "builder");
    const id = randomUUID();
    const missing = { stream: "docs", from: 2, to: 3 };
    const answer = await asking.call(
      "webhook.replay",
      new Passthru(sealPayload("webhook.replay", { kwargs: { id, ...missing } }, shared), CRYPTOBOX, "json"),
    );
    if (!(answer instanceof Passthru)) throw new Error("the answer is not sealed");
    expect(openPayload("webhook.replay", answer, [shared]).kwargs).toEqual({ id, events: 2 });
    await vi.waitFor(() => expect(builder.seen).toEqual([...names(1, 3), ...names(2, 3)]), AT_ONCE_MS);
    expect(relay.reports).toContainEqual(["replayed", { ...missing, events: 2 }]);
  });
});

describe("a canary", () => {
  it("goes the whole way, and is told as nothing else", async () => {
    const relay = await run(await startFakeEdge({ may: ["canary"] }), { canaryMs: 200 });
    const builder = await startBuilderPeer(relay.bed);
    await vi.waitFor(() => expect(relay.count("canary")).toBeGreaterThan(1), AT_ONCE_MS);
    expect(builder.seen.length).toBeGreaterThan(1);
    for (const step of ["drained", "queued", "published", "received", "accepted", "later", "error"])
      expect([step, relay.count(step)]).toEqual([step, 0]);
  });
});

describe("the end", () => {
  it("puts back what is in hand, and leaves nothing behind but the queue", async () => {
    const relay = await run(await startFakeEdge());
    const { dataDir } = relay;
    await startBuilderPeer(relay.bed, silence);
    await builderThere(relay);
    expect(existsSync(join(dataDir, "control.sock"))).toBe(true);
    relay.edge.put(...events(1, 3));
    await vi.waitFor(() => expect(relay.count("published")).toBe(3), AT_ONCE_MS);
    await relay.stop();
    expect(existsSync(join(dataDir, "control.sock"))).toBe(false);
    expect(relay.edge.undone()).toEqual([1, 2, 3]);
    const queue = await openQueue({ url: "embedded", dataDir, concurrency: 1, report: () => {} });
    onTestFinished(() => queue.close());
    expect(await queue.counts()).toMatchObject({ "in hand": 0 });
  });
});
