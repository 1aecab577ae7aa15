/**
 * `npm run bench:router`: our router beside the real Crossbar.io on loopback, on every serializer, with the same clients, which
 * read nothing of what they get. Both run at once and are measured in turn, in short rounds, so that what else the
 * machine does falls on both alike. What counts are the ratios.
 */
import { availableParallelism, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type SerializerId, serializers } from "../shared/wamp/serializers.ts";
import { findPeer, howToGet } from "../test/helpers/peers.ts";
import { line, ratio } from "./lines.ts";
import { openPubSub, PAYLOAD_BYTES } from "./pub-sub.ts";
import { type RouterProcess, startCrossbarBeside, startOurs } from "./routers.ts";
import { fly, median, quantile } from "./statistics.ts";

/** How many subscribers each event goes to. */
const AUDIENCES = [1, 10];
/** How many publishes are under way. */
const IN_FLIGHT = [1, 20];
/** Before the first figure: until both have compiled what they run. */
const WARM_UP = 1000;
/** Milliseconds after start and work, for what is still being tidied up. */
const SETTLE_MS = 2000;

interface Measured {
  times: number[];
  /** Events/s, by round. */
  rates: number[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: "string", default: "6" }, events: { type: "string", default: "500" } },
  });
  const [rounds, events] = [Number(values.rounds), Number(values.events)];
  console.log(
    `onionhook bench:router: ${PAYLOAD_BYTES / 1024} KiB sealed, acknowledged, loopback, ${rounds} rounds of ${events} events, ` +
      `${availableParallelism()} cores, load before ${loadavg()[0]?.toFixed(2)}`,
  );
  const routers = [await startOurs()];
  try {
    if (findPeer("crossbar") !== undefined) routers.push(await startCrossbarBeside());
    else console.log(`  Crossbar.io is not installed here: ${howToGet("crossbar")}`);
    await sleep(SETTLE_MS);
    const idle = routers.map((router) => router.residentMiB());
    const ratios: [what: string, value: number][] = [];
    for (const { id } of serializers) {
      for (const audience of AUDIENCES)
        ratios.push(...(await compare(routers, id, audience, rounds, events)));
    }
    await sleep(SETTLE_MS);
    for (const [index, router] of routers.entries()) {
      const worked = router.residentMiB().toFixed(0);
      line(`${router.name}: resident memory idle, after work, MiB`, `${idle[index]?.toFixed(0)}, ${worked}`);
    }
    console.log();
    for (const [what, value] of ratios) ratio(what, value, "≥ 1");
    console.log(`load after ${loadavg()[0]?.toFixed(2)}`);
  } finally {
    await Promise.all(routers.map((router) => router.stop()));
  }
}

/** Measures the routers in turn; resolves with how much faster the first is than the others. */
async function compare(
  routers: readonly RouterProcess[],
  serializer: SerializerId,
  audience: number,
  rounds: number,
  events: number,
): Promise<[what: string, value: number][]> {
  const title = `${serializer}, ${audience} subscriber${audience === 1 ? "" : "s"}`;
  const sides = await Promise.all(
    routers.map(async (router) => ({
      router,
      pubSub: await openPubSub(router, serializer, audience),
      figures: new Map(IN_FLIGHT.map((inFlight): [number, Measured] => [inFlight, { times: [], rates: [] }])),
      cpuMs: 0,
    })),
  );
  for (const { pubSub } of sides)
    await fly(Math.min(WARM_UP, events), Math.max(...IN_FLIGHT), pubSub.publish);
  for (let round = 0; round < rounds; round += 1) {
    for (const inFlight of IN_FLIGHT) {
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
        const before = side.router.cpuMs();
        const { times, perSecond } = await fly(events, inFlight, side.pubSub.publish);
        side.cpuMs += side.router.cpuMs() - before;
        side.figures.get(inFlight)?.times.push(...times);
        side.figures.get(inFlight)?.rates.push(perSecond);
      }
    }
  }
  const rateOf = (figures: Measured | undefined) => median(figures?.rates ?? []);
  const ratios: [what: string, value: number][] = [];
  for (const inFlight of IN_FLIGHT) {
    const what = `${title}, ${inFlight} in flight`;
    const [ours, ...others] = sides.map(({ router, figures }) => {
      print(`${what}: ${router.name}`, figures.get(inFlight));
      return { name: router.name, rate: rateOf(figures.get(inFlight)) };
    });
    for (const { name, rate } of others)
      ratios.push([`${what}: ours ÷ ${name}, events/s`, (ours?.rate ?? NaN) / rate]);
  }
  const measured = rounds * events * IN_FLIGHT.length;
  const cpu = sides.map(({ router, cpuMs }) => `${router.name} ${(cpuMs / measured).toFixed(3)}`);
  line(`${title}: CPU an event, ms`, cpu.join("   "));
  for (const { pubSub } of sides) pubSub.close();
  return ratios;
}

function print(what: string, measured: Measured | undefined): void {
  const { times, rates } = measured ?? { times: [], rates: [] };
  const sorted = times.toSorted((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((share) => quantile(sorted, share).toFixed(2).padStart(6));
  line(what, `${median(rates).toFixed(0).padStart(6)} events/s   p50 ${p50}   p99 ${p99} ms`);
}

await main();
