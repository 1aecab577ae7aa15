/**
 * Keys and names of v3 onion services, from 32-byte seeds that we keep ourselves.
 *
 * Sources: Tor's rend-spec-v3 (ONIONADDRESS, CLIENT-AUTH-MGMT), control-spec (ADD_ONION), RFC 8032
 * section 5.1.5 (expansion of an ed25519 seed), RFC 4648 (base32).
 */
import { createHash, createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { OnionhookError } from "../errors.ts";

/** Bytes of an ed25519 seed, and of either half of an x25519 pair. */
const KEY_BYTES = 32;
/** Onion address version 3 (rend-spec-v3). */
const VERSION = Buffer.of(3);
/** Bytes of the checksum inside an address. */
const CHECKSUM_BYTES = 2;
/** An address without `.onion`: 35 bytes in base32. */
const SERVICE_NAME = /^[a-z2-7]{56}$/;

/** DER of a PKCS#8 private key up to its 32 bytes (RFC 8410): Node takes no raw private keys. */
const PKCS8_PREFIX = {
  ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
  x25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
};
/** The same for an x25519 public key in SubjectPublicKeyInfo. */
const X25519_SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

/**
 * The address of the onion service with this ed25519 seed, `<56 characters>.onion`.
 * @throws RangeError when the seed is not 32 bytes
 */
export function onionAddress(seed: Uint8Array): string {
  return `${serviceName(onionPublicKey(seed))}.onion`;
}

/** Whether it is the address of an onion service, below which there may be names: Tor looks at none of them. */
export function isOnionAddress(hostname: string): boolean {
  const name = /^(?:.+\.)?([^.]+)\.onion$/.exec(hostname)?.[1];
  return name !== undefined && isServiceName(name);
}

/** Whether checksum and version are those of the key in it. */
function isServiceName(name: string): boolean {
  return SERVICE_NAME.test(name) && serviceName(fromBase32(name).subarray(0, KEY_BYTES)) === name;
}

/** The address without `.onion`. */
function serviceName(publicKey: Buffer): string {
  const checksum = createHash("sha3-256")
    .update(".onion checksum")
    .update(publicKey)
    .update(VERSION)
    .digest()
    .subarray(0, CHECKSUM_BYTES);
  return base32(Buffer.concat([publicKey, checksum, VERSION])).toLowerCase();
}

/** The ed25519 public key of the service with this seed, 32 bytes. */
export function onionPublicKey(seed: Uint8Array): Buffer {
  return rawPublic(privateKey("ed25519", seed));
}

/** The seed's expanded secret key, 64 bytes: SHA-512 with the scalar's bits clamped. Secret. */
export function expandedKey(seed: Uint8Array): Buffer {
  const key = createHash("sha512").update(bytes32(seed, "seed")).digest();
  key.writeUInt8(key.readUInt8(0) & 0b1111_1000, 0);
  key.writeUInt8((key.readUInt8(31) & 0b0011_1111) | 0b0100_0000, 31);
  return key;
}

/** The key as ADD_ONION takes it, `ED25519-V3:<base64>`. Secret. */
export function onionKeyBlob(seed: Uint8Array): string {
  return `ED25519-V3:${expandedKey(seed).toString("base64")}`;
}

/** The x25519 public key that a client of an onion service is authorised by, 32 bytes. */
export function clientAuthPublicKey(secret: Uint8Array): Buffer {
  return rawPublic(privateKey("x25519", secret));
}

/** {@link clientAuthPublicKey} in base32, 52 characters, as Tor writes it. */
export function clientAuthPublic(secret: Uint8Array): string {
  return base32(clientAuthPublicKey(secret));
}

/**
 * An x25519 public key in base32.
 * @throws OnionhookError `ERR_TOR_CLIENT_KEY` for a key of low order: anybody could use it
 */
export function clientAuthText(publicKey: Uint8Array): string {
  const raw = bytes32(publicKey, "client key");
  const der = Buffer.concat([X25519_SPKI_PREFIX, raw]);
  try {
    // OpenSSL refuses an all-zero shared secret, which is what every low-order point gives.
    diffieHellman({
      privateKey: privateKey("x25519", Buffer.alloc(KEY_BYTES, 1)),
      publicKey: createPublicKey({ key: der, format: "der", type: "spki" }),
    });
  } catch (cause) {
    throw new OnionhookError("ERR_TOR_CLIENT_KEY", "a client's public key is not usable", {
      hint: "Make a new pair of keys for that client.",
      cause,
    });
  }
  return base32(raw);
}

/**
 * What stands in a file `*.auth` of a service's `authorized_clients`.
 * @throws OnionhookError `ERR_TOR_CLIENT_KEY`
 */
export function clientAuthLine(publicKey: Uint8Array): string {
  return `descriptor:x25519:${clientAuthText(publicKey)}`;
}

/**
 * What stands in a file `*.auth_private` of Tor's ClientOnionAuthDir. Secret: mode 0600.
 * @param onion in any case, with or without `.onion`
 * @throws RangeError when `onion` is not the address of an onion service
 */
export function clientAuthFile(onion: string, secret: Uint8Array): string {
  const name = onion.toLowerCase().replace(/\.onion$/, "");
  if (!isServiceName(name)) throw new RangeError("onion: expected the address of an onion service");
  return `${name}:descriptor:x25519:${base32(bytes32(secret, "secret"))}\n`;
}

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** Of whole bytes in lower case: five bits a character. */
function fromBase32(text: string): Buffer {
  let bits = 0n;
  for (const character of text.toUpperCase()) bits = (bits << 5n) | BigInt(BASE32.indexOf(character));
  return Buffer.from(bits.toString(16).padStart((text.length * 5) / 4, "0"), "hex");
}

/** RFC 4648 base32, upper case, without padding. */
export function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32.charAt((held >> (bits - 5)) & 31);
  }
  return bits === 0 ? text : text + BASE32.charAt((held << (5 - bits)) & 31);
}

function privateKey(kind: keyof typeof PKCS8_PREFIX, secret: Uint8Array): KeyObject {
  const der = Buffer.concat([PKCS8_PREFIX[kind], bytes32(secret, "secret")]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

function rawPublic(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-KEY_BYTES);
}

function bytes32(value: Uint8Array, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name}: expected a Uint8Array`);
  if (value.length !== KEY_BYTES) throw new RangeError(`${name}: expected ${KEY_BYTES} bytes`);
  return value;
}
