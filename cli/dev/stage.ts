/** The processes of a run, what they say, and the reaper that outlives us. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { OnionhookError } from "../../shared/errors.ts";
import { nowMs, type Output } from "../output.ts";
import type { Journey } from "./journey.ts";
import type { Layout } from "./layout.ts";
import { makeProcesses, type Processes } from "./processes.ts";
import { MARK } from "./reaper.ts";
import { makeWatch, type Watch } from "./watch.ts";

export interface Stage {
  watch: Watch;
  processes: Processes;
  /** Marks a process as one of this run. */
  env: Readonly<Record<string, string>>;
  /** The run has been up: a part that dies from now on is started again for ever. */
  ready(): void;
  follow(journey: Pick<Journey, "note">): void;
  stop(): Promise<void>;
}

/** `fail` is called when a part ends again and again before the run was ever up. */
export function startStage(layout: Layout, output: Output, fail: (error: Error) => void): Stage {
  const mark = randomUUID();
  const env = { [MARK]: mark };
  const journeys: Pick<Journey, "note">[] = [];
  let isReady = false;
  const watch = makeWatch(output, (event) => journeys.forEach((journey) => journey.note(event)));
  const processes = makeProcesses(env, layout.logs, {
    onStarted(part, pid, restarts) {
      output.forward({ event: "started", at: nowMs(), part, pid, restarts });
      if (restarts > 0) output.say(`  ${part.padEnd(8)} started again, pid ${pid}`);
    },
    onExited(part, pid, code, signal) {
      output.forward({
        event: "exited",
        at: nowMs(),
        part,
        pid,
        ...(signal === null ? { code } : { signal }),
      });
    },
    onLine: watch.line,
    onHopeless(part) {
      if (isReady) return;
      const last = watch.lastErrors().find((error) => error.part === part);
      const log = join(layout.logs, `${part.replace(":", "-")}.log`);
      fail(
        new OnionhookError(
          "ERR_PART",
          `${part} ends again and again${last ? `: ${String(last.message)}` : ""}`,
          {
            hint: typeof last?.hint === "string" ? last.hint : `its last words are in ${log}`,
          },
        ),
      );
    },
  });
  const sweep = startReaper(mark);
  return {
    watch,
    processes,
    env,
    ready: () => {
      isReady = true;
    },
    follow: (journey) => void journeys.push(journey),
    async stop() {
      await processes.stop();
      await sweep();
    },
  };
}

/** Returns how to let it do its work; resolves when it has, or when it was gone already. */
function startReaper(mark: string): () => Promise<void> {
  const reaper = spawn(process.execPath, [fileURLToPath(new URL("reaper.ts", import.meta.url)), mark], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  const gone = new Promise<void>((resolve) => {
    reaper.once("exit", () => resolve());
    reaper.once("error", () => resolve());
  });
  reaper.stdin.on("error", () => {});
  return () => {
    reaper.stdin.end();
    return gone;
  };
}
