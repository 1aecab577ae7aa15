/**
 * Loaded into each process of Node.js before its program. A part whose clock can be set replaces itself by the
 * same program with libfaketime, and keeps its pid. The others never see that library: workerd hangs with it
 * (libfaketime 0.9.10, whose start allocates memory before workerd's allocator is ready).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { sweepClocks } from "./clock-leftovers.ts";

const { CHAOS_CLOCKS: folder, CHAOS_FAKETIME: library, LD_PRELOAD: loaded } = process.env;
// A part is `cli/main.ts NAME`.
const [, program, part] = process.argv;
if (isMainThread && loaded === undefined && folder && library && program && part) {
  const clock = join(folder, part);
  if (existsSync(clock)) {
    // Of a killed process that had this pid.
    sweepClocks([process.pid]);
    process.execve?.(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
      ...process.env,
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: clock,
      // Seconds between looks at the file.
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
    });
  }
}
