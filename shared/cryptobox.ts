/**
 * The WAMP *cryptobox* payload of Autobahn|Python: `nonce[24] || crypto_box(plaintext)`, that is
 * curve25519-xsalsa20-poly1305 with the MAC first. Frozen vectors: test/vectors/cryptobox.json.
 */
import nacl from "tweetnacl";
import { concatBytes, encodeBase64 } from "./bytes.ts";
import { OnionhookError } from "./errors.ts";

/** How WAMP names the scheme in a message's `enc_algo`. */
export const CRYPTOBOX = "cryptobox";

export const NONCE_BYTES = 24;
const MAC_BYTES = 16;
/** What sealing adds to a plaintext. */
export const SEAL_OVERHEAD_BYTES = NONCE_BYTES + MAC_BYTES;

/** The key that two parties share; constant for a pair of keys, so compute it once (about 1 ms). */
export function sharedKey(theirPublicKey: Uint8Array, ourSecretKey: Uint8Array): Uint8Array {
  return nacl.box.before(theirPublicKey, ourSecretKey);
}

/** Seals to the holder of the other key. A nonce must never be used twice: leave it out except in a vector test. */
export function seal(
  plaintext: Uint8Array,
  shared: Uint8Array,
  nonce = nacl.randomBytes(NONCE_BYTES),
): Uint8Array<ArrayBuffer> {
  return concatBytes(nonce, nacl.box.after(plaintext, nonce, shared));
}

/** @throws OnionhookError `ERR_NOT_OPENED` when the bytes were not sealed with this shared key, or were altered. */
export function open(sealed: Uint8Array, shared: Uint8Array): Uint8Array {
  const opened =
    sealed.length < SEAL_OVERHEAD_BYTES
      ? null
      : nacl.box.open.after(sealed.subarray(NONCE_BYTES), sealed.subarray(0, NONCE_BYTES), shared);
  if (!opened)
    throw new OnionhookError("ERR_NOT_OPENED", "the sealed bytes do not open with this pair of keys");
  return opened;
}

/**
 * Nonce and MAC in base64: names these sealed bytes and no others, as far as anybody without the shared
 * key can tell. Cheaper than a digest of up to 25 MiB, and there before the first await.
 */
export function sealTag(sealed: Uint8Array): string {
  return encodeBase64(sealed.subarray(0, SEAL_OVERHEAD_BYTES));
}
