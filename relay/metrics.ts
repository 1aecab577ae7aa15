/**
 * What Prometheus reads: docs/operations.md has each metric. Counters and latencies are fed by the relay's reports,
 * gauges by its status at the time of reading. No label has more values than the relay has streams, hops and codes.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Status } from "./health.ts";
import { type Journey, makeJourneys, type Step, STEPS } from "./journeys.ts";
import type { Reports } from "./reports.ts";
import { CIRCUIT_ERRORS } from "./drain/upgrade-outcome.ts";

export interface Metrics {
  /** What a scrape is answered with. @param status undefined when it could not be had. */
  render(status: Status | undefined): Promise<string>;
  readonly contentType: string;
}

/** Seconds: a local round trip has milliseconds, one through Tor a second, a try ends after 10 and more. */
const SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** Distinct values of one label that a peer's words can bring about; the rest is counted as `other`. */
const MOST_VALUES = 64;

/** @param now milliseconds since 1970, with fractions. */
export function makeMetrics({ reports }: { reports: Pick<Reports, "subscribe"> }, now = preciseNow): Metrics {
  const registry = new Registry();
  const note = feed(registry, now);
  reports.subscribe(note);
  const show = gauges(registry);
  return {
    async render(status) {
      show(status);
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}

type Note = (event: string, fields?: Readonly<Record<string, unknown>>) => void;

function feed(registry: Registry, now: () => number): Note {
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Counter({ name: `onionhook_${name}`, help, labelNames, registers });
  const histogram = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Histogram({ name: `onionhook_${name}`, help, labelNames, buckets: SECONDS, registers });

  const events = counter("events_total", "Events by the step they took", ["step"]);
  const tries = counter("retries_total", "Tries that are made again, by whether the event answers for them", [
    "spent",
  ]);
  const dead = counter("dead_letters_total", "Events that used up their tries", []);
  const connections = counter("connections_total", "Connections that were opened, the first one included", [
    "hop",
  ]);
  const errors = counter("errors_total", "Errors by code and peer", ["code", "to"]);
  const circuits = counter(
    "tor_failures_total",
    "Connections that Tor, or an exit of it, did not bring about",
    ["code", "to"],
  );
  const lost = counter("canaries_lost_total", "Test events that did not come back", ["where"]);
  const canary = histogram("canary_seconds", "Round trip of a test event", []);
  const hops = histogram("hop_seconds", "Time that an event spends on a hop", ["hop"]);
  const whole = histogram("event_seconds", "Time from the drain to the edge's acceptance", []);

  for (const step of STEPS) events.inc({ step }, 0);
  for (const hop of ["edge", "router"]) connections.inc({ hop }, 0);
  for (const spent of ["true", "false"]) tries.inc({ spent }, 0);
  const journeys = makeJourneys(now);
  const bounded = makeBound(MOST_VALUES);

  function noteStep(step: Step, { at }: Journey): void {
    const hop = HOP_ENDS[step];
    if (hop) observe(hop.name, at[hop.from], at[step]);
    if (step === "accepted" && at.drained !== undefined && at.accepted !== undefined)
      whole.observe(seconds(at.accepted - at.drained));
  }
  function observe(hop: string, from: number | undefined, to: number | undefined): void {
    if (from !== undefined && to !== undefined) hops.observe({ hop }, seconds(to - from));
  }

  return (event, fields = {}) => {
    const taken = journeys.note(event, fields);
    if (taken) {
      events.inc({ step: taken.step });
      noteStep(taken.step, taken.journey);
    }
    const { to, code, spent, ms, where } = fields;
    const peer = to === "edge" || to === "router" ? to : "";
    if (event === "connected") connections.inc({ hop: peer });
    else if (event === "later") tries.inc({ spent: String(spent === true) });
    else if (event === "dead") dead.inc();
    else if (event === "canary" && typeof ms === "number") canary.observe(seconds(ms));
    else if (event === "canary_lost") lost.inc({ where: bounded("where", String(where)) });
    else if (event === "error") {
      const label = { code: bounded("code", String(code)), to: peer };
      errors.inc(label);
      if (String(code).startsWith("ERR_TOR_") || CIRCUIT_ERRORS.has(String(code))) circuits.inc(label);
    }
  };
}

/** Which hop ends with a step, and with which step it began. */
const HOP_ENDS: Readonly<Partial<Record<Step, { name: string; from: Step }>>> = {
  published: { name: "relay", from: "drained" },
  received: { name: "builder", from: "published" },
  accepted: { name: "edge", from: "received" },
};

/** Returns how to show a status. What cannot be known is left out. */
function gauges(registry: Registry): (status: Status | undefined) => void {
  const gauge = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Gauge({ name, help, labelNames, registers: [registry] });

  const healthy = gauge("onionhook_healthy", "1 while events flow", []);
  const up = gauge("onionhook_hop_up", "1 while the peer is there", ["hop", "stream"]);
  const held = gauge("onionhook_queue_events", "Events in the queue", ["state"]);
  const oldest = gauge(
    "onionhook_oldest_undone_seconds",
    "Age of the oldest event that is neither done nor dead",
    [],
  );
  const started = gauge("process_start_time_seconds", "When the relay began, since 1970", []);
  const memory = gauge("process_resident_memory_bytes", "Resident memory", []);
  const cpu = new Counter({ name: "process_cpu_seconds_total", help: "CPU time", registers: [registry] });

  return (status) => {
    for (const each of [healthy, up, held, oldest]) each.reset();
    healthy.set(status?.healthy === true ? 1 : 0);
    started.set(performance.timeOrigin / 1000);
    memory.set(process.memoryUsage.rss());
    const { user, system } = process.cpuUsage();
    cpu.reset();
    cpu.inc((user + system) / 1e6);
    if (!status) return oldest.remove();
    for (const { hop, stream = "", up: isUp } of status.hops) up.set({ hop, stream }, isUp ? 1 : 0);
    for (const [state, count] of Object.entries(status.queue?.counts ?? {})) held.set({ state }, count);
    oldest.set(status.oldestAt === undefined ? 0 : seconds(status.at - status.oldestAt));
  };
}

/** Passes the first `most` values of each kind, and calls the others `other`. */
function makeBound(most: number): (kind: string, value: string) => string {
  const seen = new Map<string, Set<string>>();
  return (kind, value) => {
    const values = seen.get(kind) ?? new Set();
    seen.set(kind, values);
    if (values.size < most) values.add(value);
    return values.has(value) ? value : "other";
  };
}

/** A clock that was set back must not make a time negative. */
function seconds(ms: number): number {
  return Math.max(0, ms / 1000);
}

function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}
