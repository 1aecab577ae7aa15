import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import type { Build, Journal } from "./journal.ts";
import type { Rule } from "./rules.ts";
import { subjectOf } from "./rules.ts";
import { endLeftover, runCommand } from "./run-command.ts";

export interface Runner {
  /** There may be a build to run. */
  wake(): void;
  /** Resolves when the signal has ended the build that was running. */
  readonly ended: Promise<void>;
}

/**
 * What a command gets of our own environment: enough to find programs, and no secret. ONIONHOOK_RUN is the
 * mark by which `onionhook dev` finds what a killed builder left behind.
 */
const INHERITED = ["PATH", "HOME", "LANG", "TZ", "ONIONHOOK_RUN"];

/**
 * Runs the journal's builds one after the other, in order. A build that the builder's own death cut off
 * is run again from its start; its leftovers are ended first.
 */
export function startRunner(
  {
    dataDir,
    rules,
    journal,
    report,
  }: { dataDir: string; rules: readonly Rule[]; journal: Journal; report: Report },
  signal: AbortSignal,
): Runner {
  const folder = join(dataDir, "builds");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let wake = () => {};

  async function run(build: Build): Promise<void> {
    if (build.process) endLeftover(build.process);
    const rule = rules.find(({ name }) => name === build.rule);
    if (!rule) {
      // The configuration changed while the build waited.
      rmSync(join(folder, `${build.id}.json`), { force: true });
      journal.ended(build.id, "no such rule", 0);
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
    journal.ended(build.id, exit, performance.now() - started);
    tell();
  }

  /** What is over is told once, also what an earlier life of the builder could not tell any more. */
  function tell(): void {
    for (const { id, delivery, stream, seq, rule, exit, ms } of journal.untoldBuilds()) {
      report("built", { delivery, stream, seq, rule, exit: /^\d+$/.test(exit) ? Number(exit) : exit, ms });
      journal.buildTold(id);
    }
  }

  async function runAll(rule: Rule, build: Build): Promise<string> {
    const payload = join(folder, `${build.id}.json`);
    const outputFile = openSync(join(folder, `${build.id}.log`), "a", 0o600);
    writeFileSync(payload, build.rawBody, { mode: 0o600 });
    try {
      const deadline = performance.now() + rule.timeoutMs;
      for (const argv of rule.run) {
        const exit = await runCommand(
          {
            argv,
            directory: rule.directory,
            env: environment(build, payload),
            outputFile,
            timeoutMs: Math.max(1, deadline - performance.now()),
            onStarted: (mark) => journal.began(build.id, mark),
          },
          signal,
        );
        if (exit !== "0") return exit;
        if (signal.aborted && argv !== rule.run.at(-1)) return "aborted";
      }
      return "0";
    } finally {
      closeSync(outputFile);
      rmSync(payload, { force: true });
    }
  }

  async function loop(): Promise<void> {
    tell();
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const build = journal.nextBuild();
      if (build) await run(build);
      else await woken;
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

/** Payload fields reach a command as a file and as environment variables, never as arguments. */
function environment(build: Build, payload: string): Record<string, string> {
  const subject = subjectOf(build);
  const ours = {
    ONIONHOOK_DELIVERY: build.delivery,
    ONIONHOOK_EVENT: subject.event,
    ONIONHOOK_STREAM: build.stream,
    ONIONHOOK_SEQ: String(build.seq),
    ONIONHOOK_PAYLOAD: payload,
    ONIONHOOK_REPOSITORY: subject.repository,
    ONIONHOOK_REF: subject.ref,
    ONIONHOOK_SHA: subject.sha,
  };
  const inherited = INHERITED.map((name) => [name, process.env[name]] as const);
  const all = [...inherited, ...Object.entries(ours)];
  return Object.fromEntries(
    all.flatMap(([name, value]) => (isEnvironmentValue(value) ? [[name, value]] : [])),
  );
}

/** Characters. Linux takes 128 KiB a variable; refs and names have under 300. */
const MAX_VALUE_LENGTH = 4096;

/** What cannot stand in an environment is left out, and can be read from the payload. */
function isEnvironmentValue(value: string | undefined): value is string {
  return value !== undefined && value.length <= MAX_VALUE_LENGTH && !value.includes("\0");
}
