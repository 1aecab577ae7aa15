/**
 * `npm test`: sets up the real peers, runs every test, and ends with a line `N passed, N failed`.
 * Arguments go to vitest, e.g. `npm test -- test/relay`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findPeer, howToGet, type Peer, PEER_NAMES, ROOT, VENV } from "./helpers/peers.ts";

/** Crossbar.io brings the Autobahn|Python that goes with it; `encryption` is what its KeyRing needs. */
const PYTHON_PACKAGES = ["crossbar==26.10.1", "autobahn[encryption]==26.10.2"];
const MADE = join(VENV, "onionhook-made-of.txt");

/** What vitest's JSON reporter writes, as far as it is read here. */
interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: { status: string; assertionResults: { status: string }[] }[];
}

function say(line: string): void {
  console.log(`onionhook test: ${line}`);
}

/**
 * A virtual environment with Autobahn|Python, made once; about two minutes.
 * @returns whether pip failed in it; without a virtual environment at all it was not asked.
 */
function setUpAutobahn(): boolean {
  const wanted = PYTHON_PACKAGES.join(" ");
  if (existsSync(MADE) && readFileSync(MADE, "utf8") === wanted) return false;
  say(`making a virtual environment with ${wanted}`);
  rmSync(VENV, { recursive: true, force: true });
  mkdirSync(dirname(VENV), { recursive: true });
  const hasVenv = spawnSync("python3", ["-m", "venv", VENV], { stdio: "inherit" }).status === 0;
  const pip = join(VENV, "bin", "pip");
  const made =
    hasVenv && spawnSync(pip, ["install", "--quiet", ...PYTHON_PACKAGES], { stdio: "inherit" }).status === 0;
  if (made) writeFileSync(MADE, wanted);
  else {
    rmSync(VENV, { recursive: true, force: true });
    say("Autobahn|Python could not be set up");
  }
  return hasVenv && !made;
}

/** @param pipFailed whether that is why Autobahn|Python and Crossbar.io are not there. */
function remedy(peer: Peer, pipFailed: boolean): string {
  return pipFailed && (peer === "autobahn" || peer === "crossbar") ? "pip failed, see above" : howToGet(peer);
}

const pipFailed = setUpAutobahn();
for (const peer of PEER_NAMES) {
  const found = findPeer(peer);
  say(
    found === undefined
      ? `SKIPPED: ${peer} is not installed (${remedy(peer, pipFailed)})`
      : `${peer}: ${found}`,
  );
}

const report = join(ROOT, ".peers", "vitest.json");
// Not to be taken for this run's when vitest itself fails.
rmSync(report, { force: true });
const vitest = join(ROOT, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(
  process.execPath,
  [
    vitest,
    "run",
    "--root",
    ROOT,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...process.argv.slice(2),
  ],
  {
    stdio: "inherit",
    // Quiet and offline: wrangler looks up hosts outside otherwise.
    env: {
      ...process.env,
      WRANGLER_SEND_METRICS: "false",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
      WRANGLER_HIDE_BANNER: "true",
    },
  },
);
const counts = existsSync(report) ? readCounts() : { passed: 0, failed: 1, skipped: 0 };
// An error outside every test fails the run, too.
const failed = status === 0 ? counts.failed : Math.max(1, counts.failed);
console.log(`${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`);
process.exitCode = status ?? 1;

/** A file whose set-up failed has no failed test, only such as were not run: it counts as one. */
function readCounts(): { passed: number; failed: number; skipped: number } {
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(
    readFileSync(report, "utf8"),
  ) as Report;
  const withoutFailedTest = testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  return {
    passed: numPassedTests,
    failed: numFailedTests + withoutFailedTest.length,
    skipped: numPendingTests,
  };
}
