/** A part of a pipeline as a test sees it: a process, and the JSON lines that it said. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { DevEvent } from "./dev.ts";
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

export function startPart(command: readonly string[]): Part {
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
  return {
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
}

/** `onionhook COMMAND` with its own configuration. */
export function startCommand(command: string, configFile: string): Part {
  return startPart([process.execPath, join(ROOT, "cli/main.ts"), command, "--config", configFile, "--json"]);
}

/** How often it said this. */
export function said({ events }: Part, event: string): number {
  return events.filter((each) => each.event === event).length;
}
