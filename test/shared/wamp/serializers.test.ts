import { describe, expect, it } from "vitest";
import { serializers } from "../../../shared/wamp/serializers.ts";

const [msgpack, cbor, json] = serializers;

describe("half of a surrogate pair on JSON", () => {
  const parsed = json?.parse(
    Buffer.from(String.raw`[1, {"\ud83d": "\ude00"}, ["a\ud800b", "\ud83d\ude00"]]`),
  );

  it("is U+FFFD, in text and in keys, as on the others", () => {
    expect(parsed).toEqual([1, { "\u{FFFD}": "\u{FFFD}" }, ["a\u{FFFD}b", "😀"]]);
  });

  it.each([msgpack, cbor])("is valid UTF-8 when $id passes it on", (serializer) => {
    const frame = Buffer.from(serializer?.serialize(parsed ?? []) ?? "");
    expect(frame.includes(Buffer.from("eda080", "hex"))).toBe(false);
    expect(serializer?.parse(frame)).toEqual(parsed);
  });
});

describe("text that begins with U+0000", () => {
  it.each([msgpack, cbor])("is text on $id", (serializer) => {
    const message = [1, ["\0", "\0YQ=="], { key: "\0a" }];
    expect(serializer?.parse(Buffer.from(serializer.serialize(message)))).toEqual(message);
  });

  it.each([[[1, "\0"]], [[1, ["\0YQ=="]]], [[1, [], { key: "\0a" }]]])(
    "is not written on JSON, where it would be read as bytes: %j",
    (message) => {
      expect(() => json?.serialize(message)).toThrow(TypeError);
    },
  );

  it("is written on JSON for bytes", () => {
    expect(json?.serialize([1, Buffer.from("a")])).toBe(String.raw`[1,"\u0000YQ=="]`);
  });
});
