/**
 * X25519 by WebCrypto, once for each pair of keys: in a fresh isolate tweetnacl's would cost more than the free plan's
 * 10 ms. The rest of NaCl's box is tweetnacl's.
 */
import { concatBytes, encodeBase64, encodeUtf8 } from "../shared/bytes.ts";
import { sharedKeyOfX25519 } from "../shared/cryptobox.ts";
import type { EdgeConfig, Recipient } from "./config.ts";
import { keysFor } from "./recipient.ts";

/** The key that the edge shares with one key of a recipient. */
export interface PairKey {
  /** Names the pair in a row of the outbox; tells nothing of the key. */
  id: string;
  shared: Uint8Array;
}

/** The keys of one recipient. */
export interface Keyring {
  /** What an event on this topic is sealed with; undefined when the recipient has no key for it. */
  forTopic(topic: string): PairKey | undefined;
  /** The key by its name, unless it was revoked. */
  byId(id: string): PairKey | undefined;
  readonly ids: readonly string[];
}

export async function openKeyring({ boxSecret }: EdgeConfig, recipient: Recipient): Promise<Keyring> {
  const secret = await importSecret(boxSecret);
  const pairs = new Map<Uint8Array, PairKey>();
  for (const publicKey of [...recipient.keys.values()].flat()) {
    pairs.set(publicKey, await pairWith(publicKey, secret));
  }
  const byId = new Map([...pairs.values()].map((pair) => [pair.id, pair]));
  return {
    forTopic(topic) {
      const [current] = keysFor(recipient, topic);
      return current && pairs.get(current);
    },
    byId: (id) => byId.get(id),
    ids: [...byId.keys()],
  };
}

async function pairWith(publicKey: Uint8Array, secret: CryptoKey): Promise<PairKey> {
  const theirs = await crypto.subtle.importKey("raw", publicKey, "X25519", false, []);
  // Workers' types call the field $public; the runtime takes the standard's name.
  const algorithm: SubtleCryptoDeriveKeyAlgorithm & { public: CryptoKey } = {
    name: "X25519",
    public: theirs,
  };
  const agreed = new Uint8Array(await crypto.subtle.deriveBits(algorithm, secret, 256));
  const shared = sharedKeyOfX25519(agreed);
  const digest = await crypto.subtle.digest(
    "SHA-256",
    concatBytes(encodeUtf8("onionhook pair key\0"), shared),
  );
  return { id: encodeBase64(new Uint8Array(digest, 0, 9)), shared };
}

/** What stands before the 32 bytes of a secret X25519 key in PKCS #8 (RFC 8410 §7). */
const PKCS8 = Uint8Array.of(48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32);

function importSecret(secret: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("pkcs8", concatBytes(PKCS8, secret), "X25519", false, ["deriveBits"]);
}
