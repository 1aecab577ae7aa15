import nacl from "tweetnacl";

/** The key that two parties share; constant for a pair of keys, so compute it once (about 1 ms). */
export function sharedKey(theirPublicKey: Uint8Array, ourSecretKey: Uint8Array): Uint8Array {
  return nacl.box.before(theirPublicKey, ourSecretKey);
}
