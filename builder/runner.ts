import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describeError, OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { environmentOf } from "./build-environment.ts";
import type { Build, Journal } from "./journal.ts";
import { isJournalFault, makeJournalFault } from "./journal-fault.ts";
import type { Rule } from "./rules.ts";
import { endLeftover, type ProcessMark, runCommand } from "./run-command.ts";

export interface Runner {
  /** There may be a build to run. */
  wake(): void;
  /** Resolves when the signal has ended the build that was running. */
  readonly ended: Promise<void>;
}

/** Milliseconds until a full or failing disk is tried again. */
const DISK_PAUSE_MS = 1000;

/**
 * Runs the journal's builds one after the other, in order. A build that the builder's own death cut off
 * is run again from its start; its leftovers are ended first. While the disk is full, builds wait.
 *
 * @param parts.isHeld whether a build of this event waits for an earlier event of its stream.
 */
export function startRunner(
  {
    dataDir,
    rules,
    journal,
    isHeld,
    report,
  }: {
    dataDir: string;
    rules: readonly Rule[];
    journal: Journal;
    isHeld: (stream: string, seq: number) => boolean;
    report: Report;
  },
  signal: AbortSignal,
): Runner {
  const folder = logFolder(dataDir);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fault = makeJournalFault("builds wait", report);
  let wake = () => {};

  /** Until the disk takes it: a build that was run or told must not be so again. Whether it did before the signal. */
  async function record(write: () => void): Promise<boolean> {
    for (;;) {
      try {
        write();
        return true;
      } catch (error) {
        if (!(await waitForDisk(error))) return false;
      }
    }
  }

  /** Whether there is time to try again. Throws what waiting does not mend. */
  async function waitForDisk(reason: unknown): Promise<boolean> {
    if (!isJournalFault(reason)) throw reason;
    fault.failed(reason);
    await sleep(DISK_PAUSE_MS, undefined, { signal }).catch(() => {});
    return !signal.aborted;
  }

  async function run(build: Build): Promise<void> {
    if (build.process) endLeftover(build.process);
    const rule = rules.find(({ name }) => name === build.rule);
    if (!rule) {
      // The configuration changed while the build waited.
      rmSync(join(folder, `${build.id}.json`), { force: true });
      if (!(await record(() => journal.ended(build.id, "no such rule", 0)))) return;
      journal.buildTold(build.id);
      report("error", {
        code: "ERR_RULE",
        message: `the rule ${build.rule} is gone`,
        delivery: build.delivery,
      });
      return;
    }
    const started = performance.now();
    const exit = await runAll(rule, build);
    // Broken off by our own end: it is run again. What had succeeded by then is over.
    if (signal.aborted && exit !== "0") return;
    const ms = performance.now() - started;
    if (await record(() => journal.ended(build.id, exit, ms))) await tell();
  }

  /** What is over is told once, also what an earlier life of the builder could not tell any more. */
  async function tell(): Promise<void> {
    for (const { id, delivery, stream, seq, rule, exit, ms } of journal.untoldBuilds()) {
      report("built", { delivery, stream, seq, rule, exit: /^\d+$/.test(exit) ? Number(exit) : exit, ms });
      await record(() => journal.buildTold(id));
    }
  }

  async function runAll(rule: Rule, build: Build): Promise<string> {
    const payload = join(folder, `${build.id}.json`);
    const outputFile = openSync(join(folder, `${build.id}.log`), "a", 0o600);
    try {
      writeFileSync(payload, build.rawBody, { mode: 0o600 });
      const deadline = performance.now() + rule.timeoutMs;
      for (const argv of rule.run) {
        let started = false;
        const exit = await runCommand(
          {
            argv,
            directory: rule.directory,
            env: environmentOf(build, payload),
            outputFile,
            timeoutMs: Math.max(1, deadline - performance.now()),
            onStarted: (mark) => {
              started = true;
              markBegun(build, mark);
            },
          },
          signal,
        );
        if (!started) tellNotStarted(rule, build, argv, exit);
        if (exit !== "0") return exit;
        if (signal.aborted && argv !== rule.run.at(-1)) return "aborted";
      }
      return "0";
    } finally {
      closeSync(outputFile);
      rmSync(payload, { force: true });
    }
  }

  /** On a full disk without the mark: ending the command, to run it again, would be worse. */
  function markBegun(build: Build, mark: ProcessMark): void {
    try {
      journal.began(build.id, mark);
    } catch (error) {
      if (!isJournalFault(error)) throw error;
      fault.failed(error);
    }
  }

  function tellNotStarted(rule: Rule, build: Build, [program = ""]: readonly string[], exit: string): void {
    const error = new OnionhookError("ERR_BUILD_START", `${program} could not be started (${exit})`, {
      hint: `check that it is on the builder's PATH and executable, and that ${rule.directory} is a folder`,
    });
    report("error", { ...describeError(error), rule: rule.name, delivery: build.delivery });
  }

  async function loop(): Promise<void> {
    await tell();
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const build = journal.nextBuild(isHeld);
      if (!build) {
        await woken;
        continue;
      }
      try {
        await run(build);
        fault.works();
      } catch (error) {
        await waitForDisk(error);
      }
    }
  }

  signal.addEventListener("abort", () => wake());
  return {
    wake: () => wake(),
    ended: loop().catch((cause: unknown) => {
      throw new OnionhookError("ERR_RUNNER", "builds cannot be run", {
        hint: `check the folder ${folder}`,
        cause,
      });
    }),
  };
}

function logFolder(dataDir: string): string {
  return join(dataDir, "builds");
}

/** Removes the output of builds that the journal has forgotten. */
export function removeLogs(dataDir: string, builds: readonly number[]): void {
  for (const build of builds) rmSync(join(logFolder(dataDir), `${build}.log`), { force: true });
}
