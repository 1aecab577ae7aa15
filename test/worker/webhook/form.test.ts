import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../../shared/bytes.ts";
import { scanBody } from "../../../shared/webhook-body.ts";
import { formPayload } from "../../../worker/webhook/form.ts";

const payloadOf = (form: string | Uint8Array) => {
  const payload = formPayload(typeof form === "string" ? encodeUtf8(form) : form);
  return payload && decodeUtf8(payload);
};

describe("the payload of a form", () => {
  it("is what URLSearchParams was given, whatever JSON that is", () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: "binary" }), (json) => {
        const form = new URLSearchParams({ payload: json }).toString();
        // Lone surrogates are in no UTF-8, on either way.
        expect(payloadOf(form)).toBe(decodeUtf8(encodeUtf8(json)));
      }),
      { numRuns: 2000 },
    );
  });

  it("is what URLSearchParams was given, whatever bytes are escaped and in which case", () => {
    const byte = fc.record({ value: fc.nat(255), escaped: fc.boolean(), upper: fc.boolean() });
    fc.assert(
      fc.property(fc.array(byte, { minLength: 1, maxLength: 40 }), (bytes) => {
        const form = bytes.flatMap(({ value, escaped, upper }) => {
          if (!escaped && !"%&+".includes(String.fromCharCode(value))) return [value];
          const hex = value.toString(16).padStart(2, "0");
          return [...encodeUtf8(`%${upper ? hex.toUpperCase() : hex}`)];
        });
        const raw = Uint8Array.from([...encodeUtf8("payload="), ...form]);
        expect(formPayload(raw)).toEqual(Uint8Array.from(bytes, ({ value }) => value));
      }),
      { numRuns: 1000 },
    );
  });

  it("is what URLSearchParams reads, when it is taken", () => {
    const piece = fc.constantFrom(
      "payload",
      "=",
      "&",
      "%",
      "%7B",
      "%7b",
      "%2",
      "%zz",
      "+",
      "{",
      "}",
      "é",
      " ",
      "#",
    );
    const taken = { yes: 0, no: 0 };
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const form = `payload=${pieces.join("")}`;
        const payload = payloadOf(form);
        taken[payload === undefined ? "no" : "yes"] += 1;
        if (payload === undefined) return;
        expect([...new URLSearchParams(form)]).toEqual([["payload", payload]]);
      }),
      { numRuns: 3000 },
    );
    expect(Math.min(taken.yes, taken.no)).toBeGreaterThan(300);
  });

  test.for([
    { form: "payload=%7B%22a%22%3A1%7D", payload: '{"a":1}' },
    { form: 'payload={"a":1}', payload: '{"a":1}' },
    { form: "payload=a+b%2Bc%20d", payload: "a b+c d" },
    { form: "payload=a=b==", payload: "a=b==" },
    { form: "payload=%25", payload: "%" },
    { form: "payload=%26payload%3D", payload: "&payload=" },
    { form: "payload=%00", payload: "\0" },
    { form: "payload=%F0%9F%98%80é", payload: "😀é" },
  ])("of $form", ({ form, payload }) => {
    expect(payloadOf(form)).toBe(payload);
  });

  it("stands alone in its buffer, and the form stays as it was", () => {
    const raw = encodeUtf8("payload=%7B%7D");
    const payload = formPayload(raw);
    expect(payload?.buffer.byteLength).toBe(2);
    expect(decodeUtf8(raw)).toBe("payload=%7B%7D");
  });

  it("may be escaped bytes that are not UTF-8, which the scan refuses", () => {
    const payload = formPayload(encodeUtf8("payload=%7B%22a%22%3A%22%FF%22%7D"));
    expect(payload && scanBody(payload)).toEqual({ ok: false, fault: "the body is not strict UTF-8" });
  });

  it("may have 10 MB, every byte of it escaped", () => {
    const size = 10_000_000;
    const payload = formPayload(encodeUtf8(`payload=${"%7b".repeat(size)}`));
    expect(payload).toHaveLength(size);
    expect(payload?.every((byte) => byte === 0x7b)).toBe(true);
  });
});

describe("a form is refused", () => {
  test.for([
    "",
    "payload",
    "payload=",
    "payloa",
    "=%7B%7D",
    "Payload=%7B%7D",
    "payloads=%7B%7D",
    " payload=%7B%7D",
    "%70ayload=%7B%7D",
    "payload[]=%7B%7D",
    "{}",
    "payload=%7B%7D&",
    "&payload=%7B%7D",
    "payload=%7B%7D&payload=%7B%7D",
    "payload=%7B%7D&a=b",
    "a=b&payload=%7B%7D",
    "payload=&a=b",
    "payload=%",
    "payload=%7",
    "payload=abc%",
    "payload=abc%7",
    "payload=abcdef%7",
    "payload=%7%42",
    "payload=%%41",
    "payload=%7G",
    "payload=%G7",
    "payload=% 7",
    "payload=%+7",
    "payload=%-1",
    "payload=%0x41",
    "payload=%u0041",
    "payload=%\u0667\u0661",
  ])("%j", (form) => {
    expect(formPayload(encodeUtf8(form))).toBeUndefined();
  });
});
