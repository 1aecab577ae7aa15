import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import webhooks from "@octokit/webhooks-examples/api.github.com/index.json" with { type: "json" };
import { decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
import { replaceLeadingNul } from "../../shared/event.ts";
import { MAX_BODY_BYTES, MAX_DEPTH, MAX_NUMBER_LENGTH, scanBody } from "../../shared/webhook-body.ts";
import { jsonObjectText } from "./json-text.ts";

const MUTATIONS = 12_000;

describe("a scanned body", () => {
  it("is taken when it is any JSON object, however it is spaced", () => {
    fc.assert(
      fc.property(jsonObjectText(4), (text) => {
        expect(scanBody(encodeUtf8(text))).toMatchObject({ ok: true });
      }),
      { numRuns: 2000 },
    );
  });

  it(`is taken exactly when JSON.parse takes it for an object: ${MUTATIONS} mutations of real JSON`, () => {
    const taken = { yes: 0, no: 0 };
    fc.assert(
      fc.property(mutatedJson(), (body) => {
        const expected = isJsonObject(body);
        expect(scanBody(body).ok).toBe(expected);
        taken[expected ? "yes" : "no"] += 1;
      }),
      { numRuns: MUTATIONS },
    );
    // A mutation that always spoils the text, or never does, would prove little.
    expect(taken.yes).toBeGreaterThan(MUTATIONS / 20);
    expect(taken.no).toBeGreaterThan(MUTATIONS / 20);
  });

  it("is taken exactly when JSON.parse takes it: every value of up to 4 characters", () => {
    const alphabet = ["{", "}", "[", "]", '"', ",", ":", "0", "-", "e", ".", " "];
    let texts = [""];
    for (let length = 1; length <= 4; length += 1) {
      texts = texts.flatMap((text) => alphabet.map((character) => text + character));
      for (const text of texts) {
        const body = encodeUtf8(`{"a":${text}}`);
        if (scanBody(body).ok !== isJsonObject(body))
          expect.fail(`scanBody and JSON.parse differ on ${decodeUtf8(body)}`);
      }
    }
  });

  it("is taken when it is a payload of GitHub's, compact or pretty", () => {
    for (const payload of webhooks.flatMap(({ examples }) => examples as unknown[])) {
      expect(scanBody(encodeUtf8(JSON.stringify(payload)))).toEqual({ ok: true, leadingNul: [] });
      expect(scanBody(encodeUtf8(JSON.stringify(payload, undefined, "\t")))).toEqual({
        ok: true,
        leadingNul: [],
      });
    }
  });
});

describe("a body that is not one JSON object", () => {
  test.for([
    "",
    " ",
    "[]",
    "[{}]",
    "null",
    "true",
    "1",
    '"{}"',
    "undefined",
    "NaN",
    "//{}",
    "\0{}",
    "\v{}",
    "\u00A0{}",
  ])("is refused: %j", (text) => {
    expect(scanBody(encodeUtf8(text))).toEqual({ ok: false, fault: "the body is not a JSON object" });
  });

  test.for([
    { text: "{", at: 1 },
    { text: "{}}", at: 2 },
    { text: "{} {}", at: 3 },
    { text: "{}\0", at: 2 },
    { text: "{a:1}", at: 1 },
    { text: "{'a':1}", at: 1 },
    { text: '{"a"}', at: 4 },
    { text: '{"a":}', at: 5 },
    { text: '{"a":1,}', at: 7 },
    { text: '{,"a":1}', at: 1 },
    { text: '{"a":1 "b":2}', at: 7 },
    { text: '{"a":[1,]}', at: 8 },
    { text: '{"a":[1}', at: 7 },
    { text: '{"a":1]', at: 6 },
    { text: '{"a":01}', at: 5 },
    { text: '{"a":+1}', at: 5 },
    { text: '{"a":-}', at: 5 },
    { text: '{"a":.5}', at: 5 },
    { text: '{"a":1.}', at: 5 },
    { text: '{"a":1e}', at: 5 },
    { text: '{"a":0x1}', at: 6 },
    { text: '{"a":NaN}', at: 5 },
    { text: '{"a":Infinity}', at: 5 },
    { text: '{"a":nul}', at: 5 },
    { text: '{"a":nulll}', at: 9 },
    { text: '{"a":"\n"}', at: 5 },
    { text: '{"a":"\u0000"}', at: 5 },
    { text: '{"a":"\\x41"}', at: 5 },
    { text: '{"a":"\\u12"}', at: 5 },
    { text: '{"a":"\\u12G4"}', at: 5 },
    { text: '{"a":"\\', at: 5 },
    { text: '{"a":"', at: 5 },
    { text: '{"a":1/**/}', at: 6 },
  ])("is refused, naming the byte but not what stands there: $text", ({ text, at }) => {
    expect(scanBody(encodeUtf8(text))).toEqual({
      ok: false,
      fault: `the body is not JSON: unexpected at byte ${at}`,
    });
  });

  test.for([
    {
      name: "a byte order mark",
      body: [0xef, 0xbb, 0xbf, 0x7b, 0x7d],
      fault: "the body is not a JSON object",
    },
    { name: "UTF-16", body: [0x7b, 0x00, 0x7d, 0x00], fault: "the body is not JSON: unexpected at byte 1" },
    {
      name: "a lone continuation byte in a string",
      body: [0x7b, 0x22, 0x80, 0x22, 0x3a, 0x31, 0x7d],
      fault: "the body is not strict UTF-8",
    },
    {
      name: "an encoded surrogate",
      body: [0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d],
      fault: "the body is not strict UTF-8",
    },
    {
      name: "a character cut short at the end",
      body: [0x7b, 0x7d, 0xe2, 0x82],
      fault: "the body is not strict UTF-8",
    },
  ])("is refused: $name", ({ body, fault }) => {
    expect(scanBody(Uint8Array.from(body))).toEqual({ ok: false, fault });
  });
});

describe("the bounds", () => {
  const nested = (open: string, close: string, levels: number) =>
    `{"a":${open.repeat(levels - 1)}${close === "]" ? "" : "1"}${close.repeat(levels - 1)}}`;

  test.for([
    { name: "arrays", open: "[", close: "]" },
    { name: "objects", open: '{"a":', close: "}" },
  ])(
    `allow $name to a depth of ${MAX_DEPTH}, the outer object included, and no further`,
    ({ open, close }) => {
      expect(MAX_DEPTH).toBe(256);
      expect(scanBody(encodeUtf8(nested(open, close, 256)))).toMatchObject({ ok: true });
      expect(scanBody(encodeUtf8(nested(open, close, 257)))).toEqual({
        ok: false,
        fault: "the body is nested deeper than 256 levels",
      });
    },
  );

  it("count depth, not brackets: 10,000 siblings are no nesting", () => {
    expect(scanBody(encodeUtf8(`{"a":[${"[],".repeat(10_000)}{}]}`))).toMatchObject({ ok: true });
  });

  test.for([
    { name: "an integer", number: (length: number) => "9".repeat(length) },
    { name: "a negative integer", number: (length: number) => `-${"9".repeat(length - 1)}` },
    { name: "a fraction", number: (length: number) => `0.${"3".repeat(length - 2)}` },
    { name: "an exponent", number: (length: number) => `1e${"0".repeat(length - 2)}` },
  ])(`allow $name of ${MAX_NUMBER_LENGTH} characters and no longer`, ({ number }) => {
    expect(MAX_NUMBER_LENGTH).toBe(1000);
    expect(scanBody(encodeUtf8(`{"a":[${number(1000)}]}`))).toMatchObject({ ok: true });
    expect(scanBody(encodeUtf8(`{"a":[${number(1001)}]}`))).toEqual({
      ok: false,
      fault: "the body has a number of more than 1000 characters",
    });
  });

  it("do not bound strings: digits in a string are no number", () => {
    expect(scanBody(encodeUtf8(`{"${"9".repeat(5000)}":"${"9".repeat(5000)}"}`))).toMatchObject({ ok: true });
  });

  it("are GitHub's 25 MB for the whole, and a body of that size takes under two seconds", () => {
    expect(MAX_BODY_BYTES).toBe(26_214_400);
    const body = encodeUtf8(`{"a":"${"x".repeat(MAX_BODY_BYTES - 8)}"}`);
    expect(body).toHaveLength(MAX_BODY_BYTES);
    const started = performance.now();
    expect(scanBody(body)).toEqual({ ok: true, leadingNul: [] });
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("values that begin with an escaped NUL", () => {
  test.for([
    { text: '{"a":"\\u0000"}', offsets: [6] },
    { text: '{"a":"\\u0000AAAA"}', offsets: [6] },
    { text: '{"a":["\\u0000","b","\\u0000c"]}', offsets: [7, 20] },
    { text: '{"a":{"b":"\\u0000"},"c":"\\u0000"}', offsets: [11, 25] },
    { text: '{"é":"\\u0000"}', offsets: [7] },
    { text: '{"\\u0000":1}', offsets: [] },
    { text: '{"\\u0000":"\\u0000"}', offsets: [11] },
    { text: '{"a":"b\\u0000"}', offsets: [] },
    { text: '{"a":"\\\\u0000"}', offsets: [] },
    { text: '{"a":" \\u0000"}', offsets: [] },
    { text: '{"a":"\\u0001"}', offsets: [] },
    { text: '{"a":"u0000"}', offsets: [] },
  ])("are found by their offset: $text", ({ text, offsets }) => {
    expect(scanBody(encodeUtf8(text))).toEqual({ ok: true, leadingNul: offsets });
  });

  it("begin with U+FFFD once they are rewritten, and nothing else changes", () => {
    let rewritten = 0;
    fc.assert(
      fc.property(jsonObjectText(4), (text) => {
        const body = encodeUtf8(text);
        const scan = scanBody(body);
        if (!scan.ok) throw new Error(scan.fault);
        const altered = replaceLeadingNul(body, scan.leadingNul);
        const expected = JSON.stringify(JSON.parse(text), (_key, value: unknown) =>
          typeof value === "string" ? value.replace(/^\0/, "\uFFFD") : value,
        );
        expect(JSON.stringify(JSON.parse(decodeUtf8(altered)))).toBe(expected);
        expect(altered).toHaveLength(body.length);
        expect(decodeUtf8(body)).toBe(text);
        rewritten += scan.leadingNul.length;
      }),
      { numRuns: 3000 },
    );
    expect(rewritten).toBeGreaterThan(100);
  });
});

/** What scanBody stands for, by the platform's own decoder and parser. */
function isJsonObject(body: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(decodeUtf8(body));
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** Valid JSON of under 200 bytes with a few bytes replaced, inserted, removed or repeated. */
function mutatedJson(): fc.Arbitrary<Uint8Array> {
  const telling = [...encodeUtf8('{}[]",:\\/0123456789-+.eEtrufalsn \t\n\r\0\u007f'), 0x80, 0xc3, 0xbf, 0xff];
  const byte = fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...telling) },
    { weight: 1, arbitrary: fc.nat(255) },
  );
  const mutation = fc.record({
    kind: fc.constantFrom("replace", "insert", "remove", "repeat"),
    at: fc.nat(200),
    byte,
    length: fc.integer({ min: 1, max: 6 }),
  });
  const seed = jsonObjectText(2)
    .map(encodeUtf8)
    .filter((body) => body.length < 200);
  return fc.tuple(seed, fc.array(mutation, { minLength: 1, maxLength: 3 })).map(([body, mutations]) => {
    const bytes = [...body];
    for (const { kind, at, byte: inserted, length } of mutations) {
      const index = at % (bytes.length + 1);
      if (kind === "replace") bytes.splice(index, 1, inserted);
      else if (kind === "insert") bytes.splice(index, 0, inserted);
      else if (kind === "remove") bytes.splice(index, length);
      else bytes.splice(index, 0, ...bytes.slice(index, index + length));
    }
    return Uint8Array.from(bytes);
  });
}
