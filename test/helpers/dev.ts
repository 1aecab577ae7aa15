/** `onionhook dev` as a program sees it: a process, its JSON lines, and what is left when it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "./peers.ts";

export type DevEvent = { event: string; at: number } & Record<string, unknown>;

export interface Ready {
  webhook: string;
  secret_file: string;
  router: { onion: string | null; local: string; realm: string; socks: string | null };
  keys_dir: string;
  data_dir: string;
}

export interface Dev {
  process: ChildProcess;
  events: DevEvent[];
  stderr: () => string;
  /** Resolves with the first event, past or future, that `wanted` is true for. */
  until(what: string, wanted: (event: DevEvent) => boolean, timeoutMs?: number): Promise<DevEvent>;
  ready(): Promise<Ready>;
  /** The process that a part runs in now. */
  pidOf(part: string): number;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Ends the run as ctrl-c does. */
  stop(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 90_000;

export function startDev(args: readonly string[], env: Record<string, string> = {}): Dev {
  const child = spawn(process.execPath, [join(ROOT, "cli/main.ts"), "dev", "--json", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  const events: DevEvent[] = [];
  const waiting = new Set<() => void>();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  createInterface({ input: child.stdout }).on("line", (line) => {
    events.push(JSON.parse(line) as DevEvent);
    for (const check of waiting) check();
  });
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  const until: Dev["until"] = (what, wanted, timeoutMs = DEFAULT_TIMEOUT_MS) =>
    new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        waiting.delete(check);
        clearTimeout(timer);
        finish();
      };
      const check = () => {
        const found = events.find(wanted);
        if (found) settle(() => resolve(found));
      };
      const timer = setTimeout(() => {
        const errors = events.filter(({ event }) => event === "error").slice(-5);
        settle(() =>
          reject(new Error(`${what} did not come in ${timeoutMs} ms\n${JSON.stringify(errors)}\n${stderr}`)),
        );
      }, timeoutMs);
      waiting.add(check);
      check();
      void exited.then(({ code }) => {
        if (waiting.has(check))
          settle(() => reject(new Error(`dev ended with ${code} before ${what}\n${stderr}`)));
      });
    });
  return {
    process: child,
    events,
    stderr: () => stderr,
    until,
    ready: async () => (await until("ready", ({ event }) => event === "ready")) as unknown as Ready,
    pidOf(part) {
      const started = events.findLast((event) => event.event === "started" && event["part"] === part);
      if (!started) throw new Error(`${part} has not started`);
      return Number(started["pid"]);
    },
    exited,
    async stop() {
      child.kill("SIGINT");
      await exited;
    },
  };
}

/** A data folder of its own, removed afterwards. */
export function dataFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "oh-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Processes that hold `text` in their arguments or environment: a run's data folder names all of its own. */
export function processesNaming(text: string): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const cmdline = readFileSync(`/proc/${pid}/cmdline`, "latin1");
      return cmdline.includes(text) ? [`${pid} ${cmdline.replaceAll("\0", " ")}`] : [];
    } catch {
      return [];
    }
  });
}
