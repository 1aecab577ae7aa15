/** The frozen vectors of docs/cryptobox.md: ours passes them, and Autobahn|Python still makes the same. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { decodeBase64, decodeHex, decodeUtf8, encodeHex, encodeUtf8 } from "../../shared/bytes.ts";
import { open, seal } from "../../shared/cryptobox.ts";
import { makeKeyring, type Role } from "../../shared/keyring.ts";
import { openPayload, sealPayload } from "../../shared/sealed-payload.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { fromWire, Passthru, toWire } from "../../shared/wamp/passthru.ts";
import { serializers } from "../../shared/wamp/serializers.ts";
import { describeWith, ROOT } from "../helpers/peers.ts";
import vectors from "../vectors/cryptobox-messages.json" with { type: "json" };

const keys = new Map(
  vectors.keys.map(({ name, originator_secret, responder_public }) => [
    name,
    sharedKey(decodeBase64(responder_public), decodeBase64(originator_secret)),
  ]),
);
const keyOf = (name: string) => keys.get(name) ?? new Uint8Array();
const keysOf = (names: readonly string[] = []) => names.map(keyOf);
const ring = makeKeyring(
  vectors.ring.map((entry) => ({
    uri: entry.uri,
    match: entry.match as "exact" | "prefix",
    originator: keysOf(entry.originator),
    responder: keysOf(entry.responder),
  })),
);

/** A payload's place in autobahn-js's messages, where it is the one argument. */
const PAYLOAD_AT: Record<string, number> = { YIELD: 3, RESULT: 3, "ERROR 68": 5, "ERROR 48": 5 };

type Vector = (typeof vectors.messages)[number];

/** As it comes over the wire of each serializer. */
function received({ message, wire_json, wire_msgpack_hex, wire_cbor_hex }: Vector) {
  const frames: Record<string, Uint8Array> = {
    json: encodeUtf8(wire_json),
    msgpack: decodeHex(wire_msgpack_hex),
    cbor: decodeHex(wire_cbor_hex),
  };
  return serializers.map((serializer) => {
    const list = fromWire(serializer.parse(frames[serializer.id] ?? new Uint8Array()));
    const [passthru] = list[PAYLOAD_AT[message] ?? 4] as unknown[];
    if (!(passthru instanceof Passthru)) throw new Error(`not sealed on ${serializer.id}`);
    return { serializer, list, passthru };
  });
}

/** Bytes as docs/cryptobox.md §3 writes them. */
const inWampJson = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_name, each: unknown) =>
      each instanceof Uint8Array ? `\0${Buffer.from(each).toString("base64")}` : each,
    ),
  );

describe("the vectors", () => {
  test.for(vectors.keys)("$name: the shared key is the same from either side", (key) => {
    expect(encodeHex(keyOf(key.name))).toBe(key.shared_hex);
    const other = sharedKey(decodeBase64(key.originator_public), decodeBase64(key.responder_secret));
    expect(encodeHex(other)).toBe(key.shared_hex);
  });

  test.for(vectors.low_order_public_hex)("no key is shared with the low-order point %s", (hex) => {
    const secret = decodeBase64(vectors.keys[0]?.responder_secret ?? "");
    expect(() => sharedKey(decodeHex(hex), secret)).toThrow(expect.objectContaining({ code: "ERR_KEY" }));
  });

  test.for(vectors.lookups)("the ring has $keys for $role of $uri", ({ role, uri, keys: names }) => {
    const find = () => ring.keysFor(role as Role, uri);
    if (names.length === 0) expect(find).toThrow(expect.objectContaining({ code: "ERR_NO_KEY" }));
    else expect(find()).toEqual(keysOf(names));
  });

  test.for(vectors.messages)("$name: is sealed bit for bit", ({ plaintext, key, nonce_hex, sealed_hex }) => {
    const sealed = seal(encodeUtf8(plaintext), keyOf(key), decodeHex(nonce_hex));
    expect(encodeHex(sealed)).toBe(sealed_hex);
  });

  test.for(vectors.messages)("$name: is read out of json, msgpack and cbor, and opened", (vector) => {
    const role = vector.sealed_by === "originator" ? "responder" : "originator";
    for (const { passthru } of received(vector)) {
      const { args, kwargs } = openPayload(vector.uri, passthru, ring.keysFor(role, vector.uri));
      expect(inWampJson({ args, kwargs })).toEqual({ args: vector.args ?? [], kwargs: vector.kwargs ?? {} });
    }
  });

  test.for(vectors.messages)("$name: is written so that it is read as the same again", (vector) => {
    for (const { serializer, list, passthru } of received(vector)) {
      const frame = Buffer.from(serializer.serialize(toWire(list)));
      if (serializer.id === "json") expect(frame.toString()).toBe(vector.wire_json);
      const again = fromWire(serializer.parse(frame));
      const at = PAYLOAD_AT[vector.message] ?? 4;
      expect(again.toSpliced(at)).toEqual(list.toSpliced(at));
      const [reread] = again[at] as [Passthru];
      expect(reread).toMatchObject({ algo: passthru.algo, serializer: passthru.serializer });
      expect(encodeHex(reread.bytes)).toBe(vector.sealed_hex);
    }
  });

  // Autobahn writes null for what there is not; we write it empty.
  test.for(vectors.messages.filter(({ args, kwargs }) => args !== null && kwargs !== null))(
    "$name: the plaintext is Autobahn's",
    ({ uri, key, plaintext, sealed_hex }) => {
      const { args, kwargs } = openPayload(
        uri,
        { bytes: decodeHex(sealed_hex), algo: "cryptobox", serializer: "json" },
        [keyOf(key)],
      );
      expect(decodeUtf8(open(sealPayload(uri, { args, kwargs }, keyOf(key)), keyOf(key)))).toBe(plaintext);
    },
  );

  test.for(vectors.refused.vectors)("is refused: $name", ({ details, sealed_hex }) => {
    const { uri, role } = vectors.refused.expected;
    const message =
      sealed_hex === null
        ? undefined
        : { bytes: decodeHex(sealed_hex), algo: details.enc_algo, serializer: details.enc_serializer };
    expect(() => openPayload(uri, message, ring.keysFor(role as Role, uri))).toThrow(
      expect.objectContaining({ name: "OnionhookError" }),
    );
  });
});

describeWith("autobahn", "Autobahn|Python", (python) => {
  it("makes these vectors, bit for bit, and refuses what it should", () => {
    const script = join(ROOT, "test/peers/keyring-vectors.py");
    const file = join(ROOT, "test/vectors/cryptobox-messages.json");
    const said = execFileSync(python, [script, "check", file], { encoding: "utf8", stdio: "pipe" });
    expect(JSON.parse(said)).toEqual({
      messages: vectors.messages.length,
      refused: vectors.refused.vectors.length,
    });
  }, 60_000);
});
