/** What a part reports beyond the events that `dev` passes on: its log in the data folder has every line. */
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import type { Stage } from "./stage.ts";

/** `at`: milliseconds since 1970. */
const reported = v.looseObject({ event: v.string(), at: v.number() });
type Reported = v.InferOutput<typeof reported>;

export interface PartLog {
  /** Resolves when `isSo`, asked after every look at the log. Rejects, naming `what`, when it is not so in time. */
  until(
    what: string,
    isSo: (log: Pick<PartLog, "count" | "last">) => boolean,
    timeoutMs: number,
  ): Promise<void>;
  /** How often an event was reported since the log was opened. */
  count(event: string): number;
  /** The last one of that name, and of that `to` if it is given, if one was reported since the log was opened. */
  last(event: string, to?: string): Reported | undefined;
  close(): void;
}

const LOOK_MS = 100;
const READ_BYTES = 1024 * 1024;

/** From its present end. */
export function openPartLog(stage: Stage, part: string): PartLog {
  const file = openSync(join(stage.data, "logs", `${part}.log`), "r");
  const buffer = Buffer.alloc(READ_BYTES);
  const counts = new Map<string, number>();
  const lasts = new Map<string, Reported>();
  let rest = "";

  function skip(): void {
    while (readSync(file, buffer) > 0);
  }
  function look(): void {
    for (let length = readSync(file, buffer); length > 0; length = readSync(file, buffer)) {
      const lines = (rest + buffer.toString("utf8", 0, length)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) note(line);
    }
  }
  function note(line: string): void {
    if (!line.startsWith("{")) return;
    const report = v.parse(reported, JSON.parse(line));
    counts.set(report.event, (counts.get(report.event) ?? 0) + 1);
    lasts.set(keyOf(report.event), report);
    lasts.set(keyOf(report.event, report["to"]), report);
  }

  skip();
  const log: Pick<PartLog, "count" | "last"> = {
    count: (event) => counts.get(event) ?? 0,
    last: (event, to) => lasts.get(keyOf(event, to)),
  };
  return {
    ...log,
    async until(what, isSo, timeoutMs) {
      const end = performance.now() + timeoutMs;
      for (look(); !isSo(log); look()) {
        if (performance.now() > end) throw new Error(`${what}: not so after ${timeoutMs / 1000} s`);
        await sleep(LOOK_MS);
      }
    },
    close: () => closeSync(file),
  };
}

function keyOf(event: string, to?: unknown): string {
  return JSON.stringify([event, to]);
}
