/**
 * Keys as text: `onionhook-<kind>-<visibility>:<base64 of 32 bytes>`.
 *
 * The prefix names kind and visibility, so that a secret pasted where a public key belongs, or a
 * signing key where a box key belongs, is refused by name instead of failing a delivery later.
 */
import { decodeBase64, encodeBase64, encodeHex } from "./bytes.ts";
import { OnionhookError } from "./errors.ts";

/** `box`: Curve25519, NaCl box. `sign`: Ed25519 seed or public key, for WAMP-cryptosign and the drain.
 *  `onion-client`: x25519 of Tor's client authorisation. `onion-service`: Ed25519 seed of an onion address. */
export type KeyKind = "box" | "sign" | "onion-client" | "onion-service";
export type KeyVisibility = "public" | "secret";

/** Every key of every kind, public or secret, has 32 bytes. */
export const KEY_BYTES = 32;

const FORMAT = /^onionhook-(box|sign|onion-client|onion-service)-(public|secret):(\S+)$/;

export function formatKey(kind: KeyKind, visibility: KeyVisibility, key: Uint8Array): string {
  if (key.length !== KEY_BYTES) throw new RangeError(`a ${kind} key has ${KEY_BYTES} bytes`);
  return `onionhook-${kind}-${visibility}:${encodeBase64(key)}`;
}

/** Whether it is meant as a key of ours, of whatever kind. */
export function isKeyText(text: string): boolean {
  return text.startsWith("onionhook-");
}

/**
 * Reads a key that must be of the given kind and visibility; surrounding white space is ignored.
 * `field` names the setting or file that it came from. What was found is never repeated in an error.
 * @throws OnionhookError `ERR_KEY`
 */
export function parseKey(
  text: string,
  kind: KeyKind,
  visibility: KeyVisibility,
  field: string,
): Uint8Array<ArrayBuffer> {
  const match = FORMAT.exec(text.trim());
  const expected = `onionhook-${kind}-${visibility}:…`;
  if (!match) throw keyError(field, `is no key of ours; ${expected} was expected`);
  if (match[1] !== kind || match[2] !== visibility) {
    throw keyError(field, `holds a ${match[2]} key of kind ${match[1]}; ${expected} was expected`);
  }
  let key: Uint8Array<ArrayBuffer>;
  try {
    key = decodeBase64(match[3] ?? "");
  } catch {
    throw keyError(field, "is not base64 after its prefix");
  }
  if (key.length !== KEY_BYTES) throw keyError(field, `has ${key.length} bytes instead of ${KEY_BYTES}`);
  const isSealedTo = kind === "box" || kind === "onion-client";
  if (visibility === "public" && isSealedTo && isLowOrder(key)) {
    throw keyError(field, "is a low-order point: anybody could open what is sealed to it");
  }
  return key;
}

/** The field of Curve25519, RFC 7748 §4.1. */
const FIELD = 2n ** 255n - 19n;
/**
 * The u-coordinates of the points whose order divides 8, on the curve and on its twist, neutral element
 * included: https://cr.yp.to/ecdh.html#validate.
 */
const LOW_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  FIELD - 1n,
]);

/**
 * Whether a Curve25519 public key leads to the all-zero shared secret, whatever the secret key: a clamped
 * scalar is a multiple of 8. A u-coordinate is read as X25519 reads it (RFC 7748 §5): little-endian, the
 * top bit ignored, modulo the field, so that every encoding of a low-order point is found.
 */
function isLowOrder(publicKey: Uint8Array): boolean {
  const u = BigInt.asUintN(255, BigInt(`0x${encodeHex(publicKey.toReversed())}`));
  return LOW_ORDER.has(u % FIELD);
}

function keyError(field: string, fault: string): OnionhookError {
  return new OnionhookError("ERR_KEY", `${field} ${fault}`, {
    hint: "is it the right half of the right key? New ones: npm run onionhook -- keys new",
  });
}
