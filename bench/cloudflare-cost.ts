/**
 * What the edge costs at Cloudflare: prints the tables of docs/deploy-cloudflare.md, "What it costs", which
 * `test/bench/cloudflare-cost.test.ts` compares. An estimate for one recipient with one stream, one relay and a builder that
 * is there: what says "assumed" was not measured, and nothing was compared with a bill of Cloudflare's.
 *
 * Prices: developers.cloudflare.com, "Durable Objects: Pricing" (a copy that says it was last updated Jun 19, 2026; its rule
 * of rounding from a later copy without a date) and "Workers: Pricing" (a copy without a date).
 */

const DAY_S = 24 * 60 * 60;
const MONTH_DAYS = 30;

/** What Cloudflare counts; of `storedGb` what is there at once, of all others a day's. */
export interface Usage {
  workerRequests: number;
  cpuMs: number;
  objectRequests: number;
  durationGbS: number;
  rowsRead: number;
  rowsWritten: number;
  storedGb: number;
}

interface Meter {
  name: string;
  /** A day, or at once; undefined: not limited by the day (CPU time is by the invocation, 10 ms). */
  free: number | undefined;
  /** A month, or at once. */
  included: number;
  /** USD for each `unit` or part of one beyond what is included. */
  price: number;
  unit: number;
  /** How many of these make a month's. */
  perMonth: number;
}

const MILLION = 1e6;

export const METERS: Readonly<Record<keyof Usage, Meter>> = {
  workerRequests: meter("Worker requests", 100_000, 10 * MILLION, 0.3),
  cpuMs: meter("CPU, ms", undefined, 30 * MILLION, 0.02),
  objectRequests: meter("object requests", 100_000, MILLION, 0.15),
  durationGbS: meter("duration, GB-s", 13_000, 400_000, 12.5),
  rowsRead: meter("rows read", 5 * MILLION, 25_000 * MILLION, 0.001),
  rowsWritten: meter("rows written", 100_000, 50 * MILLION, 1),
  storedGb: { name: "stored, GB", free: 5, included: 5, price: 0.2, unit: 1, perMonth: 1 },
};

/** Of the paid plan, for the whole account; USD a month. */
const PLAN_PRICE = 5;

function meter(name: string, free: number | undefined, included: number, price: number): Meter {
  return { name, free, included, price, unit: MILLION, perMonth: MONTH_DAYS };
}

/** What an event costs over its whole life; rows were counted with workerd, indexes included. */
const EVENT = {
  workerRequests: 1,
  /** The Worker's call of `take`. */
  objectRequests: 1,
  /** The relay's `stored` and `done`. */
  messages: 2,
  /** Stored 3, given to a relay 1, done 1, purged 1. */
  rowsWritten: 6,
  /** Taken and sent 9, stored and done 10, purged 1. */
  rowsRead: 20,
  /** Assumed. Being idle is not billed, and nothing of ours forbids hibernation. */
  activeS: 0.1,
};

/** Assumed for the Worker's part: about what sealing 10 KB took in a cold isolate, an older measurement. */
const CPU_MS_PER_REQUEST = 9;
/** Of an object's memory, whatever it uses: 128 MB. */
const OBJECT_GB = 0.128;
/** Incoming WebSocket messages that count as one request. */
const MESSAGES_PER_REQUEST = 20;
/** The default of `retention_days`. */
const RETENTION_DAYS = 7;
/**
 * In the database, measured with workerd: an event whose sealed bytes are the median (8,232 B) of GitHub's 329 example
 * payloads, its row and its entries in the indexes. The mean of these payloads is 10,520 B sealed.
 */
const STORED_BYTES = 8_741;

/** An idle object hibernates after this; what comes next wakes it, and its constructor runs. */
const IDLE_S = 10;
/** Measured, with an alarm armed; however many rows are kept. */
const WAKE_READS = 4;
/** `PURGE_BATCH` and `PURGE_PAUSE_MS` of the outbox: once an hour, and at once again while a batch is full. */
const PURGED_AT_ONCE = 500;
const PURGES = 24;
/** What test/worker/outbox/sql.test.ts allows an alarm; more where undone events stand before done ones. */
const ALARM_READS = 1020;

/** Assumed: Tor's circuits break, and Cloudflare updates its machines. */
const RECONNECTS = 24;
/** `hello` and `credit`. */
const RECONNECT_MESSAGES = 2;
/** To end sockets that do not prove who they are, and to end the absence of a relay that has events. */
const RECONNECT_ALARMS = 2;
/** That absence, noted and ended. */
const RECONNECT_ROWS_WRITTEN = 2;
/** `HEARTBEAT_MS` is 20 s. They wake nobody; whether they are billed as requests is not written, so they are here. */
const HEARTBEATS = DAY_S / 20;
/** Assumed: somebody looks every five minutes. */
const HEALTH_CHECKS = 288;
/** The cron trigger of reconciliation, also where it is off; whether it counts as a request is not written. */
const CRON_RUNS = 144;

/** A day with so many events, after the first week. */
export function usageOf(events: number): Usage {
  const alarms = PURGES + events / PURGED_AT_ONCE + RECONNECTS * RECONNECT_ALARMS;
  const wakes = Math.min(events + alarms, DAY_S / IDLE_S);
  const messages = EVENT.messages * events + RECONNECTS * RECONNECT_MESSAGES + HEARTBEATS;
  const workerRequests = EVENT.workerRequests * events + RECONNECTS + HEALTH_CHECKS + CRON_RUNS;
  return {
    workerRequests,
    cpuMs: workerRequests * CPU_MS_PER_REQUEST,
    objectRequests: EVENT.objectRequests * events + RECONNECTS + alarms + messages / MESSAGES_PER_REQUEST,
    durationGbS: (events + RECONNECTS + alarms) * EVENT.activeS * OBJECT_GB,
    rowsRead: EVENT.rowsRead * events + WAKE_READS * wakes + ALARM_READS * alarms,
    // Setting an alarm is a row.
    rowsWritten: EVENT.rowsWritten * events + alarms + RECONNECTS * RECONNECT_ROWS_WRITTEN,
    storedGb: (events * RETENTION_DAYS * STORED_BYTES) / 1e9,
  };
}

const KEYS = Object.keys(METERS).filter((key): key is keyof Usage => key in METERS);

/** USD a month on the paid plan, the plan itself not included. */
export function monthlyPrice(key: keyof Usage, usage: Usage): number {
  const { included, price, unit, perMonth } = METERS[key];
  return Math.ceil(Math.max(0, usage[key] * perMonth - included) / unit) * price;
}

/** Which of the free plan's allowances are not enough. */
export function exceeded(usage: Usage): (keyof Usage)[] {
  return KEYS.filter((key) => usage[key] > (METERS[key].free ?? Infinity));
}

/** Up to how many events a day each of the free plan's allowances lasts; the first to end comes first. */
export function freeLimits(): [keyof Usage, number][] {
  const limited = KEYS.filter((key) => METERS[key].free !== undefined);
  const limits = new Map<keyof Usage, number>();
  for (let events = 0; limits.size < limited.length; events += 1) {
    const usage = usageOf(events);
    for (const key of exceeded(usage)) if (!limits.has(key)) limits.set(key, events - 1);
  }
  return [...limits].toSorted(([, a], [, b]) => a - b);
}

export const SCENARIOS = [1000, 8000, 100_000] as const;

/** The Markdown between the markers of docs/deploy-cloudflare.md. */
export function costTables(): string {
  const columns = SCENARIOS.map((events) => ({ events, usage: usageOf(events) }));
  const heads = columns.map(({ events }) => `${count(events)} a day`);
  const free = KEYS.map((key) => {
    const allowance = METERS[key].free;
    return [
      METERS[key].name,
      allowance === undefined ? "10 ms a request" : count(allowance),
      ...columns.map(({ usage }) => (key === "storedGb" ? usage[key].toFixed(2) : count(usage[key]))),
    ];
  });
  const fits = columns.map(({ usage }) => (exceeded(usage).length === 0 ? "yes" : "no"));
  const paid = KEYS.map((key) => [
    METERS[key].name,
    ...columns.map(({ usage }) => monthlyPrice(key, usage).toFixed(2)),
  ]);
  const totals = columns.map(({ usage }) =>
    KEYS.reduce((sum, key) => sum + monthlyPrice(key, usage), PLAN_PRICE).toFixed(2),
  );
  return [
    ...table(["a day's use", "free plan", ...heads], [...free, ["fits the free plan", "", ...fits]]),
    "",
    ...table(
      ["paid plan, USD a month", ...heads],
      [
        ["the plan", ...columns.map(() => PLAN_PRICE.toFixed(2))],
        ...paid,
        ["**in all**", ...totals.map((total) => `**${total}**`)],
      ],
    ),
    "",
    ...table(
      ["allowance of the free plan", "lasts up to so many events a day"],
      freeLimits().map(([key, events]) => [METERS[key].name, count(events)]),
    ),
  ].join("\n");
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
}

function count(value: number): string {
  return Math.ceil(value).toLocaleString("en-US");
}

if (import.meta.main) console.log(costTables());
