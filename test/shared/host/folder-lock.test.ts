import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockFolder } from "../../../shared/host/folder-lock.ts";
import { processStart } from "../../../shared/host/process-start.ts";

describe("lockFolder", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-lock-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("refuses a folder that a living process has, until it gives it up", () => {
    const unlock = lockFolder(folder, "ERR_TEST");
    expect(() => lockFolder(folder, "ERR_TEST")).toThrow(`process ${process.pid} uses the folder`);
    unlock();
    lockFolder(folder, "ERR_TEST")();
  });

  it("takes over from a process that was killed", () => {
    const { pid } = spawnSync("true");
    writeFileSync(join(folder, "lock"), `${pid} 12345`);
    lockFolder(folder, "ERR_TEST")();
  });

  it("takes over from a killed process whose id another one has now", () => {
    writeFileSync(join(folder, "lock"), `${process.ppid} ${Number(processStart(process.ppid)) - 1}`);
    lockFolder(folder, "ERR_TEST")();
  });

  it("takes over what was half-written", () => {
    writeFileSync(join(folder, "lock"), "");
    lockFolder(folder, "ERR_TEST")();
  });
});
