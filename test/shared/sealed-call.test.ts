import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
import { open, seal } from "../../shared/cryptobox.ts";
import { openKwargs, sealKwargs } from "../../shared/sealed-call.ts";
import { sharedKey } from "../../shared/shared-key.ts";

const PROCEDURE = "webhook.replay";
const shared = new Uint8Array(32).fill(5);
const notOpened = expect.objectContaining({ code: "ERR_NOT_OPENED" });
const noCall = expect.objectContaining({ code: "ERR_SEALED_CALL" });
const sealJson = (value: unknown) => seal(encodeUtf8(JSON.stringify(value)), shared);

describe("the payload of a sealed call", () => {
  it("is opened as it was sealed", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-z]\w{0,20}$/), fc.jsonValue()), (kwargs) => {
        const opened = openKwargs(PROCEDURE, sealKwargs(PROCEDURE, kwargs, shared), shared);
        expect(JSON.stringify(opened)).toBe(JSON.stringify(kwargs));
      }),
      { numRuns: 300 },
    );
  });

  it("is what Autobahn's cryptobox has inside: procedure, args and kwargs", () => {
    const sealed = sealKwargs(PROCEDURE, { stream: "docs", from: 1 }, shared);
    expect(JSON.parse(decodeUtf8(open(sealed, shared)))).toEqual({
      uri: PROCEDURE,
      args: [],
      kwargs: { stream: "docs", from: 1 },
    });
  });

  it("is opened by either of the two who share the key, and by nobody else", () => {
    const [relay, builder, other] = [nacl.box.keyPair(), nacl.box.keyPair(), nacl.box.keyPair()];
    const sealed = sealKwargs(PROCEDURE, { from: 1 }, sharedKey(relay.publicKey, builder.secretKey));
    for (const key of [
      sharedKey(builder.publicKey, relay.secretKey),
      sharedKey(relay.publicKey, builder.secretKey),
    ])
      expect(openKwargs(PROCEDURE, sealed, key)).toEqual({ from: 1 });
    expect(() => openKwargs(PROCEDURE, sealed, sharedKey(builder.publicKey, other.secretKey))).toThrow(
      notOpened,
    );
  });

  it("is never sealed twice the same", () => {
    expect(sealKwargs(PROCEDURE, {}, shared)).not.toEqual(sealKwargs(PROCEDURE, {}, shared));
  });

  it("does not open when a single byte was altered, or is missing", () => {
    const sealed = sealKwargs(PROCEDURE, { from: 1 }, shared);
    for (let index = 0; index < sealed.length; index += 1) {
      const altered = sealed.with(index, (sealed[index] ?? 0) ^ 1);
      expect(() => openKwargs(PROCEDURE, altered, shared)).toThrow(notOpened);
      expect(() => openKwargs(PROCEDURE, sealed.slice(0, index), shared)).toThrow(notOpened);
    }
  });

  test.for([
    { name: "for another procedure", value: { uri: "webhook.receipt", args: [], kwargs: {} } },
    { name: "for a procedure that begins alike", value: { uri: `${PROCEDURE}.x`, args: [], kwargs: {} } },
    { name: "a receipt", value: { v: 1, kind: "receipt", stream: "docs", seq: 1, delivery: "d", tag: "t" } },
    { name: "without kwargs", value: { uri: PROCEDURE, args: [] } },
    { name: "with kwargs that are text", value: { uri: PROCEDURE, args: [], kwargs: "from" } },
    { name: "null", value: null },
    { name: "a list", value: [PROCEDURE] },
  ])("is refused when what was opened is $name", ({ value }) => {
    expect(() => openKwargs(PROCEDURE, sealJson(value), shared)).toThrow(noCall);
  });

  test.for([
    { name: "no JSON", bytes: encodeUtf8("{") },
    { name: "no UTF-8", bytes: Uint8Array.of(0x22, 0x80, 0x22) },
    { name: "nothing", bytes: new Uint8Array(0) },
  ])("is refused when what was opened is $name", ({ bytes }) => {
    expect(() => openKwargs(PROCEDURE, seal(bytes, shared), shared)).toThrow(noCall);
  });
});
