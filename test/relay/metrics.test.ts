import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { makeMetrics } from "../../relay/metrics.ts";
import { makeReports } from "../../relay/reports.ts";
import { makeFakeOperations, heldEvent } from "./fake-operations.ts";

function makeFed() {
  let time = 1000;
  const { report, subscribe } = makeReports(() => {});
  const metrics = makeMetrics({ reports: { subscribe } }, () => time);
  return {
    report,
    pass: (ms: number) => (time += ms),
    /** Samples as `name{labels}` → value. */
    async read(status?: Parameters<typeof metrics.render>[0]): Promise<Map<string, number>> {
      const text = await metrics.render(status);
      const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      return new Map(
        lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]),
      );
    },
    text: () => metrics.render(undefined),
  };
}

const event = { delivery: "72d3162e", stream: "builder", seq: 1 };

describe("metrics", () => {
  it("count events by step, and measure each hop and the whole way", async () => {
    const { report, pass, read } = makeFed();
    report("drained", { ...event, topic: "webhook.github.push", bytes: 612 });
    pass(3);
    report("published", event);
    pass(20);
    report("received", event);
    pass(4);
    report("accepted", { stream: "builder", seq: 1 });
    const samples = await read();
    for (const step of ["drained", "published", "received", "accepted"])
      expect(samples.get(`onionhook_events_total{step="${step}"}`)).toBe(1);
    expect(samples.get('onionhook_events_total{step="queued"}')).toBe(0);
    expect(samples.get('onionhook_hop_seconds_sum{hop="relay"}')).toBeCloseTo(0.003);
    expect(samples.get('onionhook_hop_seconds_sum{hop="builder"}')).toBeCloseTo(0.02);
    expect(samples.get('onionhook_hop_seconds_sum{hop="edge"}')).toBeCloseTo(0.004);
    expect(samples.get("onionhook_event_seconds_sum")).toBeCloseTo(0.027);
  });

  it("take a clock that was set back for no time at all", async () => {
    const { report, pass, read } = makeFed();
    report("drained", event);
    pass(-500);
    report("published", event);
    expect((await read()).get('onionhook_hop_seconds_sum{hop="relay"}')).toBe(0);
  });

  it.each([
    ["connected", { to: "router" }, 'onionhook_connections_total{hop="router"}'],
    ["later", { ...event, spent: true }, 'onionhook_retries_total{spent="true"}'],
    ["dead", { ...event, reason: "ERR_OPEN" }, "onionhook_dead_letters_total"],
    [
      "canary_lost",
      { stream: "builder", where: "published" },
      'onionhook_canaries_lost_total{where="published"}',
    ],
    ["canary", { stream: "builder", ms: 812 }, "onionhook_canary_seconds_count"],
    ["error", { code: "ERR_QUEUE_STORE" }, 'onionhook_errors_total{code="ERR_QUEUE_STORE",to=""}'],
    [
      "error",
      { code: "ERR_TOR_TIMEOUT", to: "edge" },
      'onionhook_tor_failures_total{code="ERR_TOR_TIMEOUT",to="edge"}',
    ],
    [
      "error",
      { code: "ERR_EDGE_CHALLENGED", to: "edge" },
      'onionhook_tor_failures_total{code="ERR_EDGE_CHALLENGED",to="edge"}',
    ],
  ])("count %s", async (name, fields, sample) => {
    const { report, read } = makeFed();
    report(name, fields);
    report(name, fields);
    expect((await read()).get(sample)).toBe(2);
  });

  it("show the queue, the hops and health as they are at the time of reading", async () => {
    const { read } = makeFed();
    const operations = makeFakeOperations(
      heldEvent(1, "dead"),
      heldEvent(2, "waiting"),
      heldEvent(3, "waiting"),
    );
    operations.keeper.note("connected", { to: "edge", stream: "builder" });
    operations.keeper.note("drained", event);
    const samples = await read(await operations.status());
    expect(samples.get('onionhook_queue_events{state="waiting"}')).toBe(2);
    expect(samples.get('onionhook_queue_events{state="dead"}')).toBe(1);
    expect(samples.get('onionhook_hop_up{hop="edge",stream="builder"}')).toBe(1);
    expect(samples.get('onionhook_hop_up{hop="router",stream=""}')).toBe(0);
    expect(samples.get("onionhook_healthy")).toBe(1);
    expect(samples.get("onionhook_oldest_undone_seconds")).toBeLessThan(60);
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(samples.get("process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(samples.get("process_start_time_seconds")).toBeLessThan(Date.now() / 1000);
  });

  it("leave out what cannot be known, and say that it is not healthy", async () => {
    const { read } = makeFed();
    await read(await makeFakeOperations(heldEvent(1, "waiting")).status());
    const samples = await read(undefined);
    expect(samples.get("onionhook_healthy")).toBe(0);
    expect([...samples.keys()].filter((name) => /queue_events|hop_up|oldest/.test(name))).toEqual([]);
    expect(samples.has('onionhook_events_total{step="drained"}')).toBe(true);
  });

  it("have no label that a peer can fill with ever new values, nor one that names an event", async () => {
    const { report, read, text } = makeFed();
    for (let n = 0; n < 500; n += 1) {
      report("error", { code: `ERR_TOR_${n}`, to: "edge" });
      report("canary_lost", { stream: "builder", where: `w${n}` });
      report("drained", {
        delivery: `72d3162e-${n}`,
        stream: `stream-${n}`,
        seq: n + 1,
        topic: `webhook.github.t${n}`,
      });
    }
    const samples = await read();
    expect(samples.size).toBeLessThan(300);
    expect(samples.get('onionhook_errors_total{code="other",to="edge"}')).toBe(500 - 64);
    expect(await text()).not.toMatch(/72d3162e|stream-\d|webhook/);
  });

  it("are named as Prometheus wants it", async () => {
    const { text } = makeFed();
    for (const [, name, type] of (await text()).matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      expect(name).toMatch(/^(onionhook|process)_[a-z_]+$/);
      if (type === "counter") expect(name).toMatch(/_total$/);
      if (type === "histogram") expect(name).toMatch(/_seconds$/);
    }
  });

  it("are those that docs/operations.md lists", async () => {
    const { text } = makeFed();
    const docs = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
    const [, table = ""] = /^\| metric \|[^\n]*\n([^]*?)\n\n/m.exec(docs) ?? [];
    const listed = table
      .split("\n")
      .flatMap((row) => (row.split(" | ")[0] ?? "").match(/[a-z]+(_[a-z]+)+/g) ?? []);
    const names = [...(await text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name);
    expect(listed.toSorted()).toEqual(names.toSorted());
  });
});
