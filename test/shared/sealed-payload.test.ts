import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
import { CRYPTOBOX, open, seal } from "../../shared/cryptobox.ts";
import { openPayload, sealPayload, type SealedMessage } from "../../shared/sealed-payload.ts";
import { sharedKey } from "../../shared/shared-key.ts";

const URI = "webhook.replay";
const shared = new Uint8Array(32).fill(5);
const notOpened = expect.objectContaining({ code: "ERR_NOT_OPENED" });
const refused = expect.objectContaining({ code: "ERR_SEALED_PAYLOAD" });

const message = (bytes: Uint8Array): SealedMessage => ({ bytes, algo: CRYPTOBOX, serializer: "json" });
const sealText = (text: string) => message(seal(encodeUtf8(text), shared));
const openIt = (sealed: SealedMessage, keys: readonly Uint8Array[] = [shared]) => {
  const { args, kwargs } = openPayload(URI, sealed, keys);
  return { args, kwargs };
};

describe("a sealed payload", () => {
  it("is opened as it was sealed, bytes among the rest", () => {
    const value = fc.oneof(
      fc.jsonValue({ noUnicodeString: false }).filter((json) => !JSON.stringify(json).includes('"\\u0000')),
      fc.uint8Array({ maxLength: 100 }),
    );
    fc.assert(
      fc.property(
        fc.array(value),
        fc.dictionary(fc.stringMatching(/^[a-z]\w{0,20}$/), value),
        (args, kwargs) => {
          const opened = openIt(message(sealPayload(URI, { args, kwargs }, shared)));
          // What JSON itself changes, such as -0, is changed.
          expect(opened).toEqual({ args: viaJson(args), kwargs: viaJson(kwargs) });
        },
      ),
      { numRuns: 300 },
    );
  });

  it("may hold bytes of any size", () => {
    const bytes = nacl.randomBytes(100_001);
    expect(openIt(message(sealPayload(URI, { args: [bytes] }, shared))).args).toEqual([bytes]);
  });

  it("is exactly what Autobahn's KeyRing writes", () => {
    const sealed = sealPayload(URI, { args: [1, Buffer.from("ab")], kwargs: { stream: "docs" } }, shared);
    expect(decodeUtf8(open(sealed, shared))).toBe(
      '{"uri":"webhook.replay","args":[1,"\\u0000YWI="],"kwargs":{"stream":"docs"}}',
    );
    expect(decodeUtf8(open(sealPayload(URI, {}, shared), shared))).toBe(
      '{"uri":"webhook.replay","args":[],"kwargs":{}}',
    );
  });

  test.for([
    '{"uri":"webhook.replay","args":[],"kwargs":{}}',
    '{"uri":"webhook.replay","args":null,"kwargs":null}',
    '{"uri":"webhook.replay"}',
    ' {"kwargs" : {}, "uri" : "webhook\\u002ereplay", "more": 1} \n',
  ])("may leave out what it does not have: %s", (text) => {
    expect(openIt(sealText(text))).toEqual({ args: [], kwargs: {} });
  });

  it("is opened by either of the two who share the key, with whichever of several keys, and by nobody else", () => {
    const [relay, builder, other] = [nacl.box.keyPair(), nacl.box.keyPair(), nacl.box.keyPair()];
    const ours = sharedKey(relay.publicKey, builder.secretKey);
    const theirs = sharedKey(builder.publicKey, relay.secretKey);
    const sealed = message(sealPayload(URI, { args: [1] }, ours));
    expect(openPayload(URI, sealed, [shared, theirs])).toEqual({ args: [1], kwargs: {}, shared: theirs });
    expect(() => openIt(sealed, [shared, sharedKey(builder.publicKey, other.secretKey)])).toThrow(notOpened);
  });

  it("is never sealed twice the same", () => {
    expect(sealPayload(URI, {}, shared)).not.toEqual(sealPayload(URI, {}, shared));
  });

  it("does not open when a single byte was altered, or is missing", () => {
    const sealed = sealPayload(URI, { args: [1] }, shared);
    for (let index = 0; index < sealed.length; index += 1) {
      expect(() => openIt(message(sealed.with(index, (sealed[index] ?? 0) ^ 1)))).toThrow(notOpened);
      expect(() => openIt(message(sealed.slice(0, index)))).toThrow(notOpened);
    }
  });

  test.for<[what: string, change: Partial<SealedMessage> | undefined]>([
    ["arguments in plain text", undefined],
    ["bytes without enc_algo", { algo: undefined }],
    ["another enc_algo", { algo: "xbr" }],
    ["enc_algo in capitals", { algo: "CRYPTOBOX" }],
    ["no enc_serializer", { serializer: undefined }],
    ["another enc_serializer", { serializer: "msgpack" }],
  ])("is refused when it is not sealed by cryptobox and json: %s", ([, change]) => {
    const sealed = change && { ...message(sealPayload(URI, {}, shared)), ...change };
    expect(() => openPayload(URI, sealed, [shared])).toThrow(
      expect.objectContaining({ code: "ERR_PLAINTEXT" }),
    );
  });

  test.for([
    ["for another URI", '{"uri":"webhook.receipt","args":[],"kwargs":{}}'],
    ["for a URI that begins alike", '{"uri":"webhook.replay.x","args":[],"kwargs":{}}'],
    ["for the failures of the procedure", '{"uri":"webhook.replay.error","args":[],"kwargs":{}}'],
    ["for no URI", '{"args":[],"kwargs":{}}'],
    ["a receipt", '{"v":1,"kind":"receipt","stream":"docs","seq":1,"delivery":"d","tag":"t"}'],
    ["with kwargs that are text", '{"uri":"webhook.replay","args":[],"kwargs":"from"}'],
    ["with kwargs that are a list", '{"uri":"webhook.replay","args":[],"kwargs":[]}'],
    ["with args that are an object", '{"uri":"webhook.replay","args":{},"kwargs":{}}'],
    ["null", "null"],
    ["a list", '["webhook.replay"]'],
    ["no JSON", "{"],
    ["nothing", ""],
    ["JSON after a byte order mark", '\ufeff{"uri":"webhook.replay"}'],
    ["Python's NaN", '{"uri":"webhook.replay","args":[NaN]}'],
    ["text after NUL that is not base64", '{"uri":"webhook.replay","args":["\\u0000%"]}'],
    ["too deep", `{"uri":"webhook.replay","args":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
  ])("is refused when what was opened is %s, and nothing of it is repeated", ([, text]) => {
    expect(() => openIt(sealText(text ?? ""))).toThrow(refused);
    try {
      openIt(sealText(`{"secret-${text}`));
    } catch (error) {
      expect(String(error) + String((error as Error).cause)).not.toContain("secret");
    }
  });

  it("is refused when it is no UTF-8", () => {
    expect(() => openIt(message(seal(Uint8Array.of(0x22, 0x80, 0x22), shared)))).toThrow(refused);
  });

  const cycle: unknown[] = [];
  cycle.push(cycle);
  test.for<[what: string, value: unknown]>([
    ["a BigInt", 1n],
    ["not a number", Number.NaN],
    ["infinite", -Infinity],
    ["text that WAMP would take for bytes", "\u0000abc"],
    ["a cycle", cycle],
    ["undefined", undefined],
    ["undefined in a list", [1, undefined]],
    ["undefined in an object", { some: undefined }],
    ["a function", () => 1],
    ["a symbol", Symbol("some")],
    ["a Map", new Map([["some", 1]])],
    ["a Set", new Set([1])],
    ["a date", new Date(0)],
    ["an ArrayBuffer", new ArrayBuffer(2)],
    ["another view of bytes", new Uint16Array([1, 2])],
    ["an error", new Error("some")],
    ["what says itself how it is written", { toJSON: () => 1 }],
  ])("is not sealed when there is no form for it in WAMP's JSON: %s", ([, value]) => {
    for (const payload of [{ args: [value] }, { kwargs: { value } }])
      expect(() => sealPayload(URI, payload, shared)).toThrow(refused);
  });
});

describe("a shared key", () => {
  test.for(["00".repeat(32), `01${"00".repeat(31)}`, `ec${"ff".repeat(30)}7f`, `ed${"ff".repeat(31)}`])(
    "is not made with a public key that shares one with everybody: %s",
    (hex) => {
      expect(() => sharedKey(Buffer.from(hex, "hex"), nacl.randomBytes(32))).toThrow(
        expect.objectContaining({ code: "ERR_KEY" }),
      );
    },
  );
});

function viaJson<Value>(value: Value): Value {
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(viaJson) as Value;
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, viaJson(each)])) as Value;
  return JSON.parse(JSON.stringify(value)) as Value;
}
