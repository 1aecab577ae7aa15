import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  base32,
  clientAuthFile,
  clientAuthPublic,
  clientAuthText,
  expandedKey,
  isOnionAddress,
  onionAddress,
  onionKeyBlob,
} from "../../../shared/tor/onion-keys.ts";

const seed32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe("onion keys", () => {
  it("gives the address of a seed", () => {
    // RFC 8032 test 1: this seed's public key is d75a9801…511a; the address holds it in base32.
    const seed = Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex");
    expect(onionAddress(seed)).toBe("25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion");
  });

  it("knows an address by its checksum, with and without names below it", () => {
    fc.assert(
      fc.property(seed32, fc.nat({ max: 55 }), fc.constantFrom("", "www."), (seed, at, below) => {
        const address = onionAddress(seed);
        expect(isOnionAddress(`${below}${address}`)).toBe(true);
        const other = address[at] === "a" ? "b" : "a";
        expect(isOnionAddress(`${address.slice(0, at)}${other}${address.slice(at + 1)}`)).toBe(false);
      }),
      { numRuns: 50 },
    );
    const address = onionAddress(Buffer.alloc(32));
    for (const none of ["abc.onion", ".onion", `a${address}`, address.toUpperCase(), `${address}.example`])
      expect(isOnionAddress(none), none).toBe(false);
  });

  it("expands a seed as noble does", () => {
    fc.assert(
      fc.property(seed32, (seed) => {
        const { head, prefix, pointBytes } = ed25519.utils.getExtendedPublicKey(seed);
        expect(expandedKey(seed)).toEqual(Buffer.concat([head, prefix]));
        expect(onionAddress(seed).slice(0, 51)).toBe(base32(pointBytes).toLowerCase().slice(0, 51));
      }),
      { numRuns: 50 },
    );
  });

  it("writes the blob of ADD_ONION: 64 bytes in base64", () => {
    expect(onionKeyBlob(Buffer.alloc(32))).toMatch(/^ED25519-V3:[A-Za-z0-9+/]{86}==$/);
  });

  it("gives a client's public key as noble does", () => {
    fc.assert(
      fc.property(seed32, (secret) => {
        expect(clientAuthPublic(secret)).toBe(base32(x25519.getPublicKey(secret)));
      }),
      { numRuns: 50 },
    );
  });

  it("writes an .auth_private file, with and without .onion", () => {
    const address = onionAddress(Buffer.alloc(32));
    const name = address.replace(".onion", "");
    const expected = `${name}:descriptor:x25519:${"A".repeat(52)}\n`;
    for (const written of [name, address, address.toUpperCase()])
      expect(clientAuthFile(written, Buffer.alloc(32)), written).toBe(expected);
    for (const none of ["short.onion", "a".repeat(56), `www.${address}`, `${address}.onion`, "", ".onion"])
      expect(() => clientAuthFile(none, Buffer.alloc(32)), none).toThrow(RangeError);
  });

  it.each([0, 1])(
    "refuses the client key of low order that is all zero but for its first byte, %i",
    (first) => {
      const key = Buffer.alloc(32);
      key.writeUInt8(first, 0);
      expect(() => clientAuthText(key)).toThrow(expect.objectContaining({ code: "ERR_TOR_CLIENT_KEY" }));
    },
  );

  it.each([31, 33])("refuses a seed of %i bytes", (bytes) => {
    expect(() => onionAddress(Buffer.alloc(bytes))).toThrow(RangeError);
    expect(() => expandedKey(Buffer.alloc(bytes))).toThrow(RangeError);
  });

  it.each([
    ["", ""],
    ["f", "MY"],
    ["fo", "MZXQ"],
    ["foo", "MZXW6"],
    ["foob", "MZXW6YQ"],
    ["fooba", "MZXW6YTB"],
    ["foobar", "MZXW6YTBOI"],
  ])("writes %j in base32 as RFC 4648 does", (text, expected) => {
    expect(base32(Buffer.from(text))).toBe(expected);
  });
});
