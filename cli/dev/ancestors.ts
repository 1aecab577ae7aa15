import { readFileSync } from "node:fs";
import { isAlive } from "../../shared/host/process-start.ts";

/** npm cannot tell us that it was killed; looking costs a few microseconds. */
const LOOK_MS = 500;

/**
 * Calls `onOrphaned` when a process that started us under npm is gone: our parent, or npm above it.
 * Started without npm, only a closed terminal or a signal ends us, and nothing is watched.
 * Returns how to stop watching.
 */
export function watchAncestors(onOrphaned: () => void): () => void {
  if (process.env["npm_lifecycle_event"] === undefined) return () => {};
  const ancestors = [process.ppid, parentOf(process.ppid)].filter((pid) => pid > 1);
  const timer = setInterval(() => {
    if (process.ppid !== ancestors[0] || !ancestors.every(isAlive)) onOrphaned();
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** 0 when it cannot be told. */
function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return 0;
  }
}
