/** A disk of its own for a test that fills it: a tmpfs, where the test may mount one. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { errnoCode } from "../../shared/errors.ts";

/** `size`: as tmpfs takes it, e.g. `1m`. Gone when the test is. */
export function mountSmallDisk(size: string): string {
  const { folder, end } = mount(size);
  onTestFinished(end);
  return folder;
}

/** Fills what is left of a disk with one file, and returns its path. */
export function fillDisk(folder: string, atMostBytes: number): string {
  const path = join(folder, "ballast");
  try {
    writeFileSync(path, new Uint8Array(atMostBytes));
  } catch (error) {
    if (errnoCode(error) !== "ENOSPC") throw error;
  }
  return path;
}

export const MAY_MOUNT = mayMount();

function mayMount(): boolean {
  try {
    mount("64k").end();
    return true;
  } catch {
    return false;
  }
}

function mount(size: string): { folder: string; end: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "oh-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder], { stdio: "ignore" });
  } catch (error) {
    rmdirSync(folder);
    throw error;
  }
  const end = () => {
    // Lazily: what a failed test still has open is closed after this.
    execFileSync("umount", ["--lazy", folder]);
    rmdirSync(folder);
  };
  return { folder, end };
}
