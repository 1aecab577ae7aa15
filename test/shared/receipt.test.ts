import * as fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it, test } from "vitest";
import { decodeUtf8, encodeBase64, encodeUtf8 } from "../../shared/bytes.ts";
import { open, seal, sealTag } from "../../shared/cryptobox.ts";
import type { DeliveryRecord } from "../../shared/delivery.ts";
import { decodeEvent, encodeEvent } from "../../shared/event.ts";
import {
  openReceipt,
  type Receipt,
  receiptMessage,
  refusalMessage,
  sealReceipt,
} from "../../shared/receipt.ts";

const shared = new Uint8Array(32).fill(5);
const receiptError = expect.objectContaining({ code: "ERR_RECEIPT" });
const notOpened = expect.objectContaining({ code: "ERR_NOT_OPENED" });

const receipt: Receipt = {
  stream: "builder",
  seq: 42,
  delivery: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
  tag: encodeBase64(new Uint8Array(40).fill(1)),
};
const inside = { v: 1, kind: "receipt", ...receipt };
const sealJson = (value: unknown) => seal(encodeUtf8(JSON.stringify(value)), shared);

describe("a receipt", () => {
  it("is opened as it was sealed", () => {
    const anyReceipt = fc.record({
      stream: fc.stringMatching(/^[a-z][a-z0-9-]{0,62}$/),
      seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      delivery: fc.stringMatching(/^[0-9A-Za-z-]{8,64}$/),
      tag: fc.uint8Array({ minLength: 40, maxLength: 40 }).map(encodeBase64),
    });
    fc.assert(
      fc.property(anyReceipt, (value) => {
        expect(openReceipt(sealReceipt(value, shared), shared)).toMatchObject(value);
      }),
      { numRuns: 300 },
    );
  });

  it("says inside the seal that it is a receipt", () => {
    expect(JSON.parse(decodeUtf8(open(sealReceipt(receipt, shared), shared)))).toEqual(inside);
  });

  it("fits, with the longest names there are, into the message that carries it", () => {
    const longest = {
      stream: "s".repeat(63),
      seq: Number.MAX_SAFE_INTEGER,
      delivery: "d".repeat(64),
      tag: receipt.tag,
    };
    const message = {
      stream: longest.stream,
      seq: longest.seq,
      receipt: encodeBase64(sealReceipt(longest, shared)),
    };
    expect(v.safeParse(receiptMessage, message).success).toBe(true);
  });

  it("does not open with another key, nor when it was altered", () => {
    const sealed = sealReceipt(receipt, shared);
    expect(() => openReceipt(sealed, new Uint8Array(32).fill(6))).toThrow(notOpened);
    sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
    expect(() => openReceipt(sealed, shared)).toThrow(notOpened);
    expect(() => openReceipt(new Uint8Array(0), shared)).toThrow(notOpened);
  });
});

describe("what opens with the right key and is no receipt", () => {
  test.for([
    { name: "a field more", value: { ...inside, uri: "webhook.github.push" } },
    { name: "another kind", value: { ...inside, kind: "event" } },
    { name: "another version", value: { ...inside, v: 2 } },
    { name: "seq 0", value: { ...inside, seq: 0 } },
    { name: "seq as text", value: { ...inside, seq: "42" } },
    { name: "a fraction of a seq", value: { ...inside, seq: 1.5 } },
    { name: "a stream that is no name", value: { ...inside, stream: "Builder" } },
    { name: "a delivery that is no id", value: { ...inside, delivery: "" } },
    { name: "no tag", value: { ...inside, tag: undefined } },
    { name: "null", value: null },
    { name: "an array", value: [inside] },
    { name: "a receipt inside kwargs", value: { uri: "webhook.receipt", args: [], kwargs: inside } },
  ])("is refused: $name", ({ value }) => {
    expect(() => openReceipt(sealJson(value), shared)).toThrow(receiptError);
  });

  test.for([
    { name: "no JSON", bytes: encodeUtf8("receipt") },
    { name: "nothing", bytes: new Uint8Array(0) },
    { name: "no UTF-8", bytes: Uint8Array.of(0x22, 0x80, 0x22) },
  ])("is refused: $name", ({ bytes }) => {
    expect(() => openReceipt(seal(bytes, shared), shared)).toThrow(receiptError);
  });
});

describe("events and receipts, which the same key seals,", () => {
  const TOPIC = "webhook.github.push";
  const event = (body: string) => {
    const rawBody = encodeUtf8(body);
    const delivery: DeliveryRecord = {
      v: 1,
      id: receipt.delivery,
      event: "push",
      hook_id: null,
      received_at: "2026-11-21T12:00:00.000Z",
      stream: receipt.stream,
      seq: receipt.seq,
      redelivery: false,
      signature: `sha256=${"0".repeat(64)}`,
      body_bytes: rawBody.length,
      altered: false,
    };
    return encodeEvent(TOPIC, delivery, rawBody);
  };

  it("are never taken for each other: an event sent back is no receipt, whatever its body imitates", () => {
    for (const body of ["{}", JSON.stringify(inside), `{"a":1,"kind":"receipt"}`]) {
      const sealed = seal(event(body), shared);
      expect(() => openReceipt(sealed, shared)).toThrow(receiptError);
    }
  });

  it("are never taken for each other: a receipt published as an event is no event", () => {
    const opened = open(sealReceipt(receipt, shared), shared);
    expect(() => decodeEvent(TOPIC, opened)).toThrow(expect.objectContaining({ code: "ERR_EVENT_FORMAT" }));
  });

  it("belong together by a tag that another seal of the same event does not have", () => {
    expect(sealTag(seal(event("{}"), shared))).not.toBe(sealTag(seal(event("{}"), shared)));
  });
});

describe("the message that carries a receipt", () => {
  const message = { stream: "builder", seq: 1, receipt: "AAAA" };
  const taken = (value: unknown) => v.safeParse(receiptMessage, value).success;

  it("is taken with stream, seq and base64", () => {
    expect(taken(message)).toBe(true);
  });

  test.for([
    { name: "seq 0", value: { ...message, seq: 0 } },
    { name: "no seq", value: { stream: "builder", receipt: "AAAA" } },
    { name: "a stream that is no name", value: { ...message, stream: "a/b" } },
    { name: "a receipt that is not base64", value: { ...message, receipt: "****" } },
    { name: "a receipt of over 2,048 characters", value: { ...message, receipt: "A".repeat(2052) } },
    { name: "nothing", value: undefined },
  ])("is refused with $name", ({ value }) => {
    expect(taken(value)).toBe(false);
  });
});

describe("the message that carries a refusal", () => {
  const message = { tag: receipt.tag, refused: "ERR_NOT_OPENED" };
  const taken = (value: unknown) => v.safeParse(refusalMessage, value).success;

  it("is taken with the tag of an event and a code", () => {
    expect(taken(message)).toBe(true);
    expect(taken({ tag: sealTag(sealReceipt(receipt, shared)), refused: `ERR_${"A".repeat(50)}` })).toBe(
      true,
    );
  });

  test.for([
    { name: "no tag", value: { refused: message.refused } },
    { name: "a tag that is not base64", value: { ...message, tag: "****" } },
    { name: "a tag that is too long", value: { ...message, tag: "A".repeat(68) } },
    { name: "no code", value: { tag: message.tag } },
    { name: "words instead of a code", value: { ...message, refused: "I do not like it" } },
    { name: "a code that is too long", value: { ...message, refused: `ERR_${"A".repeat(51)}` } },
    { name: "nothing", value: undefined },
  ])("is refused with $name", ({ value }) => {
    expect(taken(value)).toBe(false);
  });

  it("and the one that carries a receipt are never taken for each other", () => {
    expect(taken({ stream: "builder", seq: 1, receipt: "AAAA" })).toBe(false);
    expect(v.safeParse(receiptMessage, message).success).toBe(false);
  });
});
