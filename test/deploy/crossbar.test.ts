/** What docs/crossbar.md installs: the configuration as Crossbar.io reads it, the unit, and who gets at the sockets. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { startCrossbar } from "../helpers/crossbar.ts";
import { describeWith, ROOT } from "../helpers/peers.ts";

const CONFIG = join(ROOT, "deploy/crossbar.json");
const UNIT = "onionhook-crossbar.service";
const RUNTIME = "/run/onionhook-crossbar";
const unit = readFileSync(join(ROOT, "deploy/systemd", UNIT), "utf8");
const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;

function inFolder(test: (folder: string) => Promise<void> | void): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), "oh-deploy-"));
    try {
      await test(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

describeWith("crossbar", "deploy/crossbar.json on Crossbar.io", (program) => {
  it(
    "is what `crossbar check` takes",
    inFolder((folder) => {
      copyFileSync(CONFIG, join(folder, "config.json"));
      const { status, stdout } = spawnSync(program, ["check", "--cbdir", folder], { encoding: "utf8" });
      expect([status, stdout]).toEqual([0, expect.stringContaining("looks good")]);
    }),
    60_000,
  );

  it.skipIf(process.getuid?.() !== 0 || userId("debian-tor") === undefined)(
    "lets Tor's user at one socket only, and others at none (needs root and the user debian-tor)",
    inFolder(async (folder) => {
      chmodSync(folder, 0o711);
      const run = join(folder, "run");
      mkdirSync(run, { mode: 0o711 });
      // The unit's own commands; the users that they name are not on this machine.
      for (const [, command = ""] of unit.matchAll(/^ExecStartPre=\+(.*)$/gm))
        execFileSync("sh", [
          "-c",
          command
            .replace(RUNTIME, run)
            .replace("-o onionhook-crossbar", "-o root")
            .replace("-g onionhook-local", "-g daemon"),
        ]);
      const crossbar = await startCrossbar(
        JSON.parse(readFileSync(CONFIG, "utf8").replaceAll(RUNTIME, run)) as object,
      );
      try {
        const sockets = ["onion", "local"].map((name) => join(run, name, "router.sock"));
        const seenBy = (user: string, group: string) => sockets.map((path) => connectAs(user, group, path));
        expect({
          tor: seenBy("debian-tor", "debian-tor"),
          local: seenBy("nobody", "daemon"),
          others: seenBy("nobody", "nogroup"),
        }).toEqual({
          tor: ["connected", "EACCES"],
          local: ["EACCES", "connected"],
          others: ["EACCES", "EACCES"],
        });
      } finally {
        await crossbar.stop();
      }
    }),
    200_000,
  );

  it.skipIf(!hasSystemd)(
    `${UNIT} is one that systemd-analyze verify has nothing to say of`,
    inFolder((folder) => {
      const here = join(folder, UNIT);
      writeFileSync(here, unit.replaceAll("/opt/crossbar", dirname(dirname(program))));
      const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", here], {
        encoding: "utf8",
      });
      const about = stderr.split("\n").filter((line) => line.includes(UNIT));
      expect([status, about]).toEqual([0, []]);
    }),
  );
});

describe(UNIT, () => {
  it.each([
    "KillSignal=SIGINT",
    "Restart=on-failure",
    "RuntimeDirectory=onionhook-crossbar",
    "PrivateNetwork=yes",
    "ProtectSystem=strict",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "SystemCallFilter=@system-service",
  ])("has %s", (line) => {
    expect(unit.split("\n")).toContain(line);
  });

  it("runs under a user and with groups that onionhook.sysusers makes", () => {
    const users = readFileSync(join(ROOT, "deploy/systemd/onionhook.sysusers"), "utf8");
    const [, user = ""] = /^User=(.*)$/m.exec(unit) ?? [];
    expect(users).toMatch(new RegExp(`^u ${user} `, "m"));
    for (const part of ["onionhook", "onionhook-builder"])
      expect(users.split("\n")).toContain(`m ${part} onionhook-local`);
  });
});

/** In perl, which Debian always has where any user may run it. */
const CONNECT =
  "use IO::Socket::UNIX; print IO::Socket::UNIX->new(Peer => shift) ? 'connected' : $!{EACCES} ? 'EACCES' : $!";

/** As that user, with that group and no other. */
function connectAs(user: string, group: string, path: string): string {
  const ids = [`--reuid=${userId(user)}`, `--regid=${groupId(group)}`, "--clear-groups"];
  return execFileSync("setpriv", [...ids, "perl", "-e", CONNECT, path], { encoding: "utf8" });
}

function userId(user: string): string | undefined {
  const { status, stdout } = spawnSync("id", ["-u", user], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

function groupId(group: string): string {
  return execFileSync("getent", ["group", group], { encoding: "utf8" }).split(":")[2] ?? "";
}
