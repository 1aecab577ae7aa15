/**
 * `npm run bench`: the pipeline end to end, without Tor and through the onion, beside its bare parts, all
 * in one run on one machine. What counts are the ratios.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import nacl from "tweetnacl";
import { sharedKey } from "../shared/shared-key.ts";
import { parseConfig as parseBuilder } from "../builder/config.ts";
import { nowMs } from "../cli/output.ts";
import { post } from "../cli/send.ts";
import { parseConfig as parseRelay } from "../relay/config.ts";
import { openQueue } from "../relay/queue-open.ts";
import { encodeUtf8 } from "../shared/bytes.ts";
import { CRYPTOBOX, seal } from "../shared/cryptobox.ts";
import { encodeEvent } from "../shared/event.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { readSecretFile } from "../shared/host/key-file.ts";
import { parseSocksProxy } from "../shared/tor/socks.ts";
import { Passthru } from "../shared/wamp/passthru.ts";
import { joinWamp } from "../shared/wamp/session.ts";
import { type Dev, eventually, startDev } from "../test/helpers/dev.ts";
import { median, quantiles, timesOf } from "./statistics.ts";

const BODY_BYTES = 8 * 1024;
const WARM_UP = 30;
const ONE_AT_A_TIME = 300;
const SUSTAINED = 2000;
const IN_FLIGHT = 16;
/** A topic that only this bench uses, allowed in its own copy of the router's configuration. */
const BARE_TOPIC = "bench.bare";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Each is another body: the same one again would be a duplicate. */
const freshBody = () =>
  encodeUtf8(
    JSON.stringify({ ref: "refs/heads/main", after: randomUUID(), padding: "x".repeat(BODY_BYTES - 85) }),
  );
const folder = mkdtempSync(join(tmpdir(), "oh-bench-"));

function line(what: string, figures: string): void {
  console.log(`  ${what.padEnd(46)} ${figures}`);
}

/** `deploy/crossbar.json`, with {@link BARE_TOPIC} allowed to both roles. */
function benchCrossbar(): string {
  const config = JSON.parse(readFileSync(join(root, "deploy", "crossbar.json"), "utf8"));
  for (const role of config.workers[0].realms[0].roles) {
    role.permissions.push({ uri: BARE_TOPIC, match: "exact", allow: { publish: true, subscribe: true } });
  }
  const path = join(folder, "crossbar-bench.json");
  writeFileSync(path, JSON.stringify(config));
  return path;
}

/** Starts the pipeline with no rule, so that no build is in the figures. */
async function startPipeline(name: string, ...args: string[]): Promise<{ dev: Dev; data: string }> {
  const data = join(folder, name);
  mkdirSync(data);
  writeFileSync(join(data, "rules.json"), "[]");
  const dev = startDev([
    "--no-sample",
    "--port",
    "0",
    "--data-dir",
    data,
    "--router",
    benchCrossbar(),
    ...args,
  ]);
  await dev.ready();
  return { dev, data };
}

async function measurePipeline(title: string, dev: Dev): Promise<number> {
  const ready = await dev.ready();
  const secret = readSecretFile(ready.secret_file);
  const deliver = async () => {
    const sentAt = nowMs();
    const { delivery, status } = await post(ready.webhook, secret, "push", freshBody());
    if (status !== 202) throw new Error(`the edge answered ${status}`);
    const opened = await dev.until(
      "opened",
      ({ event, delivery: of }) => event === "opened" && of === delivery,
    );
    return opened.at - sentAt;
  };
  for (let index = 0; index < WARM_UP; index += 1) await deliver();
  dev.events.length = 0;
  const latencies: number[] = [];
  for (let index = 0; index < ONE_AT_A_TIME; index += 1) {
    latencies.push(await deliver());
    dev.events.length = 0;
  }
  line(`${title}: POST → opened, one at a time`, quantiles(latencies));

  const sentAt = nowMs();
  const started = performance.now();
  let left = SUSTAINED;
  const sender = async () => {
    for (; left > 0;) {
      left -= 1;
      await post(ready.webhook, secret, "push", freshBody());
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, sender));
  const taken = performance.now() - started;
  const opened = () => dev.events.filter(({ event }) => event === "opened");
  await eventually("all are opened", () => opened().length >= SUSTAINED, 300_000);
  const whole = Math.max(...opened().map(({ at }) => at)) - sentAt;
  line(
    `${title}: sustained, ${IN_FLIGHT} in flight`,
    `${Math.round((SUSTAINED / whole) * 1000)} events/s to the builder (edge took ${Math.round((SUSTAINED / taken) * 1000)}/s)`,
  );
  return median(latencies);
}

/** A publish to an event at a subscriber, over the very router and onion that the pipeline uses. */
async function measureBareWamp(title: string, dev: Dev, data: string): Promise<number> {
  const ready = await dev.ready();
  const stop = new AbortController();
  const relay = parseRelay(readConfigFile(join(data, "relay.json")).json, data).router;
  const builder = parseBuilder(readConfigFile(join(data, "builder.json")).json, data).router;
  const tor = ready.router.socks === null ? "none" : parseSocksProxy(ready.router.socks);
  const publisher = await joinWamp({ ...relay, tor, isolation: "bench-publish", signal: stop.signal });
  const subscriber = await joinWamp({ ...builder, tor, isolation: "bench-subscribe", signal: stop.signal });
  let arrived = () => {};
  await subscriber.subscribe(BARE_TOPIC, "exact", () => arrived());
  const payload = new Passthru(nacl.randomBytes(BODY_BYTES), CRYPTOBOX, "json");
  const once = async () => {
    const event = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    await Promise.all([publisher.publish(BARE_TOPIC, payload), event]);
  };
  await timesOf(WARM_UP, once);
  const times = await timesOf(ONE_AT_A_TIME, once);
  line(`${title}: bare WAMP publish → event`, quantiles(times));
  await Promise.all([publisher.close(), subscriber.close()]);
  return median(times);
}

async function measureQueue(): Promise<void> {
  const data = join(folder, "queue");
  mkdirSync(data);
  const queue = await openQueue({ url: "embedded", dataDir: data, concurrency: 32, report: () => {} });
  let taken = (_seq: number) => {};
  queue.process(
    async ({ seq }) => {
      taken(seq);
      return { kind: "received", receipt: "" };
    },
    () => {},
  );
  await queue.resume();
  const sealed = nacl.randomBytes(BODY_BYTES);
  const times = await timesOf(ONE_AT_A_TIME, async (index) => {
    const handled = new Promise<number>((resolve) => {
      taken = resolve;
    });
    await queue.add({
      stream: "bench",
      seq: index + 1,
      topic: "webhook.github.push",
      delivery: "bench",
      sealed,
    });
    await handled;
  });
  line("bare BullMQ on PGlite: add → handler", quantiles(times));
  await queue.close();
}

function measureSeal(): void {
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
  const times: number[] = [];
  for (let index = 0; index < WARM_UP + ONE_AT_A_TIME; index += 1) {
    const started = performance.now();
    seal(encodeEvent("webhook.github.push", record, freshBody()), shared);
    if (index >= WARM_UP) times.push(performance.now() - started);
  }
  line("bare seal, tweetnacl", quantiles(times));
}

async function measureVerifyServer(): Promise<number> {
  const secret = "a secret that is no secret";
  const child = spawn(process.execPath, [join(root, "bench", "verify-server.ts"), secret], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const port = await new Promise<string>((resolve) =>
    createInterface({ input: child.stdout }).once("line", resolve),
  );
  const url = `http://127.0.0.1:${port}/`;
  await timesOf(WARM_UP, () => post(url, secret, "push", freshBody()));
  const times = await timesOf(ONE_AT_A_TIME, () => post(url, secret, "push", freshBody()));
  line("bare HTTP server that only verifies: POST → 202", quantiles(times));
  child.kill();
  return median(times);
}

/** Resident memory of each process, from /proc. */
function printMemory(dev: Dev): void {
  const parts = new Set(
    dev.events.filter(({ event }) => event === "started").map((event) => String(event["part"])),
  );
  const rss = (pid: number) =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  const sizes = [...parts].map((part) => `${part} ${rss(dev.pidOf(part)).toFixed(0)}`);
  line("resident memory, MB", `${sizes.join("  ")}  dev ${rss(dev.process.pid ?? 0).toFixed(0)}`);
}

function ratio(what: string, value: number, goal: string): void {
  line(what, `${value.toFixed(2)}   (goal ${goal})`);
}

async function main(): Promise<void> {
  console.log(
    `onionhook bench: ${BODY_BYTES / 1024} KiB events, ${ONE_AT_A_TIME} one at a time, ${SUSTAINED} sustained\n`,
  );
  const verify = await measureVerifyServer();
  measureSeal();
  await measureQueue();

  const loopback = await startPipeline("loopback", "--no-tor");
  const startedLoopback = [...loopback.dev.events];
  const bareLoopback = await measureBareWamp("no Tor", loopback.dev, loopback.data);
  const pipelineLoopback = await measurePipeline("no Tor", loopback.dev);
  loopback.dev.events.push(...startedLoopback);
  printMemory(loopback.dev);
  await loopback.dev.stop();

  const onion = await startPipeline("onion");
  const startedOnion = [...onion.dev.events];
  const bareOnion = await measureBareWamp("onion", onion.dev, onion.data);
  const pipelineOnion = await measurePipeline("onion", onion.dev);
  onion.dev.events.push(...startedOnion);
  printMemory(onion.dev);
  await onion.dev.stop();

  console.log();
  ratio("no Tor: pipeline p50, ms", pipelineLoopback, "≤ 15");
  ratio("no Tor: pipeline / bare WAMP event", pipelineLoopback / bareLoopback, "none");
  ratio("no Tor: pipeline / server that only verifies", pipelineLoopback / verify, "none");
  ratio("onion: pipeline / bare WAMP event", pipelineOnion / bareOnion, "≤ 2");
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
