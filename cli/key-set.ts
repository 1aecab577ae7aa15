/**
 * The keys of a deployment: what each is for, its file, and what its public half looks like to whoever
 * needs it. `npm run onionhook -- keys new` and `npm start` both make them here.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import nacl from "tweetnacl";
import { encodeHex } from "../shared/bytes.ts";
import { errnoCode, OnionhookError } from "../shared/errors.ts";
import { readKeyFile, readSecretFile, writeSecretFile } from "../shared/host/key-file.ts";
import { formatKey, KEY_BYTES, type KeyKind } from "../shared/keys.ts";
import { clientAuthLine, clientAuthPublicKey, onionAddress } from "../shared/tor/onion-keys.ts";

/** Name of a key, and the stem of its file. */
export const KEYS = {
  "edge-box": "box",
  "builder-box": "box",
  "builder-wamp": "sign",
  "relay-wamp": "sign",
  "relay-drain": "sign",
  "relay-box": "box",
  "router-onion": "onion-service",
  "relay-onion": "onion-client",
  "builder-onion": "onion-client",
  webhook: "shared secret",
} as const satisfies Record<string, KeyKind | "shared secret">;

export type KeyName = keyof typeof KEYS;

export interface MadeKey {
  name: KeyName;
  file: string;
  /** False when the file was there already and was kept. */
  created: boolean;
  /** What others may know of it, by what they need; empty for the webhook's secret. */
  public: Readonly<Record<string, string>>;
}

export function isKeyName(name: string): name is KeyName {
  return Object.hasOwn(KEYS, name);
}

export function keyFile(folder: string, name: KeyName): string {
  return join(folder, `${name}.key`);
}

/**
 * Makes a key in `folder` (0700), or keeps the one that is there.
 * @throws OnionhookError `ERR_KEY_FILE`, or `ERR_KEY` when what is there is not such a key.
 */
export function makeKey(folder: string, name: KeyName): MadeKey {
  makeFolder(folder);
  const file = keyFile(folder, name);
  const kind = KEYS[name];
  const created = !existsSync(file);
  if (created) {
    const secret = randomBytes(KEY_BYTES);
    writeSecretFile(file, kind === "shared secret" ? encodeHex(secret) : formatKey(kind, "secret", secret));
  }
  return { name, file, created, public: publicHalf(file, kind) };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new OnionhookError("ERR_KEY_FILE", `${folder} cannot be made (${errnoCode(cause) ?? "unknown"})`, {
      hint: `choose a folder that you may write to, or have root make it: install -d -m 700 -o ${process.geteuid?.()} ${folder}`,
      cause,
    });
  }
}

function publicHalf(file: string, kind: KeyKind | "shared secret"): Record<string, string> {
  if (kind === "shared secret") {
    readSecretFile(file);
    return {};
  }
  const secret = readKeyFile(file, kind);
  switch (kind) {
    case "box":
      return { key: formatKey(kind, "public", nacl.box.keyPair.fromSecretKey(secret).publicKey) };
    case "sign": {
      const { publicKey } = nacl.sign.keyPair.fromSeed(secret);
      return { key: formatKey(kind, "public", publicKey), crossbar: encodeHex(publicKey) };
    }
    case "onion-client": {
      const publicKey = clientAuthPublicKey(secret);
      return { key: formatKey(kind, "public", publicKey), auth: clientAuthLine(publicKey) };
    }
    case "onion-service":
      return { address: onionAddress(secret) };
    default:
      return kind satisfies never;
  }
}
