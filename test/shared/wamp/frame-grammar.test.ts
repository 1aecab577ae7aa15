import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_DEPTH, MAX_VALUES } from "../../../shared/wamp/frame-grammar.ts";
import { serializers, type SerializerId } from "../../../shared/wamp/serializers.ts";
import { serializerOf } from "../../router/raw-client.ts";

const REFUSED = expect.objectContaining({ code: "ERR_WAMP_MESSAGE" });
const ids = serializers.map(({ id }) => id);

function parse(id: SerializerId, frame: Uint8Array | string): unknown[] {
  return serializerOf(id).parse(Buffer.from(frame));
}

const hex = (digits: string) => Buffer.from(digits.replaceAll(" ", ""), "hex");

describe("a frame", () => {
  it.each([
    ["msgpack", "a list that is shared, twice", "92 d66900000001 90 d67000000001"],
    ["msgpack", "a record", "91 d47240 91a161 01"],
    ["msgpack", "a record with an id of two bytes", "91 d5724000 91a161 01"],
    ["msgpack", "a date", "91 d6ff00000000"],
    ["msgpack", "a date of 12 bytes", "91 c70cff000000000000000000000000"],
    ["msgpack", "a set", "91 d47300 90"],
    ["msgpack", "an error", "91 c70165 90"],
    ["msgpack", "a regular expression", "91 c70478 92a161a0"],
    ["msgpack", "an integer without end", "91 c70942 010000000000000000"],
    ["msgpack", "a typed array", "91 c70574 0601020304"],
    ["msgpack", "bundled strings", "91 d662 00000001 c1"],
    ["msgpack", "undefined with something in it", "91 d40001"],
    ["msgpack", "a byte that msgpack never uses", "91 c1"],
    ["msgpack", "a number as a key", "81 0101"],
    ["msgpack", "a number as a key within", "91 81 0101"],
    ["msgpack", "bytes as a key", "91 81 c40161 01"],
    ["msgpack", "something behind the message", "90 90"],
    ["msgpack", "more elements said than there", "dd ffffffff 01"],
    ["cbor", "a list that is shared, twice", "82 d81c80 d81d00"],
    ["cbor", "a packed table", "81 d833 84 8101 80 80 e0"],
    ["cbor", "a packed reference", "81 c600"],
    ["cbor", "a record", "81 d9dfff 83 19e000 816161 01"],
    ["cbor", "record definitions", "81 d9dffe 83 19e000 816161 01"],
    ["cbor", "bundled strings", "81 d9dff9 82 00 80"],
    ["cbor", "a date", "81 c100"],
    ["cbor", "a date as text", "81 c07818323032302d30312d30315430303a30303a30302e3030305a"],
    ["cbor", "an integer that would fit", "81 c24101"],
    ["cbor", "an integer without end", "81 c249 010000000000000000"],
    ["cbor", "an integer below zero without end", "81 c349 010000000000000000"],
    ["cbor", "an integer below zero of more than 64 bits", "81 3b8000000000000000"],
    ["cbor", "a decimal fraction", "81 c4 82 2001"],
    ["cbor", "an error", "81 d81b 82 654572726f72 6161"],
    ["cbor", "a set", "81 d90102 80"],
    ["cbor", "a map", "81 d90103 a0"],
    ["cbor", "a typed array", "81 d845 420102"],
    ["cbor", "a tag of bytes before a list", "81 d840 80"],
    ["cbor", "a tag of bytes before a tag", "81 d840 d840 4101"],
    ["cbor", "the tag of CBOR itself", "d9d9f7 80"],
    ["cbor", "text in chunks", "81 7f 6161 ff"],
    ["cbor", "bytes in chunks", "81 5f 4161 ff"],
    ["cbor", "an unassigned value", "81 e0"],
    ["cbor", "an unassigned value in two bytes", "81 f8ff"],
    ["cbor", "a number as a key", "81 a1 0101"],
    ["cbor", "a number as a key without a count", "81 bf 0101 ff"],
    ["cbor", "a key without a value", "81 bf 6161 ff"],
    ["cbor", "a break that ends nothing", "81 ff"],
    ["cbor", "something behind the message", "80 80"],
    ["cbor", "more elements said than there", "9b ffffffffffffffff 01"],
    ["cbor", "more bytes said than there", "81 5b ffffffffffffffff 01"],
  ] as const)("on %s is refused with %s", (id, _what, digits) => {
    expect(() => parse(id, hex(digits))).toThrow(REFUSED);
  });

  it.each([
    // As Autobahn|Python and autobahn-js write them.
    ["msgpack", "91 c0", [null]],
    ["msgpack", "91 d40000", [undefined]],
    ["msgpack", "91 cf0000010000000000", [2n ** 40n]],
    ["msgpack", "91 d38000000000000000", [-(2n ** 63n)]],
    ["msgpack", "91 cfffffffffffffffff", [2n ** 64n - 1n]],
    ["msgpack", "91 ca3fc00000", [1.5]],
    ["msgpack", "91 cb4340000000000000", [2 ** 53]],
    ["msgpack", "91 c40103", [Buffer.from([3])]],
    ["msgpack", "91 81 d90161 90", [{ a: [] }]],
    ["cbor", "81 f6", [null]],
    ["cbor", "81 f7", [undefined]],
    ["cbor", "81 1b0000010000000000", [2n ** 40n]],
    ["cbor", "81 1bffffffffffffffff", [2n ** 64n - 1n]],
    ["cbor", "81 3b7fffffffffffffff", [-(2n ** 63n)]],
    ["cbor", "81 f98000", [-0]],
    ["cbor", "81 fa3fc00000", [1.5]],
    ["cbor", "81 fb4340000000000000", [2 ** 53]],
    ["cbor", "81 d840 420102", [Uint8Array.of(1, 2)]],
    ["cbor", "9f bf 6161 01 ff ff", [{ a: 1 }]],
    ["cbor", "81 b90001 6161 f7", [{ a: undefined }]],
  ] as const)("on %s passes: %s", (id, digits, wanted) => {
    expect(parse(id, hex(digits))).toEqual(wanted);
  });

  const nested: Record<SerializerId, (depth: number) => Uint8Array | string> = {
    json: (depth) => "[".repeat(depth) + "]".repeat(depth),
    msgpack: (depth) => hex("91".repeat(depth - 1) + "90"),
    cbor: (depth) => hex("81".repeat(depth - 1) + "80"),
  };

  it.each(ids)("on %s holds at most 128 lists within each other", (id) => {
    const deepest = parse(id, nested[id](MAX_DEPTH));
    for (const each of serializers) expect(parse(each.id, each.serialize(deepest))).toEqual(deepest);
    expect(() => parse(id, nested[id](MAX_DEPTH + 1))).toThrow(REFUSED);
  });

  it.each(ids)("on %s is refused at once when it is nothing but beginnings", (id) => {
    const begin = { json: "[", msgpack: "\x91", cbor: "\x81" }[id];
    const started = performance.now();
    expect(() => parse(id, Buffer.alloc(32 * 1024 * 1024, begin, "latin1"))).toThrow(REFUSED);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it.each(ids)("on %s holds at most 250,000 values in each element", (id) => {
    const { serialize } = serializerOf(id);
    const full = Array.from({ length: MAX_VALUES / 2 }, () => [0]);
    for (const args of [full, full.map(() => ({})), full.map(() => [])]) {
      const list = parse(id, serialize([16, 1, { a: 1 }, "a.b", args, { a: args.slice(1) }]));
      for (const each of serializers) expect(parse(each.id, each.serialize(list))).toHaveLength(6);
    }
    expect(() => parse(id, serialize([[...full, 0]]))).toThrow(REFUSED);
    expect(() => parse(id, serialize(full.slice(0, 8)))).toThrow(REFUSED);
  });

  it("on json is not mistaken for deep because of its texts", () => {
    const texts = ["[".repeat(500), '"', "\\", '\\"[[', "\\\\", '","[', "\u2028", ",".repeat(500)];
    const message = [texts, Object.fromEntries(texts.map((text) => [text, text]))];
    expect(parse("json", JSON.stringify(message, null, 2))).toEqual(message);
    expect(() => parse("json", `["\\\\",${"[".repeat(200)}${"]".repeat(200)}]`)).toThrow(REFUSED);
  });
});

describe("what a serializer", () => {
  const text = fc
    .oneof(fc.string({ unit: "binary", maxLength: 40 }), fc.constantFrom('"', "\\", "[".repeat(200)))
    .filter((any) => !isBytesOnJson(any));
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small", withCrossShrink: true },
      fc.oneof(
        text,
        fc.double(),
        fc.maxSafeInteger(),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
        fc.boolean(),
        fc.constantFrom(null, undefined),
        fc.uint8Array({ maxLength: 300 }),
      ),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(text, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  const message = fc.array(value, { maxLength: 7 });

  it.each(ids)("writes as %s, it reads again", (id) => {
    fc.assert(
      fc.property(message, (list) => {
        expect(parse(id, serializerOf(id).serialize(list)).length).toBe(list.length);
      }),
      { numRuns: 300 },
    );
  });

  /** A message with some bytes changed, so that every kind of head comes up. */
  const mutated = (id: SerializerId) =>
    fc
      .tuple(message, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }))
      .map(([list, changes]) => {
        const frame = Buffer.from(serializerOf(id).serialize(list));
        for (const [at, byte] of changes) frame[at % frame.length] = byte;
        return frame;
      });
  const head = fc.constantFrom(0x81, 0x91, 0x9f, 0xc2, 0xd4, 0xd8, 0xd9, 0xdc, 0xff, 0x5b, 0x22, 0x5c);
  const bytes = fc.array(fc.oneof(head, fc.nat(255)), { maxLength: 30 });

  it.each(ids)(
    "reads as %s, every serializer writes, but JSON its text for bytes, and it is of plain values, none of them there twice",
    (id) => {
      fc.assert(
        fc.property(fc.oneof(mutated(id), bytes.map(Buffer.from)), (frame) => {
          let list: unknown[];
          try {
            list = parse(id, frame);
          } catch (error) {
            expect(error).toEqual(REFUSED);
            return;
          }
          expectPlain(list, new Set());
          for (const each of serializers) {
            if (each.id === "json" && holdsTextForBytes(list))
              expect(() => each.serialize(list)).toThrow(TypeError);
            else parse(each.id, each.serialize(list));
          }
        }),
        { numRuns: 1000 },
      );
    },
  );
});

function isBytesOnJson(value: unknown): boolean {
  return typeof value === "string" && value.startsWith("\0");
}

function holdsTextForBytes(value: unknown): boolean {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return isBytesOnJson(value);
  return Object.values(value).some(holdsTextForBytes);
}

function expectPlain(value: unknown, seen: Set<object>): void {
  if (typeof value !== "object" || value === null) return;
  expect(seen.has(value)).toBe(false);
  seen.add(value);
  if (value instanceof Uint8Array) return;
  expect([Object.prototype, Array.prototype]).toContain(Object.getPrototypeOf(value));
  for (const inner of Object.values(value)) expectPlain(inner, seen);
}
