/**
 * The WAMP *cryptobox* payload of Autobahn|Python: `nonce[24] || crypto_box(plaintext)`, that is
 * curve25519-xsalsa20-poly1305 with the MAC first. Frozen vectors: test/vectors/cryptobox.json.
 */
import nacl from "tweetnacl";
import { encodeBase64, encodeUtf8 } from "./bytes.ts";
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

/** NaCl's functions below `nacl.box`, which the package has and its types do not. */
const { crypto_secretbox: secretbox, crypto_core_hsalsa20: hsalsa20 } = (
  nacl as unknown as {
    lowlevel: {
      crypto_secretbox(
        c: Uint8Array,
        m: Uint8Array,
        length: number,
        nonce: Uint8Array,
        key: Uint8Array,
      ): number;
      crypto_core_hsalsa20(out: Uint8Array, input: Uint8Array, key: Uint8Array, constant: Uint8Array): number;
    };
  }
).lowlevel;

/** "expand 32-byte k", Salsa20's constant for keys of 32 bytes. */
const SIGMA = encodeUtf8("expand 32-byte k");

/** The shared key from what X25519 alone gave, where that is done elsewhere: NaCl's `crypto_box_beforenm`. */
export function sharedKeyOfX25519(secret: Uint8Array): Uint8Array {
  const shared = new Uint8Array(nacl.box.sharedKeyLength);
  hsalsa20(shared, new Uint8Array(16), secret, SIGMA);
  return shared;
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
  nonce: Uint8Array = nacl.randomBytes(NONCE_BYTES),
): void {
  // NaCl's form: 32 zero bytes before the plaintext; 16 zero bytes and the MAC before the ciphertext.
  const box = buffer.subarray(SEAL_OVERHEAD_BYTES - 2 * MAC_BYTES);
  box.fill(0, 0, 2 * MAC_BYTES);
  secretbox(box, box, box.length, nonce, shared);
  buffer.set(nonce);
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
