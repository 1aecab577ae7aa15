// Installs the packages when node_modules is missing or older than package-lock.json. Plain JavaScript:
// it runs under whatever Node.js the machine has; everything after it runs under the one it installs.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";

const INSTALLED = "node_modules/.package-lock.json";

const isCurrent =
  existsSync(INSTALLED) && statSync(INSTALLED).mtimeMs >= statSync("package-lock.json").mtimeMs;

if (!isCurrent) {
  process.stderr.write("onionhook: installing packages (npm ci), once; about a minute\n");
  const { status } = spawnSync("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], {
    // npm's own words go to stderr: stdout is for JSON lines.
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) {
    process.stderr.write("onionhook: error: the packages could not be installed\n");
    process.stderr.write("onionhook: hint: run npm ci and read what it says\n");
    process.exit(1);
  }
}
