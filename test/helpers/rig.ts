/**
 * A pipeline put together by hand, without Tor: the edge, one router, and as many relays and builders as a test wants,
 * each a process of its own with a configuration of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { prepareEdge } from "../../cli/dev/edge.ts";
import { takePort } from "../../cli/dev/ports.ts";
import { type KeyName, makeKey, type MadeKey } from "../../cli/key-set.ts";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { type DevEvent, eventually } from "./dev.ts";
import { ROOT } from "./peers.ts";

/** A process of the pipeline, and what it said, from its first start on. */
export interface Part {
  readonly events: DevEvent[];
  readonly process: ChildProcess;
  /** Resolves with its exit code, or null after a signal. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  /** Starts it again after its end; `events` goes on. */
  start(): void;
}

export interface Rig {
  readonly folder: string;
  readonly routerUrl: string;
  readonly webhook: string;
  startRelay(name: string, more?: object): Part;
  startBuilder(name: string, more?: object): Part;
  /** Path of a part's configuration. */
  configOf(name: string): string;
  /** Posts a push; resolves with its delivery's GUID once the edge has taken it. */
  push(fields: Readonly<Record<string, unknown>>, event?: string): Promise<string>;
  stop(): Promise<void>;
}

export interface RigOptions {
  readonly relays: readonly string[];
  readonly builders: readonly string[];
  /** Of the only recipient, beside its key. */
  readonly recipient?: object;
  /** Commands of the builders' only rule, for pushes. */
  readonly run?: readonly (readonly string[])[];
}

const RECIPIENT = "builder";
const REALM = "onionhook";

export async function startRig({ relays, builders, recipient, run = [["true"]] }: RigOptions): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), "oh-rig-"));
  const parts: Part[] = [];
  /** Shared keys are made once; each relay and builder has its own beside them. */
  const keyOf = (owner: string, name: KeyName): MadeKey => makeKey(join(folder, "keys", owner), name);
  const secret = keyOf("edge", "webhook");
  const edgeBox = keyOf("edge", "edge-box");
  const builderBox = keyOf("recipient", "builder-box");
  const [edgePort, routerPort] = [await takePort(0, "edge"), await takePort(0, "router")];
  const routerUrl = `ws://127.0.0.1:${routerPort}/`;
  const configOf = (name: string) => join(folder, `${name}.json`);
  const write = (name: string, config: object) =>
    writeFileSync(configOf(name), JSON.stringify(config), { mode: 0o600 });

  const part = (command: readonly string[]): Part => {
    const [program = "", ...args] = command;
    const events: DevEvent[] = [];
    let child: ChildProcess;
    let exited: Promise<number | null>;
    const start = () => {
      child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
      const { promise, resolve } = Promise.withResolvers<number | null>();
      exited = promise;
      child.once("close", (code) => resolve(code));
      if (child.stdout)
        createInterface({ input: child.stdout }).on("line", (line) => {
          if (line.startsWith("{")) events.push(JSON.parse(line) as DevEvent);
        });
    };
    start();
    const made: Part = {
      events,
      get process() {
        return child;
      },
      async end(signal) {
        if (child.exitCode === null && child.signalCode === null) child.kill(signal);
        return exited;
      },
      start,
    };
    parts.push(made);
    return made;
  };
  const ours = (command: string, name: string) =>
    part([process.execPath, join(ROOT, "cli/main.ts"), command, "--config", configOf(name), "--json"]);
  const router = (name: string, key: MadeKey) => ({
    url: routerUrl,
    realm: REALM,
    authid: name,
    key_file: key.file,
  });

  mkdirSync(join(folder, "edge"), { mode: 0o700 });
  const workerd = await prepareEdge({
    root: ROOT,
    env: {},
    folder: join(folder, "edge"),
    port: edgePort,
    webhookSecretFile: secret.file,
    boxKeyFile: edgeBox.file,
    recipients: { [RECIPIENT]: { box_public: builderBox.public["key"], ...recipient } },
    relays: Object.fromEntries(
      relays.map((name) => [
        name,
        { sign_public: keyOf(name, "relay-drain").public["key"], redeliver: true },
      ]),
    ),
  });
  part(workerd);
  const crossbar = JSON.parse(readFileSync(join(ROOT, "deploy/crossbar.json"), "utf8"));
  const [transport] = crossbar.workers[0].transports;
  transport.endpoint.port = routerPort;
  transport.auth.cryptosign.principals = Object.fromEntries([
    ...relays.map((name) => [name, principal("github", keyOf(name, "relay-wamp"))]),
    ...builders.map((name) => [name, principal("builder", keyOf(name, "builder-wamp"))]),
  ]);
  write("crossbar", crossbar);
  write("router", { crossbar: "crossbar.json" });
  const listening = ours("router", "router");
  await eventually("the router listens", () => listening.events.some(({ event }) => event === "listening"));
  const health = `http://127.0.0.1:${edgePort}/health`;
  let isUp = false;
  const asking = setInterval(
    () =>
      void fetch(health).then(
        ({ ok }) => (isUp = ok),
        () => {},
      ),
    100,
  );
  await eventually("the edge is up", () => isUp, 30_000).finally(() => clearInterval(asking));

  const webhook = `http://127.0.0.1:${edgePort}/webhook/github`;
  return {
    folder,
    routerUrl,
    webhook,
    configOf,
    startRelay(name, more = {}) {
      write(name, {
        data_dir: `${name}-data`,
        tor: "none",
        edge: {
          url: `ws://127.0.0.1:${edgePort}/drain`,
          relay: name,
          key_file: keyOf(name, "relay-drain").file,
        },
        router: router(name, keyOf(name, "relay-wamp")),
        replay: {
          box_key_file: keyOf("relays", "relay-box").file,
          builders: { [RECIPIENT]: builderBox.public["key"] },
        },
        ...more,
      });
      return ours("relay", name);
    },
    startBuilder(name, more = {}) {
      write(name, {
        data_dir: `${name}-data`,
        tor: "none",
        router: router(name, keyOf(name, "builder-wamp")),
        box_key_file: builderBox.file,
        edge_box_public: edgeBox.public["key"],
        relay_box_public: keyOf("relays", "relay-box").public["key"],
        webhook_secret_file: secret.file,
        rules: [{ name: "build", event: "push", run }],
        ...more,
      });
      return ours("builder", name);
    },
    async push(fields, event = "push") {
      const body = encodeUtf8(JSON.stringify({ ref: "refs/heads/main", at: crypto.randomUUID(), ...fields }));
      const { status, delivery, answer } = await post(webhook, readSecretFile(secret.file), event, body);
      if (status !== 202) throw new Error(`the edge answered ${status}: ${JSON.stringify(answer)}`);
      return delivery;
    },
    async stop() {
      // workerd would wait for its sockets on any other signal.
      await Promise.all(parts.map((each) => each.end("SIGKILL")));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function principal(role: string, key: MadeKey): object {
  return { realm: REALM, role, authorized_keys: [key.public["crossbar"]] };
}
