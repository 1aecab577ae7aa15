import { x25519 } from "@noble/curves/ed25519.js";
import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import { sharedKey } from "../../shared/shared-key.ts";
import { encodeBase64, encodeHex } from "../../shared/bytes.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { formatKey, KEY_BYTES, type KeyKind, type KeyVisibility, parseKey } from "../../shared/keys.ts";

const KINDS = ["box", "sign", "onion-client", "onion-service"] as const;
const VISIBILITIES = ["public", "secret"] as const;
const everySort = KINDS.flatMap((kind) => VISIBILITIES.map((visibility) => ({ kind, visibility })));

const secret = Uint8Array.from({ length: KEY_BYTES }, (_, index) => 0x61 + index);
const secretText = encodeBase64(secret);

describe("a key as text", () => {
  it("names kind and visibility before the base64", () => {
    expect(formatKey("box", "public", new Uint8Array(32))).toBe(
      "onionhook-box-public:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    );
    expect(formatKey("onion-client", "secret", new Uint8Array(32).fill(255))).toBe(
      "onionhook-onion-client-secret://////////////////////////////////////////8=",
    );
  });

  it("is read back as the same bytes, for every kind and visibility", () => {
    const anyKey = fc.uint8Array({ minLength: KEY_BYTES, maxLength: KEY_BYTES });
    for (const { kind, visibility } of everySort) {
      fc.assert(
        fc.property(anyKey, (bytes) => {
          // A low-order point is refused, by a test of its own.
          fc.pre(kind !== "box" || !bytes.every((byte) => byte < 2));
          const text = formatKey(kind, visibility, bytes);
          expect(encodeHex(parseKey(text, kind, visibility, "KEY"))).toBe(encodeHex(bytes));
        }),
        { numRuns: 50 },
      );
    }
  });

  it("may stand between white space, as in a file", () => {
    const text = formatKey("sign", "secret", secret);
    expect(parseKey(`\n  ${text}\r\n`, "sign", "secret", "KEY")).toEqual(secret);
  });

  test.for([0, 31, 33, 64])("is not made from %i bytes", (size) => {
    expect(() => formatKey("box", "secret", new Uint8Array(size))).toThrow(RangeError);
  });
});

describe("a wrong key", () => {
  const faults: { name: string; text: string; says: string }[] = [
    { name: "an empty text", text: "", says: "is no key of ours" },
    { name: "bare base64", text: secretText, says: "is no key of ours" },
    { name: "hex", text: encodeHex(secret), says: "is no key of ours" },
    { name: "an unknown kind", text: `onionhook-bax-secret:${secretText}`, says: "is no key of ours" },
    { name: "an unknown visibility", text: `onionhook-box-private:${secretText}`, says: "is no key of ours" },
    { name: "another case", text: `Onionhook-box-secret:${secretText}`, says: "is no key of ours" },
    { name: "two keys", text: `onionhook-box-secret:${secretText} ${secretText}`, says: "is no key of ours" },
    {
      name: "a key inside a sentence",
      text: `KEY=onionhook-box-secret:${secretText}`,
      says: "is no key of ours",
    },
    { name: "no key after the prefix", text: "onionhook-box-secret:", says: "is no key of ours" },
    {
      name: "characters outside base64",
      text: `onionhook-box-secret:${"!".repeat(44)}`,
      says: "is not base64",
    },
    {
      name: "base64 of the URL alphabet",
      text: `onionhook-box-secret:${"_".repeat(43)}=`,
      says: "is not base64",
    },
    {
      name: "base64 without its padding",
      text: `onionhook-box-secret:${secretText.slice(0, -1)}`,
      says: "is not base64",
    },
    {
      name: "base64 with stray bits at its end",
      text: `onionhook-box-secret:${"A".repeat(42)}B=`,
      says: "is not base64",
    },
    {
      name: "31 bytes",
      text: `onionhook-box-secret:${encodeBase64(secret.subarray(1))}`,
      says: "has 31 bytes instead of 32",
    },
    {
      name: "33 bytes",
      text: `onionhook-box-secret:${encodeBase64(Uint8Array.of(1, ...secret))}`,
      says: "has 33 bytes instead of 32",
    },
    {
      name: "64 bytes",
      text: `onionhook-box-secret:${encodeBase64(Uint8Array.of(...secret, ...secret))}`,
      says: "has 64 bytes instead of 32",
    },
  ];
  test.for(faults)("is refused by the field's name: $name", ({ text, says }) => {
    const error = refusalOf(text, "box", "secret");
    expect(error.code).toBe("ERR_KEY");
    expect(error.message).toMatch(new RegExp(`^EDGE_BOX_KEY ${says}`));
    expect(error.hint).toContain("onionhook -- keys new");
  });

  const mixUps = everySort.flatMap((found) => everySort.map((expected) => ({ found, expected })));
  test.for(mixUps.filter(({ found, expected }) => found !== expected))(
    "of kind $found.kind, $found.visibility, is refused where $expected.kind, $expected.visibility, belongs",
    ({ found, expected }) => {
      const text = formatKey(found.kind, found.visibility, secret);
      const { message } = refusalOf(text, expected.kind, expected.visibility);
      expect(message).toBe(
        `EDGE_BOX_KEY holds a ${found.visibility} key of kind ${found.kind}; ` +
          `onionhook-${expected.kind}-${expected.visibility}:… was expected`,
      );
    },
  );

  it("is never repeated in the error, its hint or its cause", () => {
    const texts = [
      ...faults.map(({ text }) => text).filter((text) => text.includes(secretText.slice(4, 20))),
      formatKey("sign", "secret", secret),
      `onionhook-box-secret:${secretText}*`,
    ];
    expect(texts.length).toBeGreaterThan(5);
    for (const text of texts) {
      const { message, hint, cause, stack } = refusalOf(text, "box", "secret");
      expect(`${message} ${hint} ${String(cause)} ${stack}`).not.toContain(secretText.slice(4, 20));
    }
  });
});

describe("a low-order box key, to which nothing may be sealed", () => {
  const P = 2n ** 255n - 19n;
  /**
   * The u-coordinates of order 1, 2, 4 and 8 on Curve25519 and its twist: 0, 1, -1 and the two of order
   * 8 (RFC 7748 §6.1, cr.yp.to/ecdh.html). A field element below 19 has a second encoding, u + p; the
   * top bit of an encoding is ignored: that makes 14 texts, which are the distinct keys in Wycheproof's
   * 31 cases of a zero shared secret.
   */
  const orderEight = [
    325606250916557431795983626356110631294008115727848805560023387167927233504n,
    39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  ];
  const elements = [0n, 1n, P - 1n, ...orderEight];
  const encodings = elements
    .flatMap((u) => [u, u + P])
    .filter((u) => u < 2n ** 255n)
    .flatMap((u) => [u, u + 2n ** 255n])
    .map(littleEndian);

  it("has these 14 encodings", () => {
    expect(new Set(encodings.map(encodeHex)).size).toBe(14);
  });

  test.for(encodings.map((bytes) => ({ hex: encodeHex(bytes), bytes })))("is refused: $hex", ({ bytes }) => {
    // What makes the key dangerous, by noble and by NaCl: every secret key shares the same secret with it.
    expect(() => x25519.getSharedSecret(secret, bytes)).toThrow();
    expect(nacl.box.before(bytes, secret)).toEqual(nacl.box.before(new Uint8Array(32), secret.toReversed()));
    expect(() => sharedKey(bytes, secret)).toThrow(expect.objectContaining({ code: "ERR_KEY" }));
    const { message } = refusalOf(formatKey("box", "public", bytes), "box", "public");
    expect(message).toBe("EDGE_BOX_KEY is a low-order point: anybody could open what is sealed to it");
  });

  it("is refused exactly where noble refuses it, among encodings near the edges of the field", () => {
    for (const centre of [...elements, P, P + 1n, 2n ** 255n - 1n, 2n ** 255n]) {
      for (let offset = -20n; offset <= 20n; offset += 1n) {
        const bytes = littleEndian((centre + offset + 2n ** 256n) % 2n ** 256n);
        const text = formatKey("box", "public", bytes);
        expect(
          throws(() => parseKey(text, "box", "public", "KEY")),
          encodeHex(bytes),
        ).toBe(throws(() => x25519.getSharedSecret(secret, bytes)));
      }
    }
  });

  it("is refused exactly where noble refuses it, in each of the encodings that are no field element", () => {
    const refused: bigint[] = [];
    for (let u = P; u < 2n ** 255n; u += 1n) {
      for (const bytes of [littleEndian(u), littleEndian(u + 2n ** 255n)]) {
        const text = formatKey("box", "public", bytes);
        const isRefused = throws(() => parseKey(text, "box", "public", "KEY"));
        expect(isRefused, encodeHex(bytes)).toBe(throws(() => x25519.getSharedSecret(secret, bytes)));
        if (isRefused) refused.push(u - P);
      }
    }
    expect(refused).toEqual([0n, 0n, 1n, 1n]);
  });

  it("is refused exactly where noble refuses it, among keys at random and ones a few bits off", () => {
    const anyBytes = fc.uint8Array({ minLength: KEY_BYTES, maxLength: KEY_BYTES });
    const nearby = fc
      .tuple(fc.constantFrom(...encodings), fc.array(fc.nat(KEY_BYTES * 8 - 1), { maxLength: 2 }))
      .map(([bytes, flips]) => {
        const key = bytes.slice();
        for (const bit of flips) key[bit >> 3] = (key[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return key;
      });
    const seen = { refused: 0, taken: 0 };
    fc.assert(
      fc.property(fc.oneof(anyBytes, nearby), (bytes) => {
        const isRefused = throws(() => parseKey(formatKey("box", "public", bytes), "box", "public", "KEY"));
        expect(isRefused).toBe(throws(() => x25519.getSharedSecret(secret, bytes)));
        seen[isRefused ? "refused" : "taken"] += 1;
      }),
      { numRuns: 300 },
    );
    expect(Math.min(seen.refused, seen.taken)).toBeGreaterThan(20);
  });

  it("is no reason to refuse a real key", () => {
    for (let index = 0; index < 20; index += 1) {
      const { publicKey } = nacl.box.keyPair();
      expect(parseKey(formatKey("box", "public", publicKey), "box", "public", "KEY")).toEqual(publicKey);
    }
  });
});

function refusalOf(text: string, kind: KeyKind, visibility: KeyVisibility): OnionhookError {
  try {
    parseKey(text, kind, visibility, "EDGE_BOX_KEY");
  } catch (error) {
    if (error instanceof OnionhookError) return error;
    throw error;
  }
  throw new Error("the key was taken");
}

function throws(action: () => unknown): boolean {
  try {
    action();
    return false;
  } catch {
    return true;
  }
}

function littleEndian(u: bigint): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: KEY_BYTES }, (_, index) => Number((u >> BigInt(8 * index)) & 0xffn));
}
