/**
 * The keys of a directory authority, made here so that no other program is needed: its long-term
 * identity, a signing key and the certificate by which the one vouches for the other, and the identity
 * of its relay half. Only the private network uses them.
 *
 * Source: Tor's dir-spec, "Creating key certificates"; tor-spec, "Relay keys and identities".
 */
import { constants, createHash, generateKeyPair, privateEncrypt, type KeyObject } from "node:crypto";
import { promisify } from "node:util";

/** Bits of RSA keys: what Tor demands of an authority's identity, its signing key and a relay. */
const IDENTITY_BITS = 3072;
const SIGNING_BITS = 2048;
const RELAY_BITS = 1024;

/** Milliseconds: a year, which is what tor-gencert writes when it is not told otherwise. */
const CERTIFICATE_LIFE_MS = 365 * 86_400_000;
/** Milliseconds that the certificate is older than now, so that a clock set back a little is no harm. */
const CERTIFICATE_BACKDATE_MS = 3_600_000;

interface KeyPair {
  publicKey: KeyObject;
  privateKey: KeyObject;
}

export interface AuthorityKeys {
  /** Contents of the files in the authority's `keys` folder, by name. Secret. */
  files: Readonly<Record<string, string>>;
  /** Fingerprint of the long-term identity: `v3ident` in a DirAuthority line. 40 hex digits. */
  v3Ident: string;
  /** Fingerprint of the relay half: the end of a DirAuthority line. 40 hex digits. */
  fingerprint: string;
}

/** New keys, valid for a year from `now` (milliseconds since 1970). Takes about half a second. */
export async function makeAuthorityKeys(now: number): Promise<AuthorityKeys> {
  const [identity, signing, relay] = await Promise.all([
    makeKey(IDENTITY_BITS),
    makeKey(SIGNING_BITS),
    makeKey(RELAY_BITS),
  ]);
  return {
    files: {
      authority_identity_key: privatePem(identity),
      authority_signing_key: privatePem(signing),
      authority_certificate: certificate(identity, signing, now),
      secret_id_key: privatePem(relay),
    },
    v3Ident: fingerprint(identity),
    fingerprint: fingerprint(relay),
  };
}

/** A key certificate, version 3: the long-term key signs the signing key, and the other way round. */
function certificate(identity: KeyPair, signing: KeyPair, now: number): string {
  const crossSignature = signature(signing, digest(identity));
  const body = [
    "dir-key-certificate-version 3",
    `fingerprint ${fingerprint(identity)}`,
    `dir-key-published ${torTime(now - CERTIFICATE_BACKDATE_MS)}`,
    `dir-key-expires ${torTime(now + CERTIFICATE_LIFE_MS)}`,
    `dir-identity-key\n${publicPem(identity)}`,
    `dir-signing-key\n${publicPem(signing)}`,
    `dir-key-crosscert\n${armour("ID SIGNATURE", crossSignature)}`,
    "dir-key-certification\n",
  ].join("\n");
  const hash = createHash("sha1").update(body).digest();
  return body + armour("SIGNATURE", signature(identity, hash)) + "\n";
}

async function makeKey(bits: number): Promise<KeyPair> {
  return promisify(generateKeyPair)("rsa", { modulusLength: bits, publicExponent: 65_537 });
}

/** Tor signs a bare SHA-1 digest with PKCS#1 padding, without the usual algorithm identifier. */
function signature(key: KeyPair, hash: Buffer): Buffer {
  return privateEncrypt({ key: key.privateKey, padding: constants.RSA_PKCS1_PADDING }, hash);
}

function digest(key: KeyPair): Buffer {
  return createHash("sha1")
    .update(key.publicKey.export({ type: "pkcs1", format: "der" }))
    .digest();
}

function fingerprint(key: KeyPair): string {
  return digest(key).toString("hex").toUpperCase();
}

function privatePem(key: KeyPair): string {
  return key.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
}

function publicPem(key: KeyPair): string {
  return key.publicKey.export({ type: "pkcs1", format: "pem" }).toString().trimEnd();
}

/** RFC 7468 text: base64 in lines of 64 characters. */
function armour(label: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----`;
}

/** `2026-11-21 12:00:00`, UTC. */
function torTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, "2026-11-21T12:00:00".length).replace("T", " ");
}
