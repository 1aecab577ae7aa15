/**
 * The processes of a run: starts them, passes their lines on, starts again what dies, and ends them all.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { PartHandle } from "../../shared/tor/private-network.ts";

export interface PartSpec {
  /** `worker`, `relay`, `router`, `builder`, or `tor:NAME`. */
  name: string;
  argv: readonly string[];
  /** Asked when the process has died by itself. */
  restart: () => boolean;
  onRestarted?: () => void;
}

export interface ProcessEvents {
  onStarted: (part: string, pid: number, restarts: number) => void;
  onExited: (part: string, pid: number, code: number | null, signal: NodeJS.Signals | null) => void;
  /** A line of the part's standard output. */
  onLine: (part: string, line: string) => void;
  /** The part died again and again without lasting. */
  onHopeless: (part: string) => void;
}

export interface Processes {
  start(spec: PartSpec): PartHandle;
  /** Ends every process: all are asked, and killed when they do not end in time. */
  stop(): Promise<void>;
}

/** For a part to hand back what is in hand and close its stores: the relay's queue takes 10 s at most. */
const END_MS = 12_000;
/** A restart after a death is immediate; a part that keeps dying waits ever longer. */
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5000;
/** What lived this long was well; its next death counts as the first. */
const SETTLED_MS = 10_000;
const HOPELESS_DEATHS = 4;

/**
 * @param env what every process gets on top of ours.
 * @param logs folder for what the parts print: `NAME.log`.
 */
export function makeProcesses(
  env: Readonly<Record<string, string>>,
  logs: string,
  events: ProcessEvents,
): Processes {
  const running = new Map<ChildProcess, Promise<void>>();
  let stopping = false;

  function start(spec: PartSpec): PartHandle {
    const { promise: exited, resolve } = Promise.withResolvers<void>();
    const log = openSync(join(logs, `${spec.name.replace(":", "-")}.log`), "a", 0o600);
    let child: ChildProcess | undefined;
    let wanted = true;
    let deaths = 0;

    function launch(restarts: number): void {
      const [program = "", ...args] = spec.argv;
      const started = performance.now();
      const launched = spawn(program, args, {
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", log],
        // A session of its own, so that ctrl-c reaches only us and we end the parts in order.
        detached: true,
      });
      child = launched;
      const { pid } = launched;
      const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
      running.set(launched, gone);
      if (launched.stdout)
        createInterface({ input: launched.stdout }).on("line", (line) => {
          writeSync(log, `${line}\n`);
          events.onLine(spec.name, line);
        });
      if (pid !== undefined) events.onStarted(spec.name, pid, restarts);
      // A program that cannot be started has no pid and only an `error`.
      launched.once("error", () => over(null, null));
      launched.once("exit", over);

      function over(code: number | null, signal: NodeJS.Signals | null): void {
        if (!running.delete(launched)) return;
        leave();
        if (pid !== undefined) events.onExited(spec.name, pid, code, signal);
        deaths = performance.now() - started > SETTLED_MS ? 1 : deaths + 1;
        if (!wanted || stopping || !spec.restart()) return resolve();
        if (deaths >= HOPELESS_DEATHS) events.onHopeless(spec.name);
        const pause = deaths === 1 ? 0 : Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** deaths);
        void sleep(pause).then(() => {
          if (!wanted || stopping) return resolve();
          launch(restarts + 1);
          spec.onRestarted?.();
        });
      }
    }

    if (stopping) resolve();
    else launch(0);
    return {
      get pid() {
        return child?.pid;
      },
      exited,
      async stop() {
        wanted = false;
        await Promise.all([...running].filter(([each]) => each === child).map(end));
        resolve();
      },
    };
  }

  return {
    start,
    async stop() {
      stopping = true;
      await Promise.all([...running].map(end));
    },
  };
}

async function end([child, gone]: [ChildProcess, Promise<void>]): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), END_MS);
  await gone;
  clearTimeout(timer);
}
