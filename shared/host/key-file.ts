/**
 * Secrets on disk: one file a secret, 0600 from its first moment, never overwritten, and refused when
 * others may read it.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoCode, OnionhookError } from "../errors.ts";
import { isKeyText, type KeyKind, parseKey } from "../keys.ts";
import { writeWhole } from "./whole-file.ts";

const OTHERS = 0o077;

/**
 * Reads a secret that is shared with somebody and has no form, the webhook's, without the white space around it.
 * @param field the setting that names the file, if there is one.
 * @throws OnionhookError `ERR_KEY_FILE`; `ERR_KEY` when it is one of our keys, which is never shared.
 */
export function readSecretFile(path: string, field?: string): string {
  const text = readOwnFile(path, field);
  if (isKeyText(text)) {
    throw new OnionhookError(
      "ERR_KEY",
      `${named(path, field)} holds a key of ours; a webhook's secret was expected`,
      {
        hint: "name the file with the secret that GitHub has, too: webhook.key of npm run onionhook -- keys new",
      },
    );
  }
  return text;
}

/**
 * @param field the setting that names the file, if there is one.
 * @throws OnionhookError `ERR_KEY_FILE` or `ERR_KEY`, naming the setting and the file.
 */
export function readKeyFile(path: string, kind: KeyKind, field?: string): Uint8Array<ArrayBuffer> {
  return parseKey(readOwnFile(path, field), kind, "secret", named(path, field));
}

function readOwnFile(path: string, field: string | undefined): string {
  try {
    const { mode } = statSync(path);
    if ((mode & OTHERS) !== 0) {
      throw new OnionhookError("ERR_KEY_FILE", `${named(path, field)} can be read by others`, {
        hint: `chmod 600 ${path}`,
      });
    }
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    if (cause instanceof OnionhookError) throw cause;
    const code = errnoCode(cause) ?? "unknown";
    throw new OnionhookError("ERR_KEY_FILE", `${named(path, field)} cannot be read (${code})`, {
      hint:
        code === "EACCES"
          ? `this process runs as user ${process.geteuid?.()}: chown the file to it, in a folder that it may enter`
          : "make keys with: npm run onionhook -- keys new",
      cause,
    });
  }
}

function named(path: string, field: string | undefined): string {
  return field === undefined ? path : `${field}: ${path}`;
}

/**
 * Writes a new secret and makes sure that it is on the disk: whole, or not at all.
 * @throws OnionhookError `ERR_KEY_FILE` when there is a file already: a key is never overwritten.
 */
export function writeSecretFile(path: string, text: string): void {
  try {
    writeWhole(path, `${text}\n`);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): OnionhookError {
  const code = errnoCode(cause) ?? "unknown";
  if (code === "EEXIST") {
    return new OnionhookError("ERR_KEY_FILE", `${path} exists and is not overwritten`, {
      hint: "name another file, or move that one away yourself",
      cause,
    });
  }
  if (code === "ENOENT") {
    return new OnionhookError("ERR_KEY_FILE", `${path} cannot be written: its folder does not exist`, {
      hint: `make the folder, or name another: mkdir -p -m 700 ${dirname(path)}`,
      cause,
    });
  }
  return new OnionhookError("ERR_KEY_FILE", `${path} cannot be written (${code})`, {
    hint: "choose a folder that you may write to",
    cause,
  });
}
