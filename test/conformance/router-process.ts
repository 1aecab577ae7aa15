/** What the router's process holds, as Linux tells. */
import { readdirSync, readFileSync } from "node:fs";

/** Bytes that are resident now. */
export function residentBytes(pid: number): number {
  return kibibytes(pid, "VmRSS");
}

/** Bytes that were resident at most, since the process began. */
export function peakBytes(pid: number): number {
  return kibibytes(pid, "VmHWM");
}

export function openHandles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function kibibytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024;
}
