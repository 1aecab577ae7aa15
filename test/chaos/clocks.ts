/**
 * Clocks of running processes, set by Debian's libfaketime (`apt-get install faketime`): a file for each part
 * holds its offset. Monotonic clocks are left alone, as they are when a real clock is set.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { CLOCKS, type Clock } from "./schedule.ts";

export interface Clocks {
  /** For `dev` and everything that it starts. */
  env: Record<string, string>;
  /** `byS`: seconds ahead of the true time; 0 sets it right. Takes a second to be noticed. */
  set(clock: Clock, byS: number): void;
}

const LIB = "/usr/lib";

/** Undefined where libfaketime is not installed. @param folder for the offsets. */
export function makeClocks(folder: string): Clocks | undefined {
  const library = findLibrary();
  if (library === undefined) return undefined;
  mkdirSync(folder, { recursive: true });
  const set: Clocks["set"] = (clock, byS) =>
    writeFileSync(join(folder, clock), `${byS < 0 ? "-" : "+"}${Math.abs(byS)}\n`);
  for (const clock of CLOCKS) set(clock, 0);
  const preload = fileURLToPath(new URL("clock-preload.ts", import.meta.url));
  return {
    env: {
      CHAOS_CLOCKS: folder,
      CHAOS_FAKETIME: library,
      NODE_OPTIONS: `--import=${pathToFileURL(preload).href}`,
    },
    set,
  };
}

/** The variant for programs with threads. */
function findLibrary(): string | undefined {
  if (!existsSync(LIB)) return undefined;
  return readdirSync(LIB)
    .map((folder) => join(LIB, folder, "faketime", "libfaketimeMT.so.1"))
    .find((path) => existsSync(path));
}
