/**
 * Secrets on disk: one file a secret, 0600 from its first moment, never overwritten, and refused when
 * others may read it.
 */
import { readFileSync, statSync } from "node:fs";
import { errnoCode, OnionhookError } from "../errors.ts";
import { type KeyKind, parseKey } from "../keys.ts";
import { writeWhole } from "./whole-file.ts";

const OTHERS = 0o077;

/**
 * Reads a secret, without the white space around it.
 * @throws OnionhookError `ERR_KEY_FILE`
 */
export function readSecretFile(path: string): string {
  try {
    const { mode } = statSync(path);
    if ((mode & OTHERS) !== 0) {
      throw new OnionhookError("ERR_KEY_FILE", `${path} can be read by others`, {
        hint: `chmod 600 ${path}`,
      });
    }
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    if (cause instanceof OnionhookError) throw cause;
    throw new OnionhookError("ERR_KEY_FILE", `${path} cannot be read (${errnoCode(cause) ?? "unknown"})`, {
      hint: "make keys with: npm run onionhook -- keys new",
      cause,
    });
  }
}

/** @throws OnionhookError `ERR_KEY_FILE` or `ERR_KEY`, naming the file. */
export function readKeyFile(path: string, kind: KeyKind): Uint8Array<ArrayBuffer> {
  return parseKey(readSecretFile(path), kind, "secret", path);
}

/**
 * Writes a new secret and makes sure that it is on the disk: whole, or not at all.
 * @throws OnionhookError `ERR_KEY_FILE` when there is a file already: a key is never overwritten.
 */
export function writeSecretFile(path: string, text: string): void {
  try {
    writeWhole(path, `${text}\n`);
  } catch (cause) {
    const exists = errnoCode(cause) === "EEXIST";
    const unwritable = `${path} cannot be written (${errnoCode(cause) ?? "unknown"})`;
    throw new OnionhookError("ERR_KEY_FILE", exists ? `${path} exists and is not overwritten` : unwritable, {
      hint: exists
        ? "name another file, or move that one away yourself"
        : "choose a folder that you may write to",
      cause,
    });
  }
}
