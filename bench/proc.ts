/** What the kernel says of processes: /proc. */
import { readFileSync } from "node:fs";

const KIB = 1024;

/** MiB; NaN of a process that is gone. `VmHWM`: the most that it ever had. */
export function residentOf(pid: number, which: "VmRSS" | "VmHWM" = "VmRSS"): number {
  try {
    const found = new RegExp(`^${which}:\\s+(\\d+) kB`, "m").exec(
      readFileSync(`/proc/${pid}/status`, "utf8"),
    );
    return Number(found?.[1] ?? NaN) / KIB;
  } catch {
    return NaN;
  }
}

/** MiB of the process's children: a relay's own Redis. */
export function residentOfChildren(pid: number): number {
  return childrenOf(pid).reduce((sum, child) => sum + residentOf(child), 0);
}

/** Those that its first thread started; none of a process that is gone. */
export function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return children === "" ? [] : children.split(" ").map(Number);
  } catch {
    return [];
  }
}

/** Of utime and stime, on every Linux that Node.js runs on (`getconf CLK_TCK`). */
const TICK_MS = 10;

/** Milliseconds of CPU that a process has had, in user and kernel mode, of all its threads; NaN when it is gone. */
export function cpuOf(pid: number): number {
  try {
    // Behind the program's name, which may hold spaces; utime and stime are fields 14 and 15 of proc_pid_stat(5).
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return NaN;
  }
}

export interface MemorySample {
  /** Milliseconds since 1970. */
  at: number;
  /** MiB. */
  resident: number;
}

export interface MemoryWatch {
  readonly samples: readonly MemorySample[];
  stop(): void;
}

const EVERY_MS = 1000;

/** Looks each second, and at once. */
export function watchMemory(pid: number, now: () => number): MemoryWatch {
  const samples: MemorySample[] = [];
  const look = () => void samples.push({ at: now(), resident: residentOf(pid) });
  look();
  const timer = setInterval(look, EVERY_MS);
  return { samples, stop: () => clearInterval(timer) };
}
