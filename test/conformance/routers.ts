/** The two routers under test, each a process of its own with the same configuration. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { takePort } from "../../cli/dev/ports.ts";
import { startCrossbar as startNode } from "../helpers/crossbar.ts";
import { ROOT } from "../helpers/peers.ts";
import { newKeyPair, type KeyPair } from "../router/raw-client.ts";

export const REALM = "onionhook";

const EVERYTHING = { publish: true, subscribe: true, call: true, register: true };
const NAMELESS = { uri: "", match: "prefix", allow: EVERYTHING };
const NAMED = { ...NAMELESS, uri: "open.", disclose: { publisher: true, caller: true } };

/** Two roles of the same rights, so that lists of roles can tell them apart, and one of few. */
const ROLES = [
  { name: "peer", permissions: [NAMELESS, NAMED] },
  { name: "guest", permissions: [NAMELESS, NAMED] },
  { name: "stranger", permissions: [{ uri: "strange.", match: "prefix", allow: EVERYTHING }] },
];

const PRINCIPALS = { alice: "peer", bob: "peer", carol: "guest", mallory: "stranger" } as const;

export type Authid = keyof typeof PRINCIPALS;

export const KEYS = Object.fromEntries(
  Object.keys(PRINCIPALS).map((authid) => [authid, newKeyPair()]),
) as Record<Authid, KeyPair>;

export interface TestRouter {
  readonly name: "our router" | "Crossbar.io";
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

/** Ours, with what only it is asked for. */
export interface OurRouter extends TestRouter {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Of its second endpoint. */
  readonly unixPath: string;
  /** The lines of `--json`. */
  readonly reports: ReadonlyArray<Readonly<Record<string, unknown>>>;
}

function configFor(endpoints: readonly object[], options: object): object {
  const transport = {
    type: "websocket",
    serializers: ["msgpack", "cbor", "json"],
    options: { max_message_size: 67_108_864, max_frame_size: 67_108_864, ...options },
    auth: {
      cryptosign: {
        type: "static",
        principals: Object.fromEntries(
          Object.entries(PRINCIPALS).map(([authid, role]) => [
            authid,
            { realm: REALM, role, authorized_keys: [KEYS[authid as Authid].publicHex] },
          ]),
        ),
      },
    },
  };
  return {
    version: 2,
    controller: { id: "router" },
    workers: [
      {
        type: "router",
        realms: [{ name: REALM, roles: ROLES }],
        transports: endpoints.map((endpoint) => ({ ...transport, endpoint })),
      },
    ],
  };
}

/** `options` are the transport's, as in a Crossbar config. */
export async function startOurs(options: object = {}): Promise<OurRouter> {
  const folder = mkdtempSync(join(tmpdir(), "oh-conformance-"));
  const unixPath = join(folder, "router.sock");
  const endpoints = [
    { type: "tcp", interface: "127.0.0.1", port: 0 },
    { type: "unix", path: unixPath },
  ];
  writeFileSync(join(folder, "crossbar.json"), JSON.stringify(configFor(endpoints, options)), {
    mode: 0o600,
  });
  writeFileSync(join(folder, "router.json"), JSON.stringify({ crossbar: "crossbar.json" }), { mode: 0o600 });
  const command = [join(ROOT, "cli/main.ts"), "router", "--config", join(folder, "router.json"), "--json"];
  const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const reports: Array<Record<string, unknown>> = [];
  const listening = new Promise<{ port: number }>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as Record<string, unknown>;
      reports.push(said);
      if (said["event"] === "listening") resolve((said["endpoints"] as [{ port: number }])[0]);
    });
    void ended.then(() => reject(new Error("our router ended before it listened")));
  });
  const { port } = await listening;
  return {
    name: "our router",
    host: "127.0.0.1",
    port,
    process: child,
    pid: child.pid ?? 0,
    unixPath,
    reports,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function startCrossbar(): Promise<TestRouter> {
  const port = await takePort(0, "crossbar");
  const node = await startNode(configFor([{ type: "tcp", interface: "127.0.0.1", port }], {}));
  return { name: "Crossbar.io", host: "127.0.0.1", port, stop: () => node.stop("SIGKILL") };
}
