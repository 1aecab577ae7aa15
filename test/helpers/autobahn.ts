/** Builders written with Autobahn|Python alone, made from the file of `onionhook keys autobahn`. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { eventually } from "./until.ts";
import { findPeer, howToGet, ROOT } from "./peers.ts";

export interface AutobahnEvent {
  topic: string;
  kwargs: Record<string, unknown>;
}

export interface AutobahnBuilder {
  /** Events by delivery id. */
  received: Map<string, AutobahnEvent>;
  /** Delivery ids as they came, one that came twice twice. */
  readonly order: string[];
  stop(): Promise<void>;
}

/** A Python program that has its secrets from a file of `onionhook keys autobahn`. */
export interface PythonPeer {
  readonly process: ChildProcess;
  /** Lines of its standard output, and of both its outputs together. */
  readonly lines: string[];
  log(): string;
  stop(): Promise<void>;
}

/** Python takes seconds to start on two cores that tests share. */
const JOIN_MS = 60_000;

/** Runs `test/peers/SCRIPT KEYS-FILE ARGS…`. */
export function startPythonPeer(
  script: string,
  builderConfig: string,
  args: readonly string[],
  onLine: (line: string) => void = () => {},
): PythonPeer {
  const python = findPeer("autobahn");
  if (python === undefined) throw new Error(`Autobahn|Python is missing: ${howToGet("autobahn")}`);
  const folder = mkdtempSync(join(tmpdir(), "oh-autobahn-"));
  const keys = join(folder, "keys.json");
  execFileSync(process.execPath, [
    join(ROOT, "cli/main.ts"),
    "keys",
    "autobahn",
    "--config",
    builderConfig,
    "--out",
    keys,
  ]);
  const child = spawn(python, [join(ROOT, "test/peers", script), keys, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    log += `${line}\n`;
    onLine(line);
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    process: child,
    lines,
    log: () => log,
    async stop() {
      child.kill("SIGKILL");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves once it has subscribed. It joins again whenever its session ends. */
export async function startAutobahn(
  builderConfig: string,
  url: string,
  serializer: string,
): Promise<AutobahnBuilder> {
  const received = new Map<string, AutobahnEvent>();
  const order: string[] = [];
  let joined = false;
  const peer = startPythonPeer("autobahn-builder.py", builderConfig, [url, serializer], (line) => {
    if (!line.startsWith("{")) return;
    const said = JSON.parse(line) as { joined?: string } & AutobahnEvent;
    if (said.joined !== undefined) {
      joined = said.joined === serializer;
      return;
    }
    const { id } = said.kwargs["_delivery"] as { id: string };
    received.set(id, said);
    order.push(id);
  });
  try {
    await eventually("Autobahn|Python joins", () => joined || peer.process.exitCode !== null, JOIN_MS);
    if (!joined) throw new Error(`Autobahn|Python ended\n${peer.log()}`);
  } catch (error) {
    await peer.stop();
    throw new Error(`Autobahn|Python did not join\n${peer.log()}`, { cause: error });
  }
  return { received, order, stop: peer.stop };
}
