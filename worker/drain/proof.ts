import { decodeBase64 } from "../../shared/bytes.ts";
import { drainProof, type ToEdge } from "../../shared/drain.ts";
import type { EdgeConfig } from "../config.ts";
import type { Challenged } from "./machine.ts";

/** Of Ed25519 (RFC 8032). */
const SIGNATURE_BYTES = 64;

/** Whether a `hello` answers the challenge with a key of a relay that may drain this recipient's streams. */
export async function isProven(
  { relay, signature }: ToEdge & { type: "hello" },
  { host, challenge }: Challenged,
  place: { stream: string; recipient: string },
  { relays }: EdgeConfig,
): Promise<boolean> {
  const grant = relays.get(relay);
  if (!grant || (grant.recipients && !grant.recipients.includes(place.recipient))) return false;
  const proof = drainProof(host, place.stream, decodeBase64(challenge));
  for (const key of grant.keys) if (await isSignature(signature, proof, key)) return true;
  return false;
}

async function isSignature(base64: string, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  let signature: Uint8Array;
  try {
    signature = decodeBase64(base64);
  } catch {
    return false;
  }
  // WebCrypto throws for any other length.
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, message);
}
