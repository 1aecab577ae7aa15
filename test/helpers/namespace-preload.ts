/**
 * Loaded into each process of Node.js before its program. A relay or builder replaces itself by the same program in a
 * namespace, by way of the command in `ONIONHOOK_TEST_ENTER`, and keeps its pid.
 */
import { isMainThread } from "node:worker_threads";

const ENV = "/usr/bin/env";

const { ONIONHOOK_TEST_ENTER: enter, ...env } = process.env;
// A part is `cli/main.ts NAME`.
const [, , part = ""] = process.argv;
if (isMainThread && enter !== undefined && ["relay", "builder"].includes(part)) {
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(ENV, [ENV, ...enter.split(" "), ...program], env);
}
