import { x25519 } from "@noble/curves/ed25519.js";
import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import { sharedKey } from "../../shared/shared-key.ts";
import { decodeBase64, decodeHex, encodeHex, encodeUtf8 } from "../../shared/bytes.ts";
import {
  NONCE_BYTES,
  open,
  seal,
  SEAL_OVERHEAD_BYTES,
  sealTag,
  sharedKeyOfX25519,
} from "../../shared/cryptobox.ts";
import vectors from "../vectors/cryptobox.json" with { type: "json" };

const originator = {
  secret: decodeBase64(vectors.keys.originator_priv_b64),
  public: decodeBase64(vectors.keys.originator_pub_b64),
};
const responder = {
  secret: decodeBase64(vectors.keys.responder_priv_b64),
  public: decodeBase64(vectors.keys.responder_pub_b64),
};
const shared = sharedKey(responder.public, originator.secret);
const notOpened = expect.objectContaining({ code: "ERR_NOT_OPENED" });

describe("the frozen vectors of Autobahn|Python", () => {
  it("are all here", () => {
    expect(vectors.vectors.map(({ topic }) => topic)).toEqual([
      "webhook.github.push",
      "webhook.github.issues",
      "webhook.github.ping",
      "webhook.github.empty",
    ]);
  });

  it("hold public keys that belong to their secret keys", () => {
    expect(x25519.getPublicKey(originator.secret)).toEqual(Uint8Array.from(originator.public));
    expect(x25519.getPublicKey(responder.secret)).toEqual(Uint8Array.from(responder.public));
  });

  test.for(vectors.vectors)("$topic is sealed bit for bit", (vector) => {
    const sealed = seal(encodeUtf8(vector.plaintext), shared, decodeHex(vector.nonce_hex));
    expect(encodeHex(sealed)).toBe(vector.ciphertext_hex);
    expect(sealed).toHaveLength(vector.ciphertext_len);
  });

  test.for(vectors.vectors)("$topic is opened with the responder's secret key", (vector) => {
    const opened = open(decodeHex(vector.ciphertext_hex), sharedKey(originator.public, responder.secret));
    expect(encodeHex(opened)).toBe(encodeHex(encodeUtf8(vector.plaintext)));
  });
});

describe("against tweetnacl, which shares no code with noble", () => {
  it("computes the same shared key, from either side, and from X25519 alone", () => {
    fc.assert(
      fc.property(bytesOf(32), bytesOf(32), (ours, theirs) => {
        const expected = nacl.box.before(x25519.getPublicKey(theirs), ours);
        expect(sharedKey(x25519.getPublicKey(ours), theirs)).toEqual(expected);
        const agreed = x25519.getSharedSecret(ours, x25519.getPublicKey(theirs));
        expect(sharedKeyOfX25519(agreed)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("seals and opens the same bytes", () => {
    fc.assert(
      fc.property(
        bytesOf(32),
        bytesOf(NONCE_BYTES),
        fc.uint8Array({ maxLength: 2000 }),
        (key, nonce, text) => {
          const sealed = seal(text, key, nonce);
          expect(encodeHex(sealed)).toBe(encodeHex(nonce) + encodeHex(nacl.secretbox(text, nonce, key)));
          expect(encodeHex(open(sealed, key))).toBe(encodeHex(text));
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("sealing", () => {
  it("takes a new nonce each time", () => {
    const nonces = Array.from({ length: 100 }, () =>
      encodeHex(seal(encodeUtf8("{}"), shared).subarray(0, NONCE_BYTES)),
    );
    expect(new Set(nonces).size).toBe(nonces.length);
  });

  it("gives bytes that fill their buffer, so that a store or a socket may take it whole", () => {
    const sealed = seal(encodeUtf8("{}"), shared);
    expect([sealed.byteOffset, sealed.buffer.byteLength]).toEqual([0, 2 + SEAL_OVERHEAD_BYTES]);
  });
});

describe("opening", () => {
  it("fails when any single bit was flipped", () => {
    const sealed = seal(encodeUtf8('{"a":1}'), shared);
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const altered = sealed.slice();
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => open(altered, shared), `bit ${bit}`).toThrow(notOpened);
    }
  });

  it("fails when bytes were cut off, added or moved", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.nat(),
        fc.uint8Array({ minLength: 1, maxLength: 20 }),
        (text, seed, extra) => {
          const sealed = seal(text, shared);
          const cut = seed % sealed.length;
          expect(() => open(sealed.subarray(0, cut), shared)).toThrow(notOpened);
          expect(() => open(sealed.subarray(cut + 1), shared)).toThrow(notOpened);
          expect(() => open(Uint8Array.of(...sealed, ...extra), shared)).toThrow(notOpened);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("fails, and does not crash, for anything shorter than nonce and MAC", () => {
    for (let size = 0; size <= SEAL_OVERHEAD_BYTES; size += 1) {
      expect(() => open(new Uint8Array(size), shared), `${size} bytes`).toThrow(notOpened);
    }
  });

  it("fails with any other pair of keys", () => {
    const sealed = seal(encodeUtf8("{}"), shared);
    const stranger = new Uint8Array(32).fill(7);
    expect(() => open(sealed, sharedKey(originator.public, stranger))).toThrow(notOpened);
    expect(() => open(sealed, sharedKey(responder.public, stranger))).toThrow(notOpened);
  });

  it("gives back an empty plaintext", () => {
    expect(open(seal(new Uint8Array(0), shared), shared)).toHaveLength(0);
  });
});

describe("the tag of sealed bytes", () => {
  it("is nonce and MAC, so that it differs whenever the same plaintext is sealed again", () => {
    const sealed = seal(encodeUtf8("{}"), shared);
    expect(encodeHex(decodeBase64(sealTag(sealed)))).toBe(encodeHex(sealed.subarray(0, 40)));
    expect(sealTag(seal(encodeUtf8("{}"), shared))).not.toBe(sealTag(sealed));
  });

  it("is not moved by what follows the MAC, which the MAC itself covers", () => {
    const sealed = seal(encodeUtf8("{}"), shared);
    expect(sealTag(Uint8Array.of(...sealed, 1, 2, 3))).toBe(sealTag(sealed));
  });
});

function bytesOf(size: number): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ minLength: size, maxLength: size });
}
