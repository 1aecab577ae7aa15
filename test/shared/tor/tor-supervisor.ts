/** What `onionhook dev` does with tor processes: starts them, starts them again, ends them all. */
import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { PartHandle } from "../../../shared/tor/private-network.ts";

/** Milliseconds before a tor that died is started again. */
const PAUSE_MS = 200;

export interface TorSupervisor {
  spawn(name: string, argv: string[]): PartHandle;
  /** Is told the name of a tor that was started again. */
  onRestart: (name: string) => void;
  /** SIGKILL to the process of that name; resolves when it is dead. */
  kill(name: string): Promise<void>;
  /** Stops the process of that name, whose connections stay open, or lets it go on. */
  freeze(name: string): void;
  thaw(name: string): void;
  /** Processes that run now. */
  readonly pids: number[];
}

export function makeTorSupervisor(): TorSupervisor {
  const running = new Map<string, ChildProcess>();
  const childOf = (name: string): ChildProcess => {
    const child = running.get(name);
    if (child === undefined) throw new Error(`${name} does not run`);
    return child;
  };
  const supervisor: TorSupervisor = {
    onRestart: () => undefined,
    spawn(name, argv) {
      const stopping = new AbortController();
      const [program = "", ...args] = argv;
      const live = async (): Promise<void> => {
        for (let restarts = 0; !stopping.signal.aborted; restarts += 1) {
          const child = spawn(program, args, { stdio: "ignore" });
          running.set(name, child);
          const exited = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
          if (restarts > 0) supervisor.onRestart(name);
          await exited;
          running.delete(name);
          await sleep(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
        }
      };
      const exited = live();
      return {
        get pid() {
          return running.get(name)?.pid;
        },
        exited,
        async stop() {
          stopping.abort();
          running.get(name)?.kill("SIGKILL");
          await exited;
        },
      };
    },
    async kill(name) {
      const child = childOf(name);
      const dead = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await dead;
    },
    freeze: (name) => void childOf(name).kill("SIGSTOP"),
    thaw: (name) => void childOf(name).kill("SIGCONT"),
    get pids() {
      return [...running.values()].map((child) => child.pid ?? 0);
    },
  };
  return supervisor;
}
