/**
 * One run of `onionhook dev`: docs/architecture.md, "The one-command run". The `--json` events are a
 * contract; their names and fields stay.
 */
import { join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import packageJson from "../../package.json" with { type: "json" };
import { OnionhookError } from "../../shared/errors.ts";
import { lockFolder } from "../../shared/host/folder-lock.ts";
import { EXIT } from "../command.ts";
import { LOCAL_CONFIG } from "../control-client.ts";
import { nowMs, type Output } from "../output.ts";
import { DEFAULT_WEBHOOK } from "../send.ts";
import { makeDeliveries } from "./deliveries.ts";
import { prepareEdge } from "./edge.ts";
import {
  BUILDER,
  type Layout,
  lastRouterPort,
  makeFolders,
  localUrl,
  openLayout,
  REALM,
  RELAY,
  writeConfigs,
} from "./layout.ts";
import { makeNetwork } from "./network.ts";
import { watchParent } from "./parent.ts";
import { preferPort, takePort } from "./ports.ts";
import { sendSample } from "./sample-push.ts";
import { startStage } from "./stage.ts";
import { findTor, thisHost } from "./tor-program.ts";
import type { Watch } from "./watch.ts";

export interface DevOptions {
  /** Root of the project. */
  root: string;
  /** End after the first build of the sample. */
  once: boolean;
  sample: boolean;
  tor: boolean;
  dataDir: string;
  /** As it was typed, for people. */
  shownDataDir: string;
  /** Of the edge; 0 for any. */
  port: number;
  queueUrl: string;
  /** Path of the Crossbar config that roles and permissions are taken from. */
  crossbar: string;
}

/** A cold start takes about 20 s on two cores; a slow machine gets several times that. */
const READY_MS = 180_000;
const HEALTH_POLL_MS = 25;

/**
 * Runs until ctrl-c, until npm is gone, or until `once` is over; resolves with the exit code when every
 * process has ended.
 */
export async function runDev(options: DevOptions, output: Output): Promise<number> {
  const { promise: over, resolve: end, reject: fail } = Promise.withResolvers<number>();
  const stop = () => end(EXIT.ok);
  const onSignal = makeSignalHandler(stop);
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("SIGHUP", onSignal);
  // Whoever read our words is gone.
  process.stdout.on("error", stop);
  const unwatch = watchParent(stop);
  const cleanups: (() => Promise<void> | void)[] = [];
  try {
    run(options, output, fail, cleanups).then((code) => (code === undefined ? undefined : end(code)), fail);
    return await over;
  } finally {
    unwatch();
    for (const cleanup of cleanups.toReversed()) await cleanup();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal).off("SIGHUP", onSignal);
  }
}

/** The first signal ends the run in order; the second ends it now, and the reaper sweeps up. */
function makeSignalHandler(stop: () => void): () => void {
  let signals = 0;
  return () => {
    signals += 1;
    if (signals > 1) process.exit(EXIT.failed);
    stop();
  };
}

/** Resolves with an exit code when there is nothing more to do, or with nothing when it goes on serving. */
async function run(
  options: DevOptions,
  output: Output,
  fail: (error: Error) => void,
  cleanups: (() => Promise<void> | void)[],
): Promise<number | undefined> {
  const { once, sample, shownDataDir } = options;
  const outside = options.tor ? "nothing leaves this machine" : "without Tor, as you chose: loopback only";
  output.say(
    `onionhook ${packageJson.version}  node ${process.versions.node}  data ${shownDataDir}  (${outside})`,
  );

  makeFolders(options.dataDir);
  cleanups.push(lockFolder(options.dataDir, "ERR_DATA_DIR_BUSY"));
  const layout = openLayout(options.dataDir);
  if (layout.reused) output.say(`  keys     reused${options.tor ? ", and with them the onion address" : ""}`);
  const edgePort = await takePort(options.port, "--port");
  const routerPort = await preferPort(lastRouterPort(layout));
  const tor = options.tor ? await findTor(thisHost(output.say)) : undefined;

  const stage = startStage(layout, output, fail);
  cleanups.push(stage.stop);
  const { watch, processes } = stage;
  const network = tor === undefined ? undefined : makeNetwork(tor, layout, processes, output);
  if (network) cleanups.push(() => network.close());

  cleanups.push(() => watch.tellErrors(false));

  const { paths, routerUrl, rules } = writeConfigs(layout, {
    edgePort,
    routerPort,
    tor: network ? network.wiring : "none",
    queueUrl: options.queueUrl,
    crossbar: options.crossbar,
    sampleBuild: [process.execPath, join(options.root, "cli/dev/sample/build-docs.mjs")],
  });
  const part = (name: string, config: string, onRestarted = () => {}) => {
    const argv = [process.execPath, join(options.root, "cli/main.ts"), name, "--config", config, "--json"];
    processes.start({ name, argv, restart: () => true, onRestarted });
  };
  const webhook = `http://127.0.0.1:${edgePort}/webhook/github`;
  const clock = makeClock();

  // All at once: each waits by itself for those that it needs.
  const edgeReady = prepareEdge({
    root: options.root,
    env: stage.env,
    folder: layout.edge,
    port: edgePort,
    webhookSecretFile: layout.key("webhook").file,
    boxKeyFile: layout.key("edge-box").file,
    recipients: { [BUILDER]: { box_public: layout.key("builder-box").public["key"] ?? "" } },
    relays: { [RELAY]: { sign_public: layout.key("relay-drain").public["key"], redeliver: true } },
  }).then((argv) => {
    processes.start({ name: "worker", argv, restart: () => true });
    return healthy(`http://127.0.0.1:${edgePort}/health`);
  });
  const torReady = network?.start();
  // A router that died took its onion service with it; it publishes the same one again.
  part("router", paths.router, () => network?.republished());
  part("relay", paths.relay);
  part("builder", paths.builder);

  const steps: Promise<unknown>[] = [
    edgeReady.then(() => output.say(`  edge     ${webhook}   ready   ${clock()}`)),
    (torReady ?? Promise.resolve()).then(
      () => network && output.say(`  tor      private network, ${TOR_RELAYS} relays   100 %   ${clock()}`),
    ),
    watch
      .until((from, { event }) => from === "router" && event === (network ? "published" : "listening"))
      .then(() =>
        output.say(
          `  router   ${shortened(routerUrl)}   ready   ${clock()}${network ? "   client authorisation on" : ""}`,
        ),
      ),
    Promise.all(
      ["edge", "router"].map((to) =>
        watch.until((from, event) => from === "relay" && event.event === "connected" && event["to"] === to),
      ),
    ).then(() =>
      output.say(`  relay    drain connected, queue ${queueName(options.queueUrl)}   ready   ${clock()}`),
    ),
    watch
      .until((from, { event }) => from === "builder" && event === "connected")
      .then(() => output.say(`  builder  ${describeRules(rules)}   listening   ${clock()}`)),
  ];
  await inTime(Promise.all(steps), watch, layout);
  stage.ready();
  watch.tellErrors(true);
  output.forward({
    event: "ready",
    at: nowMs(),
    webhook,
    secret_file: layout.key("webhook").file,
    router: {
      onion: network ? routerUrl : null,
      local: localUrl(routerPort),
      realm: REALM,
      socks: network?.socks.tcp ?? null,
    },
    keys_dir: layout.keys,
    data_dir: layout.folder,
  });

  if (sample) {
    try {
      const exit = await sendSample(webhook, layout, stage, output);
      if (once) return exit === 0 ? EXIT.ok : EXIT.failed;
    } catch (error) {
      // With rules of one's own the sample may lead to no build; what was started goes on serving.
      if (once) throw error;
      output.error(error);
    }
  }
  sayNext(webhook, paths.relay, layout, output);
  if (output.isTerminal) stage.follow(makeDeliveries(output.say));
  return undefined;
}

function sayNext(webhook: string, relay: string, layout: Layout, output: Output): void {
  const secret = near(layout.key("webhook").file);
  const url = webhook === DEFAULT_WEBHOOK ? "" : ` --url ${webhook}`;
  const config = relay === resolve(LOCAL_CONFIG) ? "" : ` --config ${near(relay)}`;
  const lines = output.isTerminal ? "; each delivery is a line here" : "";
  const text = `
next      all of it goes on until ctrl-c${lines}. In a second terminal:
          npm run send --${url} --secret-file ${secret}
          npm run --silent onionhook -- status${config}
          npm run --silent onionhook -- watch${config}
          curl -i ${webhook}
`;
  for (const line of text.split("\n")) output.say(line);
}

/** As one types it. */
function near(path: string): string {
  const way = relative(process.cwd(), path);
  return way.startsWith("..") ? path : way;
}

const refusal = v.object({ error: v.object({ message: v.string() }) });

/** Waits until the edge takes requests. */
async function healthy(url: string): Promise<void> {
  for (;;) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) return;
    if (response) {
      const { error } = v.parse(refusal, await response.json());
      throw new OnionhookError("ERR_EDGE_CONFIG", error.message);
    }
    await sleep(HEALTH_POLL_MS);
  }
}

async function inTime(steps: Promise<unknown>, watch: Watch, layout: Layout): Promise<void> {
  const timer = sleep(READY_MS, "late", { ref: false });
  if ((await Promise.race([steps, timer])) !== "late") return;
  const errors = watch
    .lastErrors()
    .map(({ part, code, message }) => `${part}: ${String(message)} (${String(code)})`);
  throw new OnionhookError(
    "ERR_START",
    `the pipeline is not up after ${READY_MS / 1000} s. ${errors.join("; ")}`,
    {
      hint: `the parts' logs are in ${layout.logs}`,
    },
  );
}

const TOR_RELAYS = 5;

function makeClock(): () => string {
  const started = performance.now();
  return () => `${((performance.now() - started) / 1000).toFixed(1)} s`;
}

/** An onion address is long, and nobody needs to read all of it. */
function shortened(url: string): string {
  return url.replace(/\/\/(\w{3})\w+(\w)\.onion.*$/, "//$1…$2.onion");
}

function queueName(url: string): string {
  return url.includes(":") ? url.slice(0, url.indexOf(":")) : url;
}

function describeRules(rules: readonly { name: string; event: string }[]): string {
  return `${rules.length} rule${rules.length === 1 ? "" : "s"}: ${rules.map(({ event, name }) => `${event} → ${name}`).join(", ")}`;
}
