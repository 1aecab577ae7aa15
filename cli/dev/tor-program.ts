import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline/promises";
import { OnionhookError } from "../../shared/errors.ts";

const INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "tor"];
const UPDATE = ["apt-get", "update"];
/** Debian's tor package starts a service that joins the public network, where systemd runs. */
const SERVICES = ["tor.service", "tor@default.service"];

/** What installing needs of its surroundings, so that a test can stand in for them. */
export interface Host {
  path: string;
  isRoot: boolean;
  /** Asks a person; undefined when there is nobody to ask. */
  ask: ((question: string) => Promise<boolean>) | undefined;
  hasSystemd: boolean;
  /** Runs a command with its output shown; whether it succeeded. */
  run(argv: readonly string[]): boolean;
  say(line: string): void;
}

/**
 * The path of `tor`, installed from the distribution when it is missing and that is allowed: as root, or
 * after asking.
 * @throws OnionhookError `ERR_NO_TOR` with the exact command otherwise.
 */
export async function findTor(host: Host): Promise<string> {
  const found = which("tor", host.path);
  if (found !== undefined) return found;
  const sudo = host.isRoot ? [] : ["sudo"];
  const byHand = `${host.isRoot ? "" : "sudo "}${INSTALL.join(" ")}`;
  const missing = (why: string) =>
    new OnionhookError("ERR_NO_TOR", `tor is not installed${why}`, {
      hint: `install it with: ${byHand}\n  or choose to do without Tor, on loopback only: npm start -- --no-tor`,
    });
  if (which("apt-get", host.path) === undefined) throw missing(", and this system has no apt-get");
  if (!host.isRoot && which("sudo", host.path) === undefined) throw missing("");
  if (!host.isRoot && !(await host.ask?.(`tor is not installed. Run "${byHand}"?`))) throw missing("");

  host.say(`installing tor from the distribution: ${byHand}`);
  if (host.hasSystemd) {
    host.say(`its own system service is masked first, so that nothing joins the public network:`);
    host.say(`  undo that with: sudo systemctl unmask ${SERVICES.join(" ")}`);
    host.run([...sudo, "systemctl", "mask", ...SERVICES]);
  }
  const installed =
    host.run([...sudo, ...INSTALL]) || (host.run([...sudo, ...UPDATE]) && host.run([...sudo, ...INSTALL]));
  const tor = installed ? which("tor", host.path) : undefined;
  if (tor === undefined) throw missing(" and could not be installed");
  return tor;
}

/** This machine. What is installed shows its output on standard error. */
export function thisHost(say: (line: string) => void): Host {
  return {
    // Where Debian puts daemons, which a user's PATH may not name.
    path: `${process.env["PATH"] ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`,
    isRoot: process.getuid?.() === 0,
    ask: process.stdin.isTTY && process.stderr.isTTY ? ask : undefined,
    hasSystemd: existsSync("/run/systemd/system"),
    run([program = "", ...args]) {
      const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
      return spawnSync(program, args, { stdio: ["inherit", 2, 2], env }).status === 0;
    },
    say,
  };
}

async function ask(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^(y|yes)?$/i.test((await terminal.question(`${question} [Y/n] `)).trim());
  } finally {
    terminal.close();
  }
}

function which(program: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((candidate) => {
      try {
        accessSync(candidate, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
