/** The router of a pipeline that a test puts together: ours, or the real Crossbar.io, from one configuration. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { takePort } from "../../cli/dev/ports.ts";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { startCrossbar } from "./crossbar.ts";
import { eventually } from "./until.ts";
import { type Part, startCommand } from "./part.ts";
import { ROOT } from "./peers.ts";

/** Of every router that a test starts. */
export const REALM = "onionhook";

/** Milliseconds until our router listens: under one on an idle machine. */
const START_MS = 60_000;

export type RouterKind = "ours" | "crossbar";

export interface RigRouter {
  readonly url: string;
  /** Path of its unix socket. */
  readonly socket: string;
  /** What it said, if it is ours. */
  readonly events: Part["events"];
  /** Ends it as a crash does. */
  kill(): Promise<void>;
  /** Starts it again; resolves when it listens. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface RigRouterOptions {
  readonly kind: RouterKind;
  /** For its configuration. */
  readonly folder: string;
  /** By authid. */
  readonly principals: Readonly<Record<string, object>>;
  /** The only ones that it speaks; all of them when left out. */
  readonly serializers?: readonly SerializerId[];
  /** `onion` of our router's configuration. */
  readonly onion?: object;
}

interface CrossbarJson {
  workers: [{ transports: [{ auth: { cryptosign: { principals: object } } }] }];
}

/** deploy/crossbar.json, but for where it listens and whom it knows. */
export async function startRigRouter(options: RigRouterOptions): Promise<RigRouter> {
  const { kind, folder, principals, serializers, onion } = options;
  const port = await takePort(0, "router");
  const url = `ws://127.0.0.1:${port}/`;
  const config = JSON.parse(readFileSync(join(ROOT, "deploy/crossbar.json"), "utf8")) as CrossbarJson;
  const [worker] = config.workers;
  const [pattern] = worker.transports;
  const transport = (endpoint: object) => ({
    ...pattern,
    endpoint,
    ...(serializers && { serializers }),
    auth: { cryptosign: { ...pattern.auth.cryptosign, principals } },
  });
  const tcp = transport({ type: "tcp", interface: "127.0.0.1", port });
  const socket = join(folder, "router.sock");
  const unix = transport({ type: "unix", path: socket });
  const filled = { ...config, workers: [{ ...worker, transports: [tcp, unix].map(withoutId) }] };

  if (kind === "crossbar") {
    const { kill, restart, stop } = await startCrossbar(filled);
    return { url, socket, events: [], kill, restart, stop };
  }
  writeFileSync(join(folder, "crossbar.json"), JSON.stringify(filled), { mode: 0o600 });
  writeFileSync(join(folder, "router.json"), JSON.stringify({ crossbar: "crossbar.json", onion }), {
    mode: 0o600,
  });
  const router = startCommand("router", join(folder, "router.json"));
  const listens = async (from: number) =>
    eventually(
      "the router listens",
      () => router.events.slice(from).some(({ event }) => event === "listening"),
      START_MS,
    );
  await listens(0);
  return {
    url,
    socket,
    events: router.events,
    async kill() {
      await router.end("SIGKILL");
    },
    async restart() {
      const from = router.events.length;
      router.start();
      await listens(from);
    },
    async stop() {
      await router.end("SIGKILL");
    },
  };
}

/** Two transports of one pattern would have one name. */
function withoutId({ id: _id, ...transport }: { id?: string; [key: string]: unknown }): object {
  return transport;
}
