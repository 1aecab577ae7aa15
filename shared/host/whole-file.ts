import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, linkSync, openSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const OWNER_ONLY = 0o600;

/**
 * Makes a new file, 0600, that is there whole or not at all, also after a kill or a power cut.
 * @throws the system's error; `EEXIST` when there is such a file.
 */
export function writeWhole(path: string, text: string): void {
  const draft = `${path}.${randomUUID()}`;
  const file = openSync(draft, "wx", OWNER_ONLY);
  try {
    writeSync(file, text);
    fsyncSync(file);
    linkSync(draft, path);
  } finally {
    closeSync(file);
    rmSync(draft);
  }
  const folder = openSync(dirname(path), "r");
  fsyncSync(folder);
  closeSync(folder);
}
