/** The routers that `bench:router` measures: each a process of its own, on loopback, with the same Crossbar config. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { startCrossbar } from "../test/helpers/crossbar.ts";
import { dataFolder } from "../test/helpers/dev.ts";
import { ROOT } from "../test/helpers/peers.ts";
import { endProcess, freePort } from "../test/helpers/server-process.ts";
import { type KeyPair, newKeyPair } from "../test/router/raw-client.ts";
import { childrenOf, cpuOf, residentOf } from "./proc.ts";

export interface RouterProcess {
  readonly name: string;
  readonly endpoint: { readonly host: string; readonly port: number };
  /** Of its principals, by authid. */
  readonly keys: { readonly relay: KeyPair; readonly builder: KeyPair };
  /** Of all of its processes, MiB. */
  residentMiB(): number;
  /** That all of its processes have had, milliseconds. */
  cpuMs(): number;
  stop(): Promise<void>;
}

const HOST = "127.0.0.1";

export async function startOurs(): Promise<RouterProcess> {
  const { config, ...rest } = await wiring();
  const folder = dataFolder();
  writeFileSync(join(folder.path, "crossbar.json"), JSON.stringify(config), { mode: 0o600 });
  const path = join(folder.path, "router.json");
  writeFileSync(path, JSON.stringify({ crossbar: "crossbar.json" }), { mode: 0o600 });
  const program = [join(ROOT, "cli/main.ts"), "router", "--config", path, "--json"];
  const child = spawn(process.execPath, program, { stdio: ["ignore", "pipe", "inherit"] });
  await once(createInterface({ input: child.stdout }), "line");
  return {
    name: "ours",
    ...rest,
    ...usage(child.pid ?? 0),
    async stop() {
      await endProcess(child, "SIGTERM");
      folder.remove();
    },
  };
}

export async function startCrossbarBeside(): Promise<RouterProcess> {
  const { config, ...rest } = await wiring();
  const crossbar = await startCrossbar(config);
  return { name: "Crossbar.io", ...rest, ...usage(crossbar.pid), stop: () => crossbar.stop() };
}

function usage(pid: number): Pick<RouterProcess, "residentMiB" | "cpuMs"> {
  // Crossbar.io's router is a child of its controller.
  const sum = (of: (pid: number) => number) =>
    [pid, ...childrenOf(pid)].reduce((all, each) => all + of(each), 0);
  return { residentMiB: () => sum(residentOf), cpuMs: () => sum(cpuOf) };
}

/** `deploy/crossbar.json` with one transport on a port of its own, and keys made for it. */
async function wiring() {
  const config = JSON.parse(readFileSync(join(ROOT, "deploy", "crossbar.json"), "utf8"));
  const [worker] = config.workers;
  const [transport] = worker.transports;
  const port = await freePort();
  const keys = { relay: newKeyPair(), builder: newKeyPair() };
  transport.endpoint = { type: "tcp", interface: HOST, port };
  const { principals } = transport.auth.cryptosign;
  principals.relay.authorized_keys = [keys.relay.publicHex];
  principals.builder.authorized_keys = [keys.builder.publicHex];
  worker.transports = [transport];
  return { config, keys, endpoint: { host: HOST, port } };
}
