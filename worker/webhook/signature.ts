import { decodeHex, encodeUtf8 } from "../../shared/bytes.ts";
import { SIGNATURE } from "../../shared/delivery.ts";

const HMAC = { name: "HMAC", hash: "SHA-256" };

export function hmacKey(secret: Uint8Array, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", secret, HMAC, false, [use]);
}

/** Of the configured secrets, which are few: importing one takes longer than the signature of a small body. */
const verifyKeys = new Map<string, CryptoKey>();

/**
 * Whether `signature` (`sha256=` and 64 hex digits) is GitHub's HMAC-SHA256 of the raw body. The
 * comparison is the runtime's own, in constant time. Anything not of that form is false.
 */
export async function verifySignature(
  secret: string,
  rawBody: Uint8Array,
  signature: string,
): Promise<boolean> {
  if (!SIGNATURE.test(signature)) return false;
  const key = verifyKeys.get(secret) ?? (await hmacKey(encodeUtf8(secret), "verify"));
  verifyKeys.set(secret, key);
  return crypto.subtle.verify(HMAC, key, decodeHex(signature.slice("sha256=".length)), rawBody);
}
