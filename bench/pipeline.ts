/**
 * `npm run bench`: the pipeline end to end, without Tor and through the onion, beside its bare parts, all
 * in one run on one machine. What counts are the ratios.
 */
import nacl from "tweetnacl";
import { CRYPTOBOX, seal } from "../shared/cryptobox.ts";
import { encodeEvent } from "../shared/event.ts";
import { sharedKey } from "../shared/shared-key.ts";
import { measureQueue, measureVerifyServer, measureWamp, type Plan } from "./bare.ts";
import { BODY_BYTES, freshBody, openLedger } from "./deliveries.ts";
import { line, printFlights, ratio } from "./lines.ts";
import { onStage, printMemory, type Stage } from "./stage.ts";
import { fly, median, quantiles, timesOf } from "./statistics.ts";

const WARM_UP = 30;
const ONE_AT_A_TIME = 300;
const SUSTAINED = 2000;
const IN_FLIGHT = 16;
const PLAN: Plan = new Map([[1, ONE_AT_A_TIME]]);

async function measurePipeline(title: string, stage: Stage): Promise<number> {
  const ledger = openLedger(stage);
  await fly(WARM_UP, 1, ledger.deliver);
  const { times } = await fly(ONE_AT_A_TIME, 1, ledger.deliver);
  line(`${title}: POST → opened, one at a time`, quantiles(times));
  ledger.close();

  const sustained = openLedger(stage);
  const taken = await fly(SUSTAINED, IN_FLIGHT, async () => {
    await sustained.send();
    return 0;
  });
  await sustained.until("opened", SUSTAINED);
  sustained.close();
  const opened = sustained.ways.map((way) => way.opened ?? NaN);
  const whole = Math.max(...opened) - Math.min(...sustained.ways.map(({ sent }) => sent));
  line(
    `${title}: sustained, ${IN_FLIGHT} in flight`,
    `${Math.round((SUSTAINED / whole) * 1000)} events/s to the builder (edge took ${Math.round(taken.perSecond)}/s)`,
  );
  return median(times);
}

async function measureSeal(): Promise<void> {
  const edge = nacl.box.keyPair();
  const shared = sharedKey(nacl.box.keyPair().publicKey, edge.secretKey);
  const record = {
    v: 1 as const,
    id: "bench-bench",
    event: "push",
    hook_id: 1,
    received_at: new Date().toISOString(),
    stream: "bench",
    seq: 1,
    redelivery: false,
    signature: `sha256=${"0".repeat(64)}`,
    body_bytes: BODY_BYTES,
    altered: false,
  };
  const once = async () => seal(encodeEvent("webhook.github.push", record, freshBody()), shared);
  await timesOf(WARM_UP, once);
  line(`bare seal, ${CRYPTOBOX}`, quantiles(await timesOf(ONE_AT_A_TIME, once)));
}

/** Medians of the pipeline and of bare WAMP on the same stage, in milliseconds. */
function measureBoth(title: string, args: readonly string[]): Promise<{ pipeline: number; wamp: number }> {
  return onStage(args, async (stage) => {
    const wamp = await measureWamp(stage, PLAN);
    printFlights(`${title}: bare WAMP publish → event`, wamp);
    const pipeline = await measurePipeline(title, stage);
    printMemory(stage);
    return { pipeline, wamp: median(wamp.get(1)?.times ?? []) };
  });
}

console.log(
  `onionhook bench: ${BODY_BYTES / 1024} KiB events, ${ONE_AT_A_TIME} one at a time, ${SUSTAINED} sustained\n`,
);
const verify = await measureVerifyServer(PLAN);
printFlights("bare HTTP server that only verifies: POST → 202", verify);
await measureSeal();
printFlights("bare queue on PGlite: add → handler", await measureQueue("embedded", PLAN));
const loopback = await measureBoth("no Tor", ["--no-tor"]);
const onion = await measureBoth("onion", []);

console.log();
ratio("no Tor: pipeline p50, ms", loopback.pipeline, "≤ 15");
ratio("no Tor: pipeline / bare WAMP event", loopback.pipeline / loopback.wamp, "none");
ratio(
  "no Tor: pipeline / server that only verifies",
  loopback.pipeline / median(verify.get(1)?.times ?? []),
  "none",
);
ratio("onion: pipeline / bare WAMP event", onion.pipeline / onion.wamp, "≤ 2");
