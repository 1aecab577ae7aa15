/**
 * Real peers: programs that tests talk to and that may not be installed. A missing one is skipped by
 * name, or fails when REQUIRE_PEERS=1 (as in CI).
 */
import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, it } from "vitest";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Where the test set-up makes the virtual environment of Crossbar.io and Autobahn|Python. */
export const VENV = join(ROOT, ".peers", "venv");

/** Where each peer's program is, and how to get it. */
const PEERS = {
  tor: { find: () => inPath("tor"), get: "apt-get install tor" },
  redis: { find: () => inPath("redis-server"), get: "apt-get install redis-server" },
  postgres: { find: () => newestPostgres() ?? inPath("initdb"), get: "apt-get install postgresql" },
  autobahn: {
    find: () => existing(join(VENV, "bin", "python")),
    get: "apt-get install python3-venv, then npm test again",
  },
  crossbar: {
    find: () => existing(join(VENV, "bin", "crossbar")),
    get: "apt-get install python3-venv, then npm test again",
  },
} as const;

export type Peer = keyof typeof PEERS;

export const PEER_NAMES = Object.keys(PEERS) as Peer[];

/** The peer's program, if it is installed. */
export function findPeer(peer: Peer): string | undefined {
  return PEERS[peer].find();
}

export function howToGet(peer: Peer): string {
  return PEERS[peer].get;
}

/** `describe` for tests that need a peer; `tests` is given its program. */
export function describeWith(peer: Peer, title: string, tests: (program: string) => void): void {
  const program = findPeer(peer);
  if (program !== undefined) describe(title, () => tests(program));
  else if (process.env["REQUIRE_PEERS"] === "1") {
    it(`${title}: needs ${peer}`, () => {
      throw new Error(`${peer} is missing: ${howToGet(peer)}`);
    });
  } else describe.skip(`${title}: skipped, ${peer} is not installed (${howToGet(peer)})`, () => tests(""));
}

function inPath(program: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, program)).find(isProgram);
}

/** Debian keeps the server's programs out of the PATH, by version. */
function newestPostgres(): string | undefined {
  const base = "/usr/lib/postgresql";
  if (!existsSync(base)) return undefined;
  const versions = readdirSync(base).toSorted((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(base, version, "bin", "initdb")).find(isProgram);
}

function existing(path: string): string | undefined {
  return existsSync(path) ? path : undefined;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
