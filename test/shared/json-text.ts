/** Arbitrary JSON objects as text, with white space in every place where RFC 8259 allows it. */
import * as fc from "fast-check";

/** `width`: how large a value may become; keys that JavaScript or we treat specially are frequent. */
export function jsonObjectText(width: number): fc.Arbitrary<string> {
  return fc
    .tuple(jsonObject(width), fc.array(whiteSpace, { minLength: 1, maxLength: 12 }))
    .map(([value, spaces]) => {
      let next = 0;
      return print(value, () => spaces[next++ % spaces.length] ?? "");
    });
}

const whiteSpace = fc.string({ unit: fc.constantFrom(" ", "\n", "\r", "\t"), maxLength: 3 });
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.string({
    unit: fc.constantFrom('"', "\\", "/", "{", "}", "\0", "\b", "\n", "\u2028", "a"),
    maxLength: 6,
  }),
  fc.constantFrom("_delivery", "__proto__", "\0", "\0AAAA", "\\u0000", "}", '","_delivery":{'),
);

/**
 * A key without a backslash. After a key with one, V8's JSON.parse, which these tests take for the truth,
 * may read a later escaped key as that one: https://github.com/nodejs/node/issues/63785.
 */
const keyText = text.filter((name) => !name.includes("\\"));

function jsonObject(width: number): fc.Arbitrary<unknown> {
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.oneof(
        text,
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.maxSafeInteger(),
        fc.boolean(),
        fc.constant(null),
      ),
      fc.array(tie("value"), { maxLength: width }),
      fc.dictionary(keyText, tie("value"), { maxKeys: width, noNullPrototype: true }),
    ),
  }));
  return fc.dictionary(keyText, value, { maxKeys: width, noNullPrototype: true });
}

function print(value: unknown, space: () => string): string {
  const list = (open: string, items: string[], close: string) =>
    open + (items.length === 0 ? space() : items.map((item) => space() + item + space()).join(",")) + close;
  if (Array.isArray(value)) {
    return list(
      "[",
      value.map((item: unknown) => print(item, space)),
      "]",
    );
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(
      ([key, item]) => JSON.stringify(key) + space() + ":" + space() + print(item, space),
    );
    return list("{", entries, "}");
  }
  return JSON.stringify(value);
}
