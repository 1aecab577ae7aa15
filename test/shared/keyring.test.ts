import { describe, expect, it, test } from "vitest";
import { makeKeyring, type KeyringEntry, type Role } from "../../shared/keyring.ts";

/** Keys that can be told apart. */
const key = (number: number) => new Uint8Array(32).fill(number);
const noKey = expect.objectContaining({ code: "ERR_NO_KEY", hint: expect.stringContaining("plain text") });

const ring = makeKeyring([
  { uri: "com.", match: "prefix", originator: [key(1)], responder: [key(2)] },
  { uri: "com.long.", match: "prefix", originator: [key(3), key(4)], responder: [key(5)] },
  { uri: "com.long.one", match: "exact", originator: [key(6)] },
  { uri: "com.long.one.deeper", match: "prefix", responder: [key(7)] },
  { uri: "org.one", match: "exact", responder: [key(8)], originator: [] },
]);

describe("a keyring", () => {
  test.for<[role: Role, uri: string, numbers: number[]]>([
    ["originator", "com.news", [1]],
    ["responder", "com.news", [2]],
    ["originator", "com.long.news", [3, 4]],
    ["originator", "com.long", [1]],
    ["originator", "com.long.one", [6]],
    ["originator", "com.long.ones", [3, 4]],
    ["responder", "com.long.one.deeper.still", [7]],
    // As Autobahn has it: characters, not components.
    ["responder", "com.long.one.deeperer", [7]],
    ["responder", "org.one", [8]],
  ])("has as %s of %s the keys of the entry that fits best", ([role, uri, numbers]) => {
    expect(ring.keysFor(role, uri)).toEqual(numbers.map(key));
    expect(ring.has(role, uri)).toBe(true);
  });

  test.for<[role: Role, uri: string, why: string]>([
    ["originator", "org.other", "no entry fits"],
    ["originator", "org.one.more", "an exact entry is for that URI alone"],
    ["originator", "co", "the prefix is longer"],
    ["originator", "", "the prefix is longer"],
    [
      "responder",
      "com.long.one",
      "the best entry is for the other role, and a shorter one for something else",
    ],
    ["originator", "org.one", "the entry has no key in this role"],
  ])("has no key as %s of %s: %s", ([role, uri]) => {
    expect(() => ring.keysFor(role, uri)).toThrow(noKey);
    expect(ring.has(role, uri)).toBe(false);
  });

  it("may have a key for everything, under the empty prefix", () => {
    const all = makeKeyring([{ uri: "", match: "prefix", originator: [key(1)] }]);
    expect(all.keysFor("originator", "anything")).toEqual([key(1)]);
  });

  it("has none when it is empty", () => {
    expect(() => makeKeyring([]).keysFor("originator", "com.news")).toThrow(noKey);
  });

  test.for<[what: string, entries: KeyringEntry[]]>([
    [
      "two entries for the same",
      [
        { uri: "com.", match: "prefix", originator: [key(1)] },
        { uri: "com.", match: "prefix", responder: [key(2)] },
      ],
    ],
    ["a key of another size", [{ uri: "com.", match: "prefix", responder: [key(1), new Uint8Array(31)] }]],
  ])("is not made with %s", ([, entries]) => {
    expect(() => makeKeyring(entries)).toThrow(RangeError);
  });
});
