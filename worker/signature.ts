import { decodeHex, encodeUtf8 } from "../shared/bytes.ts";
import { SIGNATURE } from "../shared/delivery.ts";

const HMAC = { name: "HMAC", hash: "SHA-256" };

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
  const key = await crypto.subtle.importKey("raw", encodeUtf8(secret), HMAC, false, ["verify"]);
  return crypto.subtle.verify(HMAC, key, decodeHex(signature.slice("sha256=".length)), rawBody);
}
