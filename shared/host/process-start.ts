import { readFileSync } from "node:fs";
import { errnoCode } from "../errors.ts";

/**
 * When a process began, in clock ticks since boot (field 22 of /proc/PID/stat, proc_pid_stat(5)): with its
 * id it names a process for good, since ids are used again. Undefined when there is no such process, and
 * where there is no /proc.
 */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field, in parentheses, may hold spaces: count from behind it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoCode(error) === "EPERM";
  }
}
