import nacl from "tweetnacl";
import { sharedKeyOfX25519 } from "./cryptobox.ts";
import { OnionhookError } from "./errors.ts";

/**
 * The key that two parties share; constant for a pair of keys, so compute it once (about 1 ms).
 * @throws OnionhookError `ERR_KEY` for a public key of low order: everybody would share it.
 */
export function sharedKey(theirPublicKey: Uint8Array, ourSecretKey: Uint8Array): Uint8Array {
  const agreed = nacl.scalarMult(ourSecretKey, theirPublicKey);
  if (agreed.every((byte) => byte === 0))
    throw new OnionhookError(
      "ERR_KEY",
      "a public key is a low-order point: anybody could open what is sealed to it",
    );
  return sharedKeyOfX25519(agreed);
}
