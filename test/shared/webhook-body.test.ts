import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import webhooks from "@octokit/webhooks-examples/api.github.com/index.json" with { type: "json" };
import type { BodyFacts } from "../../shared/body-facts.ts";
import { concatBytes, decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
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
      expect(scanBody(encodeUtf8(JSON.stringify(payload)))).toMatchObject({ ok: true, leadingNul: [] });
      expect(scanBody(encodeUtf8(JSON.stringify(payload, undefined, "\t")))).toMatchObject({
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

describe("UTF-8 is read in slices of 64 KiB, and", () => {
  const SLICE = 64 * 1024;
  const HEAD = encodeUtf8('{"a":"');
  const TAIL = encodeUtf8('"}');
  /** A string of x with `bytes` standing at offset `at` of the body. */
  const bodyWith = (at: number, bytes: readonly number[], tail: Uint8Array = TAIL) =>
    concatBytes(
      HEAD,
      new Uint8Array(at - HEAD.length).fill(0x78),
      Uint8Array.from(bytes),
      new Uint8Array(100).fill(0x78),
      tail,
    );

  test.for(["é", "日", "😀", "\uFEFF", "\u{10FFFF}"])(
    "takes %s across the border of two of them",
    (character) => {
      for (const border of [SLICE, 2 * SLICE]) {
        for (let before = 0; before <= 4; before += 1) {
          expect(scanBody(bodyWith(border - before, [...encodeUtf8(character)]))).toMatchObject({ ok: true });
        }
      }
    },
  );

  test.for([
    { name: "a lone continuation byte", bytes: [0x80] },
    { name: "a byte that UTF-8 never has", bytes: [0xff] },
    { name: "an overlong slash", bytes: [0xc0, 0xaf] },
    { name: "an overlong NUL of three bytes", bytes: [0xe0, 0x80, 0x80] },
    { name: "an encoded surrogate", bytes: [0xed, 0xa0, 0x80] },
    { name: "a code point over U+10FFFF", bytes: [0xf4, 0x90, 0x80, 0x80] },
    { name: "a character cut short", bytes: [0xf0, 0x9f, 0x98] },
  ])("refuses $name across it", ({ bytes }) => {
    for (let before = 0; before <= bytes.length; before += 1) {
      expect(scanBody(bodyWith(SLICE - before, bytes))).toEqual({
        ok: false,
        fault: "the body is not strict UTF-8",
      });
    }
  });

  it("refuses a character cut short at the end of the body, also where a slice ends", () => {
    for (const [cut, ...rest] of [[0xc3], [0xe6, 0x97], [0xf0, 0x9f, 0x98]] as const) {
      const ending = Uint8Array.of(cut, ...rest);
      for (const size of [SLICE - 1, SLICE, SLICE + 1]) {
        const body = concatBytes(new Uint8Array(size - ending.length).fill(0x20), ending);
        expect(scanBody(body)).toEqual({ ok: false, fault: "the body is not strict UTF-8" });
      }
    }
  });

  it("takes what the platform's decoder takes as a whole", () => {
    const piece = fc.oneof(
      fc.constantFrom("a", "é", "日", "😀").map((character) => [...encodeUtf8(character)]),
      fc.array(fc.constantFrom(0x61, 0x80, 0xbf, 0xc3, 0xe6, 0xed, 0xa0, 0xf0, 0x9f), { maxLength: 4 }),
    );
    const text = fc.array(piece, { maxLength: 4 }).map((pieces) => pieces.flat());
    const taken = { yes: 0, no: 0 };
    fc.assert(
      fc.property(text, fc.nat(16), (bytes, before) => {
        const body = bodyWith(SLICE - before, bytes);
        const expected = isJsonObject(body);
        expect(scanBody(body).ok).toBe(expected);
        taken[expected ? "yes" : "no"] += 1;
      }),
      { numRuns: 500 },
    );
    expect(Math.min(taken.yes, taken.no)).toBeGreaterThan(50);
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
    expect(scanBody(body)).toMatchObject({ ok: true, leadingNul: [] });
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
    expect(scanBody(encodeUtf8(text))).toMatchObject({ ok: true, leadingNul: offsets });
  });

  it("begin with U+FFFD once they are rewritten, and nothing else changes", () => {
    let rewritten = 0;
    fc.assert(
      fc.property(jsonObjectText(4), (text) => {
        const body = encodeUtf8(text);
        const scan = scanBody(body);
        if (!scan.ok) throw new Error(scan.fault);
        const altered = body.slice();
        replaceLeadingNul(altered, scan.leadingNul);
        const expected = JSON.stringify(JSON.parse(text), (_key, value: unknown) =>
          typeof value === "string" ? value.replace(/^\0/, "\uFFFD") : value,
        );
        expect(JSON.stringify(JSON.parse(decodeUtf8(altered)))).toBe(expected);
        expect(altered).toHaveLength(body.length);
        rewritten += scan.leadingNul.length;
      }),
      { numRuns: 3000 },
    );
    expect(rewritten).toBeGreaterThan(100);
  });
});

describe("the facts of a body", () => {
  it("are those that JSON.parse finds, in every payload of GitHub's, compact or pretty", () => {
    const found = { repository: 0, owner: 0, organization: 0, hookId: 0 };
    for (const payload of webhooks.flatMap(({ examples }) => examples as unknown[])) {
      for (const indent of ["", "  "]) {
        const text = JSON.stringify(payload, undefined, indent);
        const facts = factsOf(text);
        expect(facts).toEqual(factsByJsonParse(text));
        if (facts.repository && facts.repositoryId) found.repository += 1;
        if (facts.owner) found.owner += 1;
        if (facts.organization) found.organization += 1;
        if (facts.hookId) found.hookId += 1;
      }
    }
    expect(found).toEqual({ repository: 560, owner: 560, organization: 240, hookId: 12 });
  });

  it("are those that JSON.parse finds, however keys are spelled, repeated, nested and missing", () => {
    const told = new Map<keyof BodyFacts, number>();
    fc.assert(
      fc.property(lookalike(), fc.infiniteStream(fc.boolean()), (body, coins) => {
        const plain = print(body, (key) => JSON.stringify(key));
        const expected = factsByJsonParse(plain);
        expect(factsOf(plain)).toEqual(expected);
        // The oracle reads the plain text only: V8 mistakes some keys with backslashes.
        const spelled = print(body, (key) => spell(key, () => coins.next().value ?? false));
        expect(factsOf(spelled)).toEqual(expected);
        for (const [name, value] of Object.entries(expected) as [keyof BodyFacts, unknown][]) {
          if (value !== undefined) told.set(name, (told.get(name) ?? 0) + 1);
        }
      }),
      { numRuns: 5000 },
    );
    for (const name of ["repository", "repositoryId", "owner", "organization", "hookId"] as const) {
      expect(told.get(name), name).toBeGreaterThan(100);
    }
  });

  it("are those that JSON.parse finds in any object", () => {
    fc.assert(
      fc.property(jsonObjectText(4), (text) => {
        expect(factsOf(text)).toEqual(factsByJsonParse(text));
      }),
      { numRuns: 2000 },
    );
  });

  const nothing = { repository: undefined, repositoryId: undefined, owner: undefined };
  test.for<{ text: string; facts: Partial<BodyFacts> }>([
    { text: "{}", facts: { ...nothing, organization: undefined, hookId: undefined, keys: new Set() } },
    { text: '{"repository":{"full_name":"a/b","id":7}}', facts: { repository: "a/b", repositoryId: "7" } },
    { text: '{"repository":{"owner":{"login":"a","name":"b"}}}', facts: { owner: "a" } },
    { text: '{"repository":{"owner":{"name":"b","login":"a"}}}', facts: { owner: "a" } },
    { text: '{"repository":{"owner":{"name":"b"}}}', facts: { owner: "b" } },
    { text: '{"repository":{"owner":{"name":"b","login":null}}}', facts: { owner: "b" } },
    { text: '{"organization":{"login":"o"},"hook_id":1}', facts: { organization: "o", hookId: "1" } },
    // The last of two members counts, and nothing of the first.
    { text: '{"repository":{"id":1},"repository":{"id":2}}', facts: { repositoryId: "2" } },
    {
      text: '{"repository":{"id":1,"full_name":"a/b"},"repository":{"id":2}}',
      facts: { repository: undefined },
    },
    { text: '{"repository":{"id":1},"repository":null}', facts: nothing },
    { text: '{"repository":{"id":1},"repository":"a/b"}', facts: nothing },
    { text: '{"repository":{"id":1},"repository":[{"id":2}]}', facts: nothing },
    { text: '{"repository":{"owner":{"login":"a"},"owner":{}}}', facts: { owner: undefined } },
    { text: '{"repository":{"full_name":"a/b","full_name":7}}', facts: nothing },
    { text: '{"repository":{"full_name":"a/b","full_name":["a/b"]}}', facts: nothing },
    { text: '{"hook_id":1,"hook_id":{}}', facts: { hookId: undefined, keys: new Set(["hook_id"]) } },
    // Elsewhere it is not what it is called.
    { text: '{"x":[{"repository":{"full_name":"a/b"}}]}', facts: { ...nothing, keys: new Set(["x"]) } },
    { text: '{"x":{"repository":{"full_name":"a/b"}}}', facts: nothing },
    { text: '{"repository":[{"full_name":"a/b","id":1,"owner":{"login":"a"}}]}', facts: nothing },
    { text: '{"repository":[[{"full_name":"a/b"}]]}', facts: nothing },
    { text: '{"repository":{"owner":[{"login":"a"}]}}', facts: nothing },
    { text: '{"repository":{"x":{"full_name":"a/b","login":"a"}}}', facts: nothing },
    { text: '{"repository":{"id":1,"x":{"id":2},"y":[3,{"id":4}]}}', facts: { repositoryId: "1" } },
    { text: '{"full_name":"a/b","id":1,"login":"a","owner":{"login":"a"}}', facts: nothing },
    {
      text: '{"organization":{"login":"o"},"repository":{"login":"r"}}',
      facts: { ...nothing, organization: "o" },
    },
    { text: '{"__proto__":{"repository":{"id":1}}}', facts: { ...nothing, keys: new Set(["__proto__"]) } },
    { text: '{"repository":{"__proto__":{"id":1}}}', facts: nothing },
    { text: '{"Repository":{"id":1},"repository ":{"id":2},"repositor":{"id":3}}', facts: nothing },
    // Of a number there are only digits as they are written.
    { text: '{"hook_id":12345678901234567890}', facts: { hookId: "12345678901234567890" } },
    { text: '{"hook_id":-1}', facts: { hookId: undefined } },
    { text: '{"hook_id":1.0}', facts: { hookId: undefined } },
    { text: '{"hook_id":1e3}', facts: { hookId: undefined } },
    { text: '{"hook_id":"1"}', facts: { hookId: undefined } },
    { text: '{"hook_id":true}', facts: { hookId: undefined } },
    // An escape is the character that it stands for.
    {
      text: '{"\\u0072eposit\\u006Fry":{"\\u0069d":1}}',
      facts: { repositoryId: "1", keys: new Set(["repository"]) },
    },
    { text: '{"\\u0068\\u006f\\u006F\\u006b\\u005f\\u0069\\u0064":1}', facts: { hookId: "1" } },
    { text: '{"hook_id":1,"hook\\u005fid":2}', facts: { hookId: "2", keys: new Set(["hook_id"]) } },
    { text: '{"hook_id\\u0000":1,"hook_id\\b":1,"\\/hook_id":1}', facts: { hookId: undefined } },
    { text: '{"hook\\u015fid":1,"\\\\u0068ook_id":2}', facts: { hookId: undefined } },
    { text: '{"repository":{"full_name":"a\\/b\\u00e9\\n"}}', facts: { repository: "a/bé\n" } },
    { text: '{"\\ud83d\\ude00\\ud800":1}', facts: { keys: new Set(["😀\ud800"]) } },
    { text: '{"organization":{"login":"\\udc00"}}', facts: { organization: "\udc00" } },
    // Which V8's JSON.parse reads as one and the same key.
    { text: '{"a\\\\":1,"a\\"":2}', facts: { keys: new Set(["a\\", 'a"']) } },
  ])("of $text", ({ text, facts }) => {
    expect(factsOf(text)).toMatchObject(facts);
  });

  it("have values of up to 256 bytes, escapes counted as what they stand for", () => {
    const named = (name: string) => factsOf(`{"repository":{"full_name":"${name}"}}`).repository;
    expect(named("x".repeat(256))).toBe("x".repeat(256));
    expect(named("x".repeat(257))).toBeUndefined();
    expect(named("é".repeat(128))).toBe("é".repeat(128));
    expect(named("é".repeat(129))).toBeUndefined();
    expect(named("\\u0078".repeat(256))).toBe("x".repeat(256));
    expect(named("\\u0078".repeat(257))).toBeUndefined();
    expect(named("\\u00e9".repeat(129))).toBeUndefined();
    expect(factsOf(`{"hook_id":${"1".repeat(256)}}`).hookId).toBe("1".repeat(256));
    expect(factsOf(`{"hook_id":${"1".repeat(257)}}`).hookId).toBeUndefined();
  });

  it("have names of up to 64 bytes, of the first 256 members", () => {
    const name = "k".repeat(64);
    expect(factsOf(`{"${name}":1,"${name}k":2,"a":3}`).keys).toEqual(new Set([name, "a"]));
    const members = Array.from({ length: 300 }, (_, index) => `"${index}":0`).join(",");
    const { keys, hookId } = factsOf(`{${members},"hook_id":1}`);
    expect([...keys]).toEqual(Array.from({ length: 256 }, (_, index) => String(index)));
    expect(hookId).toBe("1");
  });

  it("are found to the depth that is allowed", () => {
    const deep = `${"[".repeat(MAX_DEPTH - 1)}${"]".repeat(MAX_DEPTH - 1)}`;
    expect(factsOf(`{"x":${deep},"repository":{"id":1}}`).repositoryId).toBe("1");
  });
});

function factsOf(text: string): BodyFacts {
  const scan = scanBody(encodeUtf8(text));
  if (!scan.ok) throw new Error(scan.fault);
  return scan.facts;
}

/** For a text as JSON.stringify prints numbers, of under 256 members. */
function factsByJsonParse(text: string): BodyFacts {
  const body: unknown = JSON.parse(text);
  const at = (...path: string[]) => path.reduce(ownMember, body);
  const string = (...path: string[]) => {
    const value = at(...path);
    return typeof value === "string" && encodeUtf8(value).length <= 256 ? value : undefined;
  };
  const digits = (...path: string[]) => {
    const value = at(...path);
    return typeof value === "number" && /^\d+$/.test(String(value)) ? String(value) : undefined;
  };
  return {
    keys: new Set(Object.keys(body as object).filter((key) => encodeUtf8(key).length <= 64)),
    repository: string("repository", "full_name"),
    repositoryId: digits("repository", "id"),
    owner: string("repository", "owner", "login") ?? string("repository", "owner", "name"),
    organization: string("organization", "login"),
    hookId: digits("hook_id"),
  };
}

function ownMember(value: unknown, name: string): unknown {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** JSON whose objects may have members of one name. */
type Json = string | number | null | readonly Json[] | { members: readonly (readonly [string, Json])[] };

/** Objects with the names that are looked for, at their places and at others. */
function lookalike(): fc.Arbitrary<Json> {
  const scalar = fc.oneof(
    fc.constantFrom("octo/cat", "octo", "", "é😀", "\ud800", "x".repeat(257)),
    fc.constantFrom(0, 1, 292430182, -1, 1.5, 1e300),
    fc.constant(null),
  );
  const names = ["repository", "owner", "full_name", "id", "login", "name", "organization", "hook_id"];
  const { value } = fc.letrec<{ value: Json; object: Json }>((tie) => ({
    value: fc.oneof(
      { depthSize: "medium" },
      { weight: 3, arbitrary: scalar },
      { weight: 3, arbitrary: tie("object") },
      { weight: 1, arbitrary: fc.array(tie("value"), { maxLength: 3 }) },
    ),
    object: fc
      .array(fc.tuple(fc.constantFrom(...names, "__proto__", "é"), tie("value")), { maxLength: 5 })
      .map((members) => ({ members })),
  }));
  const member = (name: string, inner: fc.Arbitrary<Json>) =>
    fc.tuple(fc.constant(name), fc.oneof({ weight: 4, arbitrary: inner }, { weight: 1, arbitrary: value }));
  const object = (...members: fc.Arbitrary<readonly [string, Json]>[]): fc.Arbitrary<Json> =>
    fc
      .array(fc.oneof(...members, fc.tuple(fc.constantFrom(...names), value)), { maxLength: 7 })
      .map((list) => ({ members: list }));
  const owner = object(member("login", scalar), member("name", scalar));
  return object(
    member("repository", object(member("full_name", scalar), member("id", scalar), member("owner", owner))),
    member("organization", object(member("login", scalar))),
    member("hook_id", scalar),
  );
}

function print(value: Json, key: (name: string) => string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("members" in value) {
    return `{${value.members.map(([name, inner]) => `${key(name)}:${print(inner, key)}`).join(",")}}`;
  }
  return `[${value.map((inner) => print(inner, key)).join(",")}]`;
}

/** The key in quotes, each UTF-16 unit of it as an escape if `escaped` says so. */
function spell(key: string, escaped: () => boolean): string {
  const units = Array.from({ length: key.length }, (_, index) => {
    const hex = key.charCodeAt(index).toString(16).padStart(4, "0");
    return escaped() ? `\\u${escaped() ? hex : hex.toUpperCase()}` : key.charAt(index);
  });
  return `"${units.join("")}"`;
}

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
