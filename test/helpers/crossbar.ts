/** The real Crossbar.io, from the virtual environment of the test set-up. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findPeer, howToGet } from "./peers.ts";

export interface Crossbar {
  /** Its node folder (`--cbdir`), in which relative paths of unix sockets are. */
  readonly folder: string;
  /** Of its controller; the router itself is a child of that. */
  readonly pid: number;
  /** What it said, from its first start on. */
  log(): string;
  /** Ends both of its processes as a crash does; its folder stays. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, with the same folder and config. */
  restart(): Promise<void>;
  /** Ends it and removes its folder. SIGINT is its clean end. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Measured 3–7 s on an idle machine; tests share two cores. */
const START_MS = 120_000;
/** Measured 0.5–2 s. */
const CLEAN_END_MS = 20_000;
const POLL_MS = 50;

/** Resolves when it listens on all transports of `config` (version 2); rejects with its log. */
export async function startCrossbar(config: object): Promise<Crossbar> {
  const program = findPeer("crossbar");
  if (program === undefined) throw new Error(`Crossbar.io is missing: ${howToGet("crossbar")}`);
  const folder = mkdtempSync(join(tmpdir(), "oh-crossbar-"));
  writeFileSync(join(folder, "config.json"), JSON.stringify(config), { mode: 0o600 });
  let log = "";
  let pid = 0;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const all = withChildren(pid);
    if (signal !== "SIGKILL" && isRunning(pid)) {
      process.kill(pid, signal);
      await untilEnded(all);
    }
    killAll(all);
    await untilEnded(all);
  };
  // A test that fails leaves nothing.
  const killNow = (): void => killAll(withChildren(pid));
  const start = async (): Promise<void> => {
    const from = log.length;
    const child = spawn(program, ["start", "--cbdir", folder, "--loglevel", "info", "--color", "false"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, HOME: folder },
    });
    pid = child.pid ?? 0;
    try {
      await untilBooted(
        child,
        (text) => (log += text),
        () => log.slice(from),
      );
    } catch (error) {
      await end("SIGKILL");
      throw error;
    }
  };
  const remove = (): void => {
    process.off("exit", killNow);
    rmSync(folder, { recursive: true, force: true });
  };

  process.once("exit", killNow);
  try {
    await start();
  } catch (error) {
    remove();
    throw error;
  }
  return {
    folder,
    get pid() {
      return pid;
    },
    log: () => log,
    kill: () => end("SIGKILL"),
    restart: start,
    async stop(signal = "SIGINT") {
      await end(signal);
      remove();
    },
  };
}

/** `said` is what it said since this start. */
function untilBooted(child: ChildProcess, add: (text: string) => void, said: () => string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (what: string) => reject(new Error(`Crossbar.io ${what}\n${said()}`));
    const timer = setTimeout(() => fail(`did not listen within ${START_MS} ms`), START_MS);
    const read = (text: string): void => {
      add(text);
      if (said().includes("::NODE_BOOT_COMPLETE")) {
        clearTimeout(timer);
        resolve();
      }
    };
    child.stdout?.setEncoding("utf8").on("data", read);
    child.stderr?.setEncoding("utf8").on("data", read);
    child.once("error", (error) => fail(`did not start: ${error.message}`));
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      fail(`ended with ${code ?? signal}`);
    });
  });
}

async function untilEnded(pids: readonly number[]): Promise<void> {
  const until = performance.now() + CLEAN_END_MS;
  while (pids.some(isRunning) && performance.now() < until) await sleep(POLL_MS);
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids.filter(isRunning)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // ESRCH: it has just ended.
    }
  }
}

/** A process and its children, as far as they run. */
function withChildren(pid: number): number[] {
  // 0: it has not started. The system's own processes have that for their parent.
  if (pid === 0) return [];
  const children = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && statOf(name)?.parent === pid);
  return [pid, ...children.map(Number)].filter(isRunning);
}

/** One that nobody has reaped yet has ended. */
function isRunning(pid: number): boolean {
  const stat = statOf(`${pid}`);
  return stat !== undefined && stat.state !== "Z";
}

function statOf(pid: string): { state: string | undefined; parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}
