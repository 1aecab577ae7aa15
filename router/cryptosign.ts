/**
 * WAMP-cryptosign, the router's side: the client signs a challenge with its Ed25519 key and sends
 * signature and challenge in one, 96 bytes in hex.
 * Source: WAMP Advanced Profile, "WAMP-Cryptosign"; channel binding is not offered, since the
 * connection has no TLS of its own.
 */
import { createPublicKey, timingSafeEqual, verify, type KeyObject } from "node:crypto";

export const CHALLENGE_BYTES = 32;

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** What goes before a raw Ed25519 key to make it a SubjectPublicKeyInfo, RFC 8410 §4. */
const SPKI_HEADER = Buffer.from("302a300506032b6570032100", "hex");

/**
 * Keys of small order, sign bit cleared: under them anybody can make a signature for any message, the
 * all-zero placeholder among them. Source: libsodium, `ge25519_has_small_order`.
 */
const SMALL_ORDER = new Set([
  `00${"00".repeat(31)}`,
  `01${"00".repeat(31)}`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
]);

/**
 * The public key that 64 lower-case hex digits name (lower case, since Crossbar.io compares the text),
 * or undefined when they name none that can be trusted.
 */
export function parseVerifyKey(hex: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{64}$/u.test(hex)) return undefined;
  const key = Buffer.from(hex, "hex");
  const unsigned = Buffer.from(key);
  unsigned.writeUInt8(unsigned.readUInt8(KEY_BYTES - 1) & 0x7f, KEY_BYTES - 1);
  return SMALL_ORDER.has(unsigned.toString("hex")) ? undefined : key;
}

/** Whether `signature`, as it came in AUTHENTICATE, answers this very challenge under this key. */
export function answersChallenge(signature: string, challenge: Uint8Array, key: Uint8Array): boolean {
  if (!/^[0-9a-f]{192}$/iu.test(signature)) return false;
  const bytes = Buffer.from(signature, "hex");
  if (!timingSafeEqual(bytes.subarray(SIGNATURE_BYTES), challenge)) return false;
  return verify(null, challenge, keyObject(key), bytes.subarray(0, SIGNATURE_BYTES));
}

function keyObject(key: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_HEADER, key]), format: "der", type: "spki" });
}
