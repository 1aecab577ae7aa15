/**
 * A folder as Tor's HiddenServiceDir wants it, from keys of ours: the address is the one that ADD_ONION gives
 * the same seed, and nobody but its clients may connect.
 *
 * Sources: tor(1), "HiddenServiceDir" and "CLIENT AUTHORIZATION"; the key files' heads: crypto_ed25519.c.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clientAuthLine, expandedKey, onionAddress, onionPublicKey } from "./onion-keys.ts";

/** Bytes of what a key file begins with, filled up with NULs. */
const HEAD_BYTES = 32;

/**
 * Writes the folder (0700) and its files (0600). It must belong to the user that tor runs as.
 * @param clients by name, x25519 public keys; without any, the service is open to everybody
 * @throws Node's `EEXIST` when there is a key already: it is never overwritten. OnionhookError
 *   `ERR_TOR_CLIENT_KEY` for a client's key that anybody could use.
 */
export async function writeHiddenServiceDir(
  folder: string,
  seed: Uint8Array,
  clients: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  const authorized = join(folder, "authorized_clients");
  await mkdir(authorized, { recursive: true, mode: 0o700 });
  // mkdir leaves the mode of a folder that is there, and tor refuses one that others may enter.
  await Promise.all([chmod(folder, 0o700), chmod(authorized, 0o700)]);
  const write = (path: string, content: string | Buffer): Promise<void> =>
    writeFile(path, content, { mode: 0o600, flag: "wx" });
  await write(join(folder, "hs_ed25519_secret_key"), keyFile("secret", expandedKey(seed)));
  await write(join(folder, "hs_ed25519_public_key"), keyFile("public", onionPublicKey(seed)));
  await write(join(folder, "hostname"), `${onionAddress(seed)}\n`);
  for (const [name, key] of Object.entries(clients)) {
    // One after the other, so that a failure leaves no write behind.
    // oxlint-disable-next-line no-await-in-loop
    await write(join(authorized, `${name}.auth`), `${clientAuthLine(key)}\n`);
  }
}

function keyFile(visibility: "secret" | "public", key: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(`== ed25519v1-${visibility}: type0 ==`, "latin1");
  return Buffer.concat([head, key]);
}
