import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  concatBytes,
  decodeBase64,
  decodeHex,
  decodeUtf8,
  encodeBase64,
  encodeHex,
  encodeUtf8,
} from "../../shared/bytes.ts";

const bytes = fc.uint8Array({ maxLength: 500 });

describe("base64", () => {
  it("is the same as Node's, both ways", () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const text = Buffer.from(value).toString("base64");
        expect(encodeBase64(value)).toBe(text);
        expect(encodeHex(decodeBase64(text))).toBe(encodeHex(value));
      }),
    );
  });

  it("has one text for each value: what is decoded encodes to the very text that was given", () => {
    const nearBase64 = fc.string({ unit: fc.constantFrom(...Array.from("AQgwZ+/_-= \n0")), maxLength: 12 });
    fc.assert(
      fc.property(nearBase64, (text) => {
        let value: Uint8Array;
        try {
          value = decodeBase64(text);
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
          return;
        }
        expect(encodeBase64(value)).toBe(text);
      }),
      { numRuns: 5000 },
    );
  });

  test.for(["A", "AA", "AAA", "AB==", "AAB=", "A===", "AA==AA==", " AAAA", "AAAA\n", "AA_-", "AAAA=", "é"])(
    "refuses %j",
    (text) => {
      expect(() => decodeBase64(text)).toThrow(TypeError);
    },
  );
});

describe("hex", () => {
  it("is the same as Node's, both ways and in either case", () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const text = Buffer.from(value).toString("hex");
        expect(encodeHex(value)).toBe(text);
        expect(encodeHex(decodeHex(text))).toBe(text);
        expect(encodeHex(decodeHex(text.toUpperCase()))).toBe(text);
      }),
    );
  });

  test.for(["0", "000", "0g", "0x00", " 00", "00\n", "é"])("refuses %j", (text) => {
    expect(() => decodeHex(text)).toThrow(TypeError);
  });
});

describe("UTF-8", () => {
  it("is read back as the same text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(decodeUtf8(encodeUtf8(text))).toBe(text);
      }),
    );
  });

  it("keeps a byte order mark", () => {
    expect(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d))).toBe("\uFEFF{}");
  });

  test.for([
    { name: "a stray continuation byte", value: [0x80] },
    { name: "a sequence cut short", value: [0xe2, 0x82] },
    { name: "an overlong slash", value: [0xc0, 0xaf] },
    { name: "a surrogate", value: [0xed, 0xa0, 0x80] },
    { name: "a code point over U+10FFFF", value: [0xf4, 0x90, 0x80, 0x80] },
    { name: "a byte that UTF-8 never has", value: [0xff] },
  ])("refuses $name", ({ value }) => {
    expect(() => decodeUtf8(Uint8Array.from(value))).toThrow(TypeError);
  });
});

describe("joining", () => {
  it("is the same as Node's Buffer.concat", () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 8 }), (parts) => {
        expect(encodeHex(concatBytes(...parts))).toBe(Buffer.concat(parts).toString("hex"));
      }),
    );
  });

  it("copies, so that the parts stay their owners'", () => {
    const part = Uint8Array.of(1, 2, 3);
    const whole = concatBytes(part);
    whole[0] = 9;
    expect(part[0]).toBe(1);
  });
});
