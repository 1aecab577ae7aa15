/**
 * The last to leave: a process of its own whose standard input is a pipe from `onionhook dev`. When that
 * pipe ends, however `dev` ended, it kills what is left of the run: every process whose environment holds
 * the run's mark, children of children too. Linux only, by way of /proc.
 *
 *     node cli/dev/reaper.ts MARK
 */
import { readdirSync, readFileSync } from "node:fs";

/** Environment variable that marks every process of a run. */
export const MARK = "ONIONHOOK_RUN";

/** Kills every process of the run but this one; returns how many there were. */
function reap(mark: string): number {
  const wanted = `${MARK}=${mark}`;
  let found = 0;
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(wanted)) continue;
      process.kill(pid, "SIGKILL");
      found += 1;
    } catch {
      // Another user's, or gone meanwhile.
    }
  }
  return found;
}

if (import.meta.main) {
  const [mark] = process.argv.slice(2);
  if (mark === undefined) throw new Error("usage: reaper.ts MARK");
  process.stdin.resume().once("close", () => {
    // A process may have been forking while it was looked for.
    while (reap(mark) > 0);
  });
}
