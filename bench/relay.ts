/**
 * `npm run bench:relay`: the way from POST to builder without Tor, every part a process of its own, beside its bare
 * parts; and what flows when the relay, or the builder, is back after a while. For each store of the queue, all in one
 * run on one machine. What counts are the ratios: sender, parts, stores and `dev`, which reads every part's words,
 * share the machine's cores.
 */
import { availableParallelism, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { nowMs } from "../cli/output.ts";
import { measureBullmq, measureQueue, measureVerifyServer, measureWamp, type Plan, warmUp } from "./bare.ts";
import { BODY_BYTES, HOPS, openLedger, type Ledger, type Way } from "./deliveries.ts";
import { type Flights, line, printFlights, ratio } from "./lines.ts";
import { type MemorySample, residentOf, residentOfChildren, watchMemory } from "./proc.ts";
import { openPartLog } from "./part-log.ts";
import { onStage, printMemory, type Stage, startCpu } from "./stage.ts";
import { type Flight, fly, median, quantile } from "./statistics.ts";
import { openStore, STORES, type Store, type StoreName } from "./stores.ts";

/** How many, by how many in flight: some seconds each. */
const PLAN: Plan = new Map([
  [1, 300],
  [10, 2000],
  [100, 4000],
]);
/** The most in flight of {@link PLAN}. */
const CROWD = 100;
/** A backlog is sent by so many at a time. */
const SENDERS = 32;
/** Milliseconds after the start, and after work: for what is still being tidied up. */
const SETTLE_MS = 3000;
/** Milliseconds until router and relay must have noticed that the builder is silent. */
const NOTICE_MS = 60_000;
/** Milliseconds for an event's way into the queue, on the slowest store. */
const QUEUEING_MS_PER_EVENT = 50;

/** Issue 5, item 9: of 8 KB on two cores. */
const GOALS: Readonly<Record<StoreName, { perSecond: string; p50: string; p99: string; resident: string }>> =
  {
    embedded: { perSecond: "≥ 300", p50: "≤ 10", p99: "≤ 40", resident: "none" },
    redis: { perSecond: "≥ 1000", p50: "≤ 3.4", p99: "≤ 8", resident: "≤ 200" },
    "local-redis": { perSecond: "≥ 1000", p50: "≤ 3.4", p99: "≤ 8", resident: "≤ 200" },
    postgres: { perSecond: "none", p50: "none", p99: "none", resident: "none" },
  };

interface Sizes {
  /** Events that wait at the edge while the relay is stopped. */
  outbox: number;
  /** Events that wait in the queue while the builder is stopped. */
  backlog: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      queue: { type: "string", multiple: true, default: [...STORES] },
      outbox: { type: "string", default: "5000" },
      backlog: { type: "string", default: "10000" },
    },
  });
  const sizes = { outbox: positive(values.outbox), backlog: positive(values.backlog) };
  const names = STORES.filter((name) => values.queue.includes(name));
  if (names.length < new Set(values.queue).size)
    throw new RangeError(`--queue: one of ${STORES.join(", ")}, or several`);
  console.log(
    `onionhook bench:relay: ${BODY_BYTES / 1024} KiB events, no Tor, ${availableParallelism()} cores, load before ${loadavg()[0]?.toFixed(2)}`,
  );
  const verify = await measureVerifyServer(PLAN);
  printFlights("a server that only verifies: POST → 202", verify);
  for (const name of names) {
    console.log(`\nqueue: ${name}`);
    const store = await openStore(name);
    if (store === undefined) {
      console.log("  not installed here");
      continue;
    }
    try {
      await measureStore(name, store, verify, sizes);
    } finally {
      await store.stop();
    }
  }
}

function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new RangeError(`${text} is no number of events`);
  return number;
}

async function measureStore(name: StoreName, store: Store, verify: Flights, sizes: Sizes): Promise<void> {
  const alone = await measureQueue(store.aloneUrl, PLAN);
  printFlights("the queue alone: add → handler", alone);
  const bullmq = store.bullmqUrl === undefined ? undefined : await measureBullmq(store.bullmqUrl, PLAN);
  if (bullmq) printFlights("bare BullMQ: Queue.add → Worker", bullmq);

  await onStage(["--no-tor", "--queue", store.queueUrl], async (stage) => {
    await sleep(SETTLE_MS);
    const idle = relayMemory(stage);
    const wamp = await measureWamp(stage, PLAN);
    printFlights("bare WAMP: publish → event", wamp);
    const pipeline = await measurePipeline(stage);
    await sleep(SETTLE_MS);
    const worked = relayMemory(stage);
    const fromOutbox = await measureOutbox(stage, sizes.outbox);
    const fromQueue = await measureBacklog(stage, sizes.backlog);
    printMemory(stage);
    line("relay's memory idle, worked, most, MiB", `${idle}, ${worked}, ${mostMemory(stage).toFixed(0)}`);

    console.log();
    const { perSecond, p50, p99, resident } = GOALS[name];
    const times = pipeline.get(1)?.times.toSorted((a, b) => a - b) ?? [];
    ratio("POST → opened, p50, ms", quantile(times, 0.5), p50);
    ratio("POST → opened, p99, ms", quantile(times, 0.99), p99);
    ratio("events/s from the outbox", fromOutbox, perSecond);
    ratio("events/s from the queue", fromQueue, perSecond);
    ratio("relay's memory, most, MiB", mostMemory(stage), resident);
    const queue = bullmq === undefined ? "the queue alone" : "bare BullMQ";
    const besides = { "server that only verifies": verify, "bare WAMP": wamp, [queue]: bullmq ?? alone };
    for (const [what, beside] of Object.entries(besides)) {
      ratio(`pipeline ÷ ${what}, p50 of one at a time`, p50Of(pipeline) / p50Of(beside), "none");
      ratio(`pipeline ÷ ${what}, events/s`, rateOf(pipeline) / rateOf(beside), "none");
    }
    ratio("from the queue ÷ bare WAMP, events/s", fromQueue / rateOf(wamp), "none");
    ratio(`from the queue ÷ ${queue}, events/s`, fromQueue / rateOf(bullmq ?? alone), "none");
  });
}

function p50Of(flights: Flights): number {
  return median(flights.get(1)?.times ?? []);
}

function rateOf(flights: Flights): number {
  return flights.get(CROWD)?.perSecond ?? NaN;
}

function relayMemory(stage: Stage): string {
  const relay = stage.pidOf("relay");
  const children = residentOfChildren(relay);
  return residentOf(relay).toFixed(0) + (children > 0 ? ` (its store ${children.toFixed(0)})` : "");
}

function mostMemory(stage: Stage): number {
  return residentOf(stage.pidOf("relay"), "VmHWM");
}

/** POST → opened, and, of what was sent one at a time, the way hop by hop. */
async function measurePipeline(stage: Stage): Promise<Flights> {
  const flights = new Map<number, Flight>();
  const unmeasured = openLedger(stage);
  await warmUp(unmeasured.deliver);
  unmeasured.close();
  for (const [inFlight, count] of PLAN) {
    const ledger = openLedger(stage);
    const printCpu = startCpu(stage);
    const flight = await fly(count, inFlight, ledger.deliver);
    await ledger.until("done", count);
    ledger.close();
    flights.set(inFlight, flight);
    printFlights("POST → opened", new Map([[inFlight, flight]]));
    printCpu("  CPU an event, ms", count);
    if (inFlight === 1) printHops(ledger.ways);
  }
  return flights;
}

/** Medians; of each hop since the one before. */
function printHops(ways: readonly Way[]): void {
  const stations = ["sent", ...HOPS] as const;
  for (const [index, hop] of HOPS.entries()) {
    const before = stations[index] ?? "sent";
    const since = (from: keyof Way) =>
      median(ways.map((way) => (way[hop] ?? NaN) - (way[from] ?? NaN))).toFixed(2);
    line(
      `  ${before} → ${hop}`,
      `${since(before).padStart(7)} ms   (${since("sent").padStart(6)} since sent)`,
    );
  }
}

/** The relay is stopped while events come; resolves with events/s from the first `drained` to the last `opened`. */
async function measureOutbox(stage: Stage, count: number): Promise<number> {
  const ledger = openLedger(stage);
  const relay = stage.pidOf("relay");
  process.kill(relay, "SIGSTOP");
  try {
    const { perSecond } = await sendAll(ledger, count);
    line(`the edge stores, ${SENDERS} in flight`, `${perSecond.toFixed(0)} events/s`);
  } finally {
    process.kill(relay, "SIGCONT");
  }
  const printCpu = startCpu(stage);
  await ledger.until("done", count);
  ledger.close();
  const perSecond = (count / (last(ledger, "opened") - first(ledger, "drained"))) * 1000;
  line(`from the outbox, ${count} events`, `${perSecond.toFixed(0)} events/s   ${account(ledger)}`);
  printCpu("  CPU an event, ms", count);
  return perSecond;
}

/** The builder is stopped while events come; resolves with events/s from the first `opened` to the last. */
async function measureBacklog(stage: Stage, count: number): Promise<number> {
  const ledger = openLedger(stage);
  const log = openPartLog(stage, "relay");
  const builder = stage.pidOf("builder");
  process.kill(builder, "SIGSTOP");
  const memory = watchMemory(stage.pidOf("relay"), nowMs);
  const stoppedAt = nowMs();
  try {
    await log.until(
      "the relay has noticed that no builder is there",
      ({ last: said }) => said("audience")?.["builders"] === 0,
      NOTICE_MS,
    );
    line("a silent builder was noticed after", `${((nowMs() - stoppedAt) / 1000).toFixed(1)} s`);
    const filledFrom = nowMs();
    await sendAll(ledger, count);
    await log.until(
      "every event is in the queue",
      (said) => said.count("queued") >= count,
      count * QUEUEING_MS_PER_EVENT + NOTICE_MS,
    );
    const filling = (count / (nowMs() - filledFrom)) * 1000;
    line(`into the queue, ${count} events`, `${filling.toFixed(0)} events/s`);
  } finally {
    log.close();
    process.kill(builder, "SIGCONT");
  }
  const continuedAt = nowMs();
  const printCpu = startCpu(stage);
  await ledger.until("done", count);
  memory.stop();
  ledger.close();
  const from = first(ledger, "opened");
  const perSecond = (count / (last(ledger, "opened") - from)) * 1000;
  const wait = `the first ${((from - continuedAt) / 1000).toFixed(1)} s after the builder was back`;
  line(`from the queue, ${count} events`, `${perSecond.toFixed(0)} events/s, ${wait}   ${account(ledger)}`);
  printCpu("  CPU an event, ms", count);
  printDrain(ledger, memory.samples);
  return perSecond;
}

function sendAll(ledger: Ledger, count: number): Promise<Flight> {
  return fly(count, SENDERS, async () => {
    await ledger.send();
    return 0;
  });
}

/** The relay's memory from the stop to the end, and when so much of the backlog was opened. */
function printDrain(ledger: Ledger, samples: readonly MemorySample[]): void {
  const sizes = samples.map(({ resident }) => resident).toSorted((a, b) => a - b);
  const [least, middle, most] = [0, 0.5, 1].map((share) => quantile(sizes, share).toFixed(0));
  line("  relay's memory, least, median, most, MiB", `${least}, ${middle}, ${most}`);
  const opened = ledger.ways.map((way) => way.opened ?? NaN).toSorted((a, b) => a - b);
  const at = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const then = quantile(opened, share);
    return samples.findLast(({ at: sampled }) => sampled <= then)?.resident.toFixed(0);
  });
  line("  at 0, 25, 50, 75, 100 % of the drain, MiB", at.join(", "));
}

function first(ledger: Ledger, hop: "drained" | "opened"): number {
  return ledger.ways.reduce((least, way) => Math.min(least, way[hop] ?? Infinity), Infinity);
}

function last(ledger: Ledger, hop: "opened"): number {
  return ledger.ways.reduce((most, way) => Math.max(most, way[hop] ?? -Infinity), -Infinity);
}

function account(ledger: Ledger): string {
  return `(opened ${ledger.count("opened")} of ${ledger.ways.length} sent, ${ledger.twice()} twice)`;
}

await main();
