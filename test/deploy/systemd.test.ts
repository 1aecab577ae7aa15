/** The units as systemd reads them. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../helpers/peers.ts";

const UNITS = ["onionhook-relay.service", "onionhook-builder.service", "onionhook-router.service"];

const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;

const read = (unit: string) => readFileSync(join(ROOT, "deploy/systemd", unit), "utf8");

describe.each(UNITS)("%s", (unit) => {
  it.skipIf(!hasSystemd)("is one that systemd-analyze verify has nothing to say of", () => {
    const folder = mkdtempSync(join(tmpdir(), "oh-systemd-"));
    try {
      // Where it is to be installed is not there; where this is, is.
      const here = join(folder, unit);
      writeFileSync(here, read(unit).replaceAll("/opt/onionhook", ROOT.replace(/\/$/, "")));
      const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", here], {
        encoding: "utf8",
      });
      const about = stderr.split("\n").filter((line) => line.includes(unit));
      expect([status, about]).toEqual([0, []]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each([
    "ProtectSystem=strict",
    "NoNewPrivileges=yes",
    "LimitCORE=0",
    "PrivateTmp=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "CapabilityBoundingSet=",
    "Restart=on-failure",
  ])("has %s", (line) => {
    expect(read(unit).split("\n")).toContain(line);
  });

  it("is started again however often and quickly it fails", () => {
    expect(startsAreUnlimited(read(unit))).toBe(true);
  });

  it("lets the part end by itself before it is killed", () => {
    const [, forced = ""] =
      /FORCED_EXIT_MS = ([\d_]+)/.exec(readFileSync(join(ROOT, "cli/until-signal.ts"), "utf8")) ?? [];
    const [, stop = ""] = /^TimeoutStopSec=(\d+)$/m.exec(read(unit)) ?? [];
    expect(Number(stop) * 1000).toBeGreaterThan(Number(forced.replaceAll("_", "")));
  });
});

describe("onionhook-crossbar.service", () => {
  it("is started again however often and quickly it fails", () => {
    expect(startsAreUnlimited(read("onionhook-crossbar.service"))).toBe(true);
  });

  it("leaves no core dump", () => {
    expect(read("onionhook-crossbar.service").split("\n")).toContain("LimitCORE=0");
  });
});

/** systemd's own: 5 starts in 10 s, DefaultStartLimitBurst and DefaultStartLimitIntervalSec. */
function startsAreUnlimited(unit: string): boolean {
  const [, pause = "0"] = /^RestartSec=(\d+)$/m.exec(unit) ?? [];
  return Number(pause) * 5 > 10 || /^\[Unit\][^[]*^StartLimitIntervalSec=0$/m.test(unit);
}

describe("onionhook-relay.service", () => {
  it("lets systemd-notify, a child of the relay, speak", () => {
    const lines = read("onionhook-relay.service").split("\n");
    expect(lines).toContain("Type=notify");
    expect(lines).toContain("NotifyAccess=all");
  });
});

describe("onionhook-router.service", () => {
  it("leaves the socket's folder to the router and to tor, and reloads by SIGHUP", () => {
    const lines = read("onionhook-router.service").split("\n");
    expect(lines).toContain("ExecReload=/bin/kill -HUP $MAINPID");
    expect(lines).toContain("RestartForceExitStatus=SIGHUP");
    expect(lines).toContain(
      "ExecStartPre=+/usr/bin/install -d -m 2750 -o onionhook-router -g debian-tor /run/onionhook-router",
    );
  });
});

it.skipIf(!hasSystemd)("the users are those of the units", () => {
  const file = join(ROOT, "deploy/systemd/onionhook.sysusers");
  const made = execFileSync("systemd-sysusers", ["--dry-run", file], { encoding: "utf8", stdio: "pipe" });
  for (const unit of UNITS) {
    const [, user = ""] = /^User=(.*)$/m.exec(read(unit)) ?? [];
    expect(`${readFileSync(file, "utf8")}${made}`).toMatch(new RegExp(`^u ${user} `, "m"));
  }
});
