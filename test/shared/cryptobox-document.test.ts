/**
 * docs/cryptobox.md as somebody else would implement it: nothing here is taken from shared/, and what is written stands
 * in the order of the document.
 */
import { x25519 } from "@noble/curves/ed25519.js";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import vectors from "../vectors/cryptobox-messages.json" with { type: "json" };

const fromBase64 = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));
const fromHex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

// §1
function sharedKey(theirPublic: Uint8Array, ourSecret: Uint8Array): Uint8Array {
  // noble throws when the agreed secret is all zero.
  x25519.getSharedSecret(ourSecret, theirPublic);
  return nacl.box.before(theirPublic, ourSecret);
}

// §2
function seal(plaintext: string, shared: Uint8Array, nonce: Uint8Array): Uint8Array {
  return Uint8Array.of(...nonce, ...nacl.secretbox(Buffer.from(plaintext), nonce, shared));
}

function unseal(sealed: Uint8Array, shared: Uint8Array): Uint8Array | null {
  return sealed.length < 40 ? null : nacl.secretbox.open(sealed.subarray(24), sealed.subarray(0, 24), shared);
}

// §3
interface Inside {
  readonly args: readonly unknown[];
  readonly kwargs: object;
}

const BASE64 = /^(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?$/;

function parse(plaintext: Uint8Array, uri: string): Inside {
  const json: unknown = JSON.parse(
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plaintext),
    (_name, value: unknown) => {
      if (typeof value === "string" && value.startsWith("\0") && !BASE64.test(value.slice(1)))
        throw new Error("not base64");
      return value;
    },
  );
  const { uri: inside, args = [], kwargs = {} } = json as Record<string, unknown>;
  if (inside !== uri) throw new Error("sealed for another URI");
  if (args !== null && !Array.isArray(args)) throw new Error("args");
  if (kwargs !== null && (typeof kwargs !== "object" || Array.isArray(kwargs))) throw new Error("kwargs");
  return { args: (args ?? []) as unknown[], kwargs: kwargs ?? {} };
}

// §4: the dictionary, and the place of the payload
const PLACES: Record<string, [dictionary: number, payload: number]> = {
  PUBLISH: [2, 4],
  EVENT: [3, 4],
  CALL: [2, 4],
  INVOCATION: [3, 4],
  YIELD: [2, 3],
  RESULT: [2, 3],
  "ERROR 68": [3, 5],
  "ERROR 48": [3, 5],
};

// §5
interface Entry {
  readonly uri: string;
  readonly match: string;
  readonly originator?: readonly string[];
  readonly responder?: readonly string[];
}
const ring: readonly Entry[] = vectors.ring;

function keyNames(role: string, uri: string): readonly string[] {
  const exact = ring.find((entry) => entry.match === "exact" && entry.uri === uri);
  const fitting = ring.filter((entry) => entry.match === "prefix" && uri.startsWith(entry.uri));
  const longest = fitting.reduce<Entry | undefined>(
    (best, entry) => (best && best.uri.length > entry.uri.length ? best : entry),
    undefined,
  );
  return (exact ?? longest)?.[role as "originator" | "responder"] ?? [];
}

const pair = (name: string) =>
  vectors.keys.find((each) => each.name === name) as (typeof vectors.keys)[number];
const sharedOf = (name: string) => {
  const { originator_secret, responder_public } = pair(name);
  return sharedKey(fromBase64(responder_public), fromBase64(originator_secret));
};

// §5 and §7: what a receiver takes
function take(
  role: string,
  uri: string,
  details: Record<string, unknown>,
  payload: Uint8Array | null,
): Inside {
  const keys = keyNames(role, uri).map(sharedOf);
  if (keys.length === 0) throw new Error("no key");
  if (!payload || details["enc_algo"] !== "cryptobox" || details["enc_serializer"] !== "json")
    throw new Error("not sealed");
  for (const key of keys) {
    const plaintext = unseal(payload, key);
    if (plaintext) return parse(plaintext, uri);
  }
  throw new Error("not opened");
}

describe("an implementation of docs/cryptobox.md alone", () => {
  test.for(vectors.keys)("gets the shared key of $name from either side", (key) => {
    expect(toHex(sharedOf(key.name))).toBe(key.shared_hex);
    const other = sharedKey(fromBase64(key.originator_public), fromBase64(key.responder_secret));
    expect(toHex(other)).toBe(key.shared_hex);
  });

  test.for(vectors.low_order_public_hex)("refuses the low-order key %s", (hex) => {
    expect(() => sharedKey(fromHex(hex), fromBase64(pair("a").responder_secret))).toThrow();
  });

  test.for(vectors.lookups)("finds the keys for $role of $uri", ({ role, uri, keys }) => {
    expect(keyNames(role, uri)).toEqual(keys);
  });

  test.for(vectors.messages)("seals bit for bit: $name", ({ plaintext, key, nonce_hex, sealed_hex }) => {
    expect(toHex(seal(plaintext, sharedOf(key), fromHex(nonce_hex)))).toBe(sealed_hex);
  });

  test.for(vectors.messages)("takes out of the message and opens: $name", (vector) => {
    const list = JSON.parse(vector.wire_json) as unknown[];
    const [dictionary, at] = PLACES[vector.message] ?? [0, 0];
    const text = String(list[at]);
    expect(list).toHaveLength(at + 1);
    expect(text.startsWith("\0")).toBe(true);
    const receiver = vector.sealed_by === "originator" ? "responder" : "originator";
    const details = list[dictionary] as Record<string, unknown>;
    const inside = take(receiver, vector.uri, details, fromBase64(text.slice(1)));
    expect(inside).toEqual({ args: vector.args ?? [], kwargs: vector.kwargs ?? {} });
  });

  test.for(vectors.refused.vectors)("refuses: $name", ({ details, sealed_hex }) => {
    const { role, uri } = vectors.refused.expected;
    expect(() => take(role, uri, details, sealed_hex === null ? null : fromHex(sealed_hex))).toThrow();
  });

  it("has something to refuse, and would take the right one", () => {
    const [, good] = vectors.messages;
    const details = { enc_algo: "cryptobox", enc_serializer: "json" };
    expect(take("responder", good?.uri ?? "", details, fromHex(good?.sealed_hex ?? ""))).toEqual({
      args: good?.args,
      kwargs: good?.kwargs,
    });
    expect(vectors.refused.vectors.length).toBeGreaterThan(20);
  });
});
