/**
 * `npm run bench:onion`: what the pipeline adds to Tor. Over one private network, in one run and in turn, so that what
 * else the machine does falls on all three alike: bare TCP through an onion service and back, bare WAMP from publish to
 * event, and the pipeline from POST to opened. Then how long connections take, and how long events fail to come after a kill;
 * of the relay's tor also, how long each of its two connections is away.
 * What counts are the ratios.
 */
import { execFileSync } from "node:child_process";
import { availableParallelism, loadavg, networkInterfaces } from "node:os";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { nowMs } from "../cli/output.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { type BareWamp, openWamp } from "./bare.ts";
import { BODY_BYTES, HOPS, type Ledger, openLedger, type Way } from "./deliveries.ts";
import { echo, openEcho } from "./echo.ts";
import { line, ratio } from "./lines.ts";
import { openPartLog, type PartLog } from "./part-log.ts";
import { onStage, printMemory, type Stage } from "./stage.ts";
import { clocked, median, quantiles, timesOf } from "./statistics.ts";

/** Rounds that are no figures: what is not compiled takes several times as long. */
const WARM_UP = 20;
/** New addresses that are connected to: publishing one takes seconds. */
const ADDRESSES = 5;
/** Milliseconds until a part's word is in its log. */
const WORD_MS = 10_000;

/**
 * Tor's connections to each other wait with what does not fill a segment until what they sent before is acknowledged
 * (Nagle's algorithm), and Linux puts that off for 40 ms. A segment of loopback holds 64 KiB, so that an event, which Tor
 * sends in two parts, stands still for 40 ms on its way, several times. Here it is acknowledged at once (ip-route(8),
 * `quickack`), as nearly all of it would be between machines: what is left is work. Needs a network namespace of its own.
 */
function acknowledgeQuickly(): void {
  const ip = (...args: string[]) => execFileSync("ip", args, { stdio: "inherit" });
  // Of a new one even loopback is down.
  if (Object.keys(networkInterfaces()).length > 0)
    throw new Error("--quick-acks: run it as root: unshare --net npm run bench:onion -- --quick-acks");
  ip("link", "set", "lo", "up");
  const source = ["dev", "lo", "proto", "kernel", "scope", "host", "src", "127.0.0.1", "table", "local"];
  for (const target of ["127.0.0.0/8", "127.0.0.1"])
    ip("route", "replace", "local", target, ...source, "quickack", "1");
}

interface Times {
  echo: number[];
  wamp: number[];
  pipeline: number[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "200" },
      kills: { type: "string", default: "3" },
      "quick-acks": { type: "boolean", default: false },
    },
  });
  if (values["quick-acks"]) acknowledgeQuickly();
  const [rounds, kills] = [Number(values.rounds), Number(values.kills)];
  console.log(
    `onionhook bench:onion: ${BODY_BYTES / 1024} KiB, ${rounds} rounds one at a time, ${availableParallelism()} cores, ` +
      `${values["quick-acks"] ? "quick acknowledgements, " : ""}load before ${loadavg()[0]?.toFixed(2)}`,
  );
  await onStage([], async (stage) => {
    const times = await measureInTurn(stage, rounds);
    await measureConnections(stage);
    if (kills > 0) await measureRecovery(stage, kills);
    printMemory(stage);
    console.log();
    ratio("bare WAMP ÷ bare TCP, p50", median(times.wamp) / median(times.echo), "none");
    ratio("pipeline ÷ bare TCP, p50", median(times.pipeline) / median(times.echo), "none");
    ratio("pipeline ÷ bare WAMP, p50", median(times.pipeline) / median(times.wamp), "≤ 1.25");
    console.log(`load after ${loadavg()[0]?.toFixed(2)}`);
  });
}

/** A round is one of each, one after the other; each round begins with another. */
async function measureInTurn(stage: Stage, rounds: number): Promise<Times> {
  const service = await openEcho(stage);
  const socket = await service.connect("bench-echo");
  const wamp: BareWamp = await openWamp(stage);
  const unmeasured = openLedger(stage);
  const measured = openLedger(stage);
  const times: Times = { echo: [], wamp: [], pipeline: [] };
  const works = [
    async (into: Times) => into.echo.push(await clocked(() => echo(socket))(0)),
    async (into: Times) => into.wamp.push(await wamp.publish()),
    async (into: Times, ledger: Ledger) => {
      into.pipeline.push(await ledger.deliver());
      // Its receipt is still under way, and would be in the way of the next.
      await ledger.until("done", ledger.ways.length);
    },
  ];
  const round = async (number: number, into: Times, ledger: Ledger) => {
    for (let step = 0; step < works.length; step += 1)
      await works[(number + step) % works.length]?.(into, ledger);
  };
  await timesOf(WARM_UP, (number) => round(number, { echo: [], wamp: [], pipeline: [] }, unmeasured));
  await timesOf(rounds, (number) => round(number, times, measured));
  line("bare TCP: there and back", quantiles(times.echo));
  line("bare WAMP: publish → event", quantiles(times.wamp));
  line("pipeline: POST → opened", quantiles(times.pipeline));
  printHops(measured.ways);
  unmeasured.close();
  measured.close();
  socket.destroy();
  await wamp.close();
  await service.close();
  return times;
}

/** Medians. `published`, the router's acknowledgement, is not on the way from `drained` to `opened`, but beside it. */
function printHops(ways: readonly Way[]): void {
  const hops = HOPS.map((hop) => {
    const since = median(ways.map((way) => (way[hop] ?? NaN) - way.sent));
    return `${hop} ${since.toFixed(1)}`;
  });
  line("  hops, ms after the POST", hops.join("   "));
}

/** To addresses that nobody has reached yet, a second time on the same circuit, and on another circuit. */
async function measureConnections(stage: Stage): Promise<void> {
  const times = { first: [] as number[], later: [] as number[], other: [] as number[] };
  const services = await Promise.all(Array.from({ length: ADDRESSES }, () => openEcho(stage)));
  for (const [index, service] of services.entries()) {
    for (const [which, isolation] of [
      ["first", `bench-${index}`],
      ["later", `bench-${index}`],
      ["other", `bench-other-${index}`],
    ] as const) {
      times[which].push(await clocked(async () => (await service.connect(isolation)).destroy())(0));
    }
    await service.close();
  }
  line("connect: the first to an address", quantiles(times.first));
  line("connect: a later one, the same circuit", quantiles(times.later));
  line("connect: a later one, another circuit", quantiles(times.other));
}

/**
 * Kills a process, posts at once, and waits until the builder has opened that; `dev` starts the process again by itself.
 * What comes after the relay's tor died is drained and published anew: that says when each of the two was back.
 */
async function measureRecovery(stage: Stage, kills: number): Promise<void> {
  const ledger = openLedger(stage);
  const relay = openPartLog(stage, "relay");
  const relayTor = torOf(stage, "relay");
  for (const part of ["tor:service", relayTor, torOf(stage, "builder"), "router"]) {
    const times = { opened: [] as number[], edge: [] as number[], router: [] as number[] };
    for (let count = 0; count < kills; count += 1) {
      const killedAt = nowMs();
      process.kill(stage.pidOf(part), "SIGKILL");
      times.opened.push(await ledger.deliver());
      if (part === relayTor)
        for (const to of ["edge", "router"] as const)
          times[to].push((await connectedAt(relay, to, killedAt)) - killedAt);
      await ledger.until("done", ledger.ways.length);
      // On the circuits that there are now.
      await ledger.deliver();
      await ledger.until("done", ledger.ways.length);
    }
    line(`killed ${part}: until the next event is opened, s`, seconds(times.opened));
    if (part !== relayTor) continue;
    line("  until the drain is welcomed, s", seconds(times.edge));
    line("  until the relay's WAMP session is joined, s", seconds(times.router));
  }
  relay.close();
  ledger.close();
}

/** When the relay said so last, which is after `since`: an event has come by there. */
async function connectedAt(relay: PartLog, to: string, since: number): Promise<number> {
  const at = () => relay.last("connected", to)?.at ?? 0;
  await relay.until(`the relay is back at the ${to}`, () => at() > since, WORD_MS);
  return at();
}

function seconds(times: readonly number[]): string {
  return times
    .toSorted((a, b) => a - b)
    .map((ms) => (ms / 1000).toFixed(1))
    .join("  ");
}

const partConfig = v.object({ tor: v.string() });

/** The Tor that a part dials through, as a part of the run: its socket is in a folder of its name. */
function torOf({ data }: Stage, part: "relay" | "builder"): string {
  const { tor } = v.parse(partConfig, readConfigFile(join(data, `${part}.json`)).json);
  return `tor:${basename(dirname(tor))}`;
}

await main();
