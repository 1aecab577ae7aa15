/**
 * The WAMP *cryptobox* payload of Autobahn|Python: `nonce[24] || crypto_box(plaintext)`, that is
 * curve25519-xsalsa20-poly1305 with the MAC first. Frozen vectors: test/vectors/cryptobox.json.
 */
import { hsalsa, xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { encodeBase64, encodeUtf8 } from "./bytes.ts";
import { OnionhookError } from "./errors.ts";

/** How WAMP names the scheme in a message's `enc_algo`. */
export const CRYPTOBOX = "cryptobox";

export const NONCE_BYTES = 24;
const MAC_BYTES = 16;
/** What sealing adds to a plaintext. */
export const SEAL_OVERHEAD_BYTES = NONCE_BYTES + MAC_BYTES;

/** "expand 32-byte k", Salsa20's constant for keys of 32 bytes. */
const SIGMA = encodeUtf8("expand 32-byte k");

/**
 * The key that two parties share, NaCl's `crypto_box_beforenm`, from what X25519 gave: constant for a pair of keys,
 * so compute it once.
 */
export function sharedKeyOfX25519(agreed: Uint8Array): Uint8Array {
  const key = new Uint32Array(8);
  hsalsa(words(SIGMA), words(agreed), new Uint32Array(4), key);
  return new Uint8Array(key.buffer);
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

/** Seals to the holder of the other key. A nonce must never be used twice: leave it out except in a vector test. */
export function seal(plaintext: Uint8Array, shared: Uint8Array, nonce?: Uint8Array): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(SEAL_OVERHEAD_BYTES + plaintext.length);
  buffer.set(plaintext, SEAL_OVERHEAD_BYTES);
  sealInPlace(buffer, shared, nonce);
  return buffer;
}

/**
 * {@link seal} without a second buffer: the plaintext stands behind {@link SEAL_OVERHEAD_BYTES} free bytes, and
 * the whole becomes the sealed bytes.
 */
export function sealInPlace(
  buffer: Uint8Array,
  shared: Uint8Array,
  nonce: Uint8Array = crypto.getRandomValues(new Uint8Array(NONCE_BYTES)),
): void {
  // The cipher writes 16 bytes of its own, the MAC and the ciphertext: the first are where the nonce ends.
  const cipher = xsalsa20poly1305(shared, nonce);
  cipher.encrypt(buffer.subarray(SEAL_OVERHEAD_BYTES), buffer.subarray(SEAL_OVERHEAD_BYTES - 2 * MAC_BYTES));
  buffer.set(nonce);
}

/** @throws OnionhookError `ERR_NOT_OPENED` when the bytes were not sealed with this shared key, or were altered. */
export function open(sealed: Uint8Array, shared: Uint8Array): Uint8Array {
  try {
    return xsalsa20poly1305(shared, sealed.subarray(0, NONCE_BYTES)).decrypt(sealed.subarray(NONCE_BYTES));
  } catch (cause) {
    throw new OnionhookError("ERR_NOT_OPENED", "the sealed bytes do not open with this pair of keys", {
      cause,
    });
  }
}

/**
 * Nonce and MAC in base64: names these sealed bytes and no others, as far as anybody without the shared
 * key can tell. Cheaper than a digest of up to 25 MiB, and there before the first await.
 */
export function sealTag(sealed: Uint8Array): string {
  return encodeBase64(sealed.subarray(0, SEAL_OVERHEAD_BYTES));
}
