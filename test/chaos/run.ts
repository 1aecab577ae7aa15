/** One run: the pipeline as real processes, deliveries through it, the schedule's faults, and the ledger. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { dataFolder, type Ready, startDev } from "../helpers/dev.ts";
import { builtWithin, type Chronicle, openChronicle } from "./chronicle.ts";
import { sweepClocks } from "./clock-leftovers.ts";
import { makeClocks } from "./clocks.ts";
import { type Cut, cutSockets, cutThroughTor } from "./connections.ts";
import { mountDisk } from "./disk.ts";
import { describeTrouble, type Inflicted, keepEvidence } from "./evidence.ts";
import { inflict, type Scene } from "./inflict.ts";
import { BUILD_COMMAND, readJournal } from "./journal-rows.ts";
import { checkLedger, type History, type Violation } from "./ledger.ts";
import { makePace, type Pace } from "./pace.ts";
import { planPushes } from "./pushes.ts";
import { startRedisVictim } from "./redis.ts";
import { describeFault, durationOf, makeSchedule, type Queue, type Strike } from "./schedule.ts";
import { type Sender, startSender } from "./sender.ts";

export interface ChaosOptions {
  seed: number;
  deliveries: number;
  tor: boolean;
  queue: Queue;
  /** Takes one line. */
  say: (line: string) => void;
  signal: AbortSignal;
}

export interface ChaosResult {
  violations: Violation[];
  /** What was done, and when: milliseconds since 1970. */
  inflicted: Inflicted[];
  /** What ended the run before its end: nothing moved any more. */
  stuck: string | undefined;
  /** From the end of each strike until a delivery that was sent after it is done; milliseconds. */
  recoveriesMs: number[];
}

/** Of a run without any progress: a private network whose relay died may need minutes. */
const STALL_MS = 300_000;
/** Deliveries come in for so long when a strike's faults are over at once. */
const SHORTEST_MS = 1000;
/** After the last delivery is done: for what should not come any more. */
const STRAGGLERS_MS = 3000;

/** @throws when the pipeline does not even start, and the signal's reason. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const cleanups: (() => Promise<void> | void)[] = [];
  try {
    return await run(options, cleanups);
  } finally {
    for (const cleanup of cleanups.toReversed()) await cleanup();
  }
}

async function run(
  { seed, deliveries, tor, queue, say, signal: stop }: ChaosOptions,
  cleanups: (() => Promise<void> | void)[],
): Promise<ChaosResult> {
  const over = new AbortController();
  const signal = AbortSignal.any([stop, over.signal]);
  const data = dataFolder();
  cleanups.push(data.remove);
  const at = (name: string) => join(data.path, name);
  const disks = {
    queue: mountDisk(at(queue === "redis" ? "redis" : "relay")),
    journal: mountDisk(at("builder")),
  };
  cleanups.push(() => Object.values(disks).forEach((disk) => disk?.unmount()));
  const redis = queue === "redis" ? await startRedisVictim(at("redis")) : undefined;
  cleanups.push(() => redis?.stop());
  const clocks = makeClocks(at("clocks"));
  const rule = { name: "chaos", event: "push", run: [BUILD_COMMAND], timeout_seconds: 600 };
  writeFileSync(at("rules.json"), JSON.stringify([rule]));

  const args = ["--no-sample", "--port", "0", "--data-dir", data.path, "--queue", redis?.url ?? "embedded"];
  const dev = startDev(tor ? args : [...args, "--no-tor"], clocks?.env);
  const chronicle = openChronicle(dev, signal);
  cleanups.push(() => sweepClocks(chronicle.pids()), dev.stop);
  cleanups.push(chronicle.stop, () => over.abort());
  const ready = await dev.ready();
  const cut = makeCut(ready, tor, chronicle);
  say(`up after ${(performance.now() / 1000).toFixed(1)} s`);

  const strikes = makeSchedule(seed, { deliveries, tor, queue });
  const pace = makePace(strikes[0]?.afterTaken ?? deliveries);
  const target = { webhook: ready.webhook, secret: readSecretFile(ready.secret_file) };
  const sender = startSender(planPushes(seed, deliveries), target, pace, signal);
  const scene: Scene = { chronicle, redis, clocks, cut, disks, journalFull: [], signal };
  const result: ChaosResult = { violations: [], inflicted: [], stuck: undefined, recoveriesMs: [] };
  try {
    for (const [index, strike] of strikes.entries()) {
      const next = strikes[index + 1]?.afterTaken ?? deliveries;
      await strikeOnce(strike, next, { sender, pace, scene, result, say });
    }
    pace.grow(deliveries, 0);
    await chronicle.until("every delivery is taken", sender.isOver, STALL_MS);
    const { built, done } = { built: chronicle.deliveries("built"), done: chronicle.deliveries("done") };
    const settled = () => sender.sent.every(({ delivery }) => built.has(delivery) && done.has(delivery));
    await chronicle.until("every delivery is built and done", settled, STALL_MS);
    await sleep(STRAGGLERS_MS, undefined, { signal });
  } catch (error) {
    stop.throwIfAborted();
    result.stuck = error instanceof Error ? error.message : String(error);
  }
  const history = readHistory(at("builder"), sender, scene);
  result.violations = checkLedger(history);
  tellEnd(result, history, say);
  if (result.stuck !== undefined || result.violations.length > 0) {
    const troubled = new Set(
      result.violations.flatMap(({ delivery, other }) =>
        other === undefined ? [delivery] : [delivery, other],
      ),
    );
    troubled.delete("");
    for (const line of describeTrouble([...troubled], chronicle.told)) say(line);
    say(`kept in ${keepEvidence(seed, data.path, chronicle.told, result.inflicted)}`);
  }
  return result;
}

interface Round {
  sender: Sender;
  pace: Pace;
  scene: Scene;
  result: ChaosResult;
  say: (line: string) => void;
}

/**
 * Begins when its deliveries are taken; others come in while its faults last, and as many, up to `next`, when
 * they are over. Resolves when the pipeline has gone on: one of the latter is done, and all from before.
 */
async function strikeOnce(strike: Strike, next: number, round: Round): Promise<void> {
  const { sender, pace, scene, result, say } = round;
  const { chronicle, signal } = scene;
  const { afterTaken } = strike;
  const done = chronicle.deliveries("done");
  await chronicle.until(`${afterTaken} are taken`, () => sender.taken() >= afterTaken, STALL_MS);
  pace.grow(Math.floor((afterTaken + next) / 2), Math.max(durationOf(strike), SHORTEST_MS));
  await Promise.all(
    strike.faults.map(async ({ atMs, fault }) => {
      await sleep(atMs, undefined, { signal });
      const begun = performance.now();
      const at = Date.now();
      const outcome = await inflict(fault, scene);
      result.inflicted.push({ at, fault, outcome });
      const remark = outcome.is === "done" ? "" : `   ${outcome.is}: ${outcome.why}`;
      say(`${(begun / 1000).toFixed(1).padStart(7)} s  ${describeFault(fault)}${remark}`);
    }),
  );
  const repaired = performance.now();
  const before = sender.sent.length;
  pace.grow(next, 0);
  const isGoingOn = () => sender.sent.slice(before).some(({ delivery }) => done.has(delivery));
  await chronicle.until("a delivery of after the strike is done", isGoingOn, STALL_MS);
  const recoveredMs = performance.now() - repaired;
  result.recoveriesMs.push(recoveredMs);
  const seconds = (recoveredMs / 1000).toFixed(1);
  say(`           goes on after ${seconds} s   taken ${sender.taken()}, done ${done.size}`);
  const isCaughtUp = () => done.size >= afterTaken;
  await chronicle.until("what was taken before the strike is done", isCaughtUp, STALL_MS);
}

function readHistory(builder: string, sender: Sender, { chronicle, journalFull }: Scene): History {
  return {
    sent: sender.sent,
    ...readJournal(builder),
    told: chronicle.told.map(({ event }) => event),
    builderDeaths: chronicle.deathsOf("builder"),
    mayHaveFailed: builtWithin(chronicle.told, journalFull),
  };
}

function makeCut(ready: Ready, tor: boolean, chronicle: Chronicle): Cut | undefined {
  if (tor) return cutThroughTor(join(ready.data_dir, "tor"));
  if (process.getuid?.() !== 0) return undefined;
  const port = (url: string) => Number(new URL(url).port);
  return cutSockets({ edge: port(ready.webhook), router: port(ready.router.local) }, chronicle.pidOf);
}

const SHOWN_VIOLATIONS = 20;

function tellEnd(result: ChaosResult, history: History, say: (line: string) => void): void {
  const { sent, kept, builds } = history;
  const tries = sent.filter((delivery) => delivery.tries > 1).length;
  say(
    `ledger: sent ${sent.length} (${tries} more than once), events ${kept.length}, builds ${builds.length}`,
  );
  const counts = [...Map.groupBy(result.inflicted, ({ fault }) => fault.kind)].map(([kind, faults]) => {
    const left = faults.filter(({ outcome }) => outcome.is !== "done").length;
    return `${kind} ${faults.length - left}${left > 0 ? ` (and ${left} skipped or missed)` : ""}`;
  });
  say(`faults: ${counts.join(", ")}`);
  const sorted = result.recoveriesMs.toSorted((a, b) => a - b);
  const quantile = (q: number) => ((sorted[Math.floor(q * (sorted.length - 1))] ?? 0) / 1000).toFixed(1);
  say(`goes on after a strike: median ${quantile(0.5)} s, 90 % ${quantile(0.9)} s, most ${quantile(1)} s`);
  if (result.stuck !== undefined) say(`stuck: ${result.stuck}`);
  for (const { rule, delivery, what } of result.violations.slice(0, SHOWN_VIOLATIONS)) {
    say(`violation: ${rule}   ${delivery} ${what}`);
  }
  const more = result.violations.length - SHOWN_VIOLATIONS;
  if (more > 0) say(`and ${more} more violations`);
}
