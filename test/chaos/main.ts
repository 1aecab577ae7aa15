/**
 * `npm run chaos`: does to the whole pipeline what its tables of failures speak of, at random times, and holds
 * it to its ledger. The same seed gives the same deliveries and the same faults.
 *
 *     node test/chaos/main.ts [--seed N] [--deliveries N | --long] [--no-tor] [--queue embedded|redis]
 *
 * Exit codes: 0 clean, 1 violations or stuck, 2 wrong usage.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { type ChaosOptions, runChaos } from "./run.ts";
import { queueOf } from "./schedule.ts";

const DELIVERIES = 2000;
const LONG = 10_000;
const USAGE =
  "usage: node test/chaos/main.ts [--seed N] [--deliveries N | --long] [--no-tor] [--queue embedded|redis]";

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Undefined when they make no sense. */
function readOptions(): Omit<ChaosOptions, "say" | "signal"> | undefined {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: "string", default: String(randomInt(2 ** 32)) },
        deliveries: { type: "string" },
        long: { type: "boolean", default: false },
        "no-tor": { type: "boolean", default: false },
        queue: { type: "string" },
      },
    });
    const seed = Number(values.seed);
    const deliveries = Number(values.deliveries ?? (values.long ? LONG : DELIVERIES));
    const queue = values.queue ?? queueOf(seed);
    if (!Number.isInteger(seed) || !Number.isInteger(deliveries) || deliveries < 1) return undefined;
    if (queue !== "embedded" && queue !== "redis") return undefined;
    return { seed, deliveries, tor: !values["no-tor"], queue };
  } catch {
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const { seed, deliveries, tor, queue } = options;
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error("stopped"));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  say(
    `chaos: seed ${seed}, ${deliveries} deliveries, ${tor ? "through Tor" : "without Tor"}, queue ${queue}`,
  );
  const { stuck, violations } = await runChaos({ ...options, say, signal: stop.signal });
  const bad = [
    ...(stuck === undefined ? [] : ["stuck"]),
    ...(violations.length > 0 ? [`${violations.length} violations`] : []),
  ];
  say(`chaos: seed ${seed}: ${bad.length === 0 ? "clean" : bad.join(", ")}`);
  return bad.length === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
});
