/**
 * A folder as Tor's HiddenServiceDir wants it, from keys of ours: the address is the one that ADD_ONION gives
 * the same seed, and nobody but its clients may connect.
 *
 * It is written beside its place and then renamed, so that it is there whole or not at all: one that lacked its
 * clients would be open to everybody.
 *
 * Sources: tor(1), "HiddenServiceDir" and "CLIENT AUTHORIZATION"; the key files' heads: crypto_ed25519.c.
 */
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoCode, OnionhookError } from "../errors.ts";
import { clientAuthLine, expandedKey, onionAddress, onionPublicKey } from "./onion-keys.ts";

/** Bytes of what a key file begins with, filled up with NULs. */
const HEAD_BYTES = 32;

/**
 * Writes the folder (0700) and its files (0600). It must belong to the user that tor runs as.
 * @param folder must be empty, or not be there: nothing is overwritten, nor let in that is there already
 * @param clients by name, x25519 public keys; without any, the service is open to everybody
 * @throws OnionhookError `ERR_KEY_FILE` when it cannot be written; `ERR_TOR_CLIENT_KEY` for a client's key that
 *   anybody could use. Nothing is left behind then.
 */
export async function writeHiddenServiceDir(
  folder: string,
  seed: Uint8Array,
  clients: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  const files = new Map<string, string | Buffer>([
    ...Object.entries(clients).map(
      ([name, key]) => [join(CLIENTS, `${name}.auth`), `${clientAuthLine(key)}\n`] as const,
    ),
    ["hs_ed25519_secret_key", keyFile("secret", expandedKey(seed))],
    ["hs_ed25519_public_key", keyFile("public", onionPublicKey(seed))],
    ["hostname", `${onionAddress(seed)}\n`],
  ]);
  try {
    await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    // 0700 from its first moment.
    const made = await mkdtemp(`${folder}.`);
    try {
      await mkdir(join(made, CLIENTS), { mode: 0o700 });
      for (const [name, content] of files) {
        // One after the other, so that a failure leaves no write behind.
        // oxlint-disable-next-line no-await-in-loop
        await writeFile(join(made, name), content, { mode: 0o600, flag: "wx" });
      }
      // Takes the place of an empty folder, and of nothing else.
      await rename(made, folder);
    } catch (error) {
      await rm(made, { recursive: true });
      throw error;
    }
  } catch (error) {
    throw unwritable(folder, error);
  }
}

const CLIENTS = "authorized_clients";

function unwritable(folder: string, cause: unknown): OnionhookError {
  const code = errnoCode(cause) ?? "unknown";
  const isTaken = code === "ENOTEMPTY" || code === "EEXIST";
  return new OnionhookError(
    "ERR_KEY_FILE",
    isTaken
      ? `${folder} is not empty, and nothing in it is overwritten`
      : `${folder} cannot be written (${code})`,
    {
      hint: isTaken
        ? "name a folder that is not there yet, or move that one away yourself"
        : "name a folder that is not there yet, in one that you may write to",
      cause,
    },
  );
}

function keyFile(visibility: "secret" | "public", key: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(`== ed25519v1-${visibility}: type0 ==`, "latin1");
  return Buffer.concat([head, key]);
}
