import webhooks from "@octokit/webhooks-examples/api.github.com/index.json" with { type: "json" };
import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { concatBytes, decodeUtf8, encodeHex, encodeUtf8 } from "../../shared/bytes.ts";
import type { DeliveryRecord } from "../../shared/delivery.ts";
import { decodeEvent, draftEvent, encodeEvent, replaceLeadingNul } from "../../shared/event.ts";
import { padmeSize } from "../../shared/padding.ts";
import { topicOf } from "../../shared/topic.ts";
import { scanBody } from "../../shared/webhook-body.ts";
import { jsonObjectText } from "./json-text.ts";

const TOPIC = "webhook.github.push";
const formatError = expect.objectContaining({ code: "ERR_EVENT_FORMAT" });
const uriError = expect.objectContaining({ code: "ERR_EVENT_URI" });

describe("an event's plaintext", () => {
  const payloads = webhooks.flatMap(({ name, examples }) =>
    (examples as object[]).map((payload) => ({ event: name, payload })),
  );

  it("is checked against 329 payloads of GitHub's own", () => {
    expect(payloads).toHaveLength(329);
  });

  test.for([
    { form: "as GitHub sends it", indent: undefined },
    { form: "indented, with a line's end", indent: 2 },
  ])("holds every payload, and gives it back byte for byte: $form", ({ indent }) => {
    for (const { event, payload } of payloads) {
      const rawBody = encodeUtf8(JSON.stringify(payload, undefined, indent) + (indent ? "\n" : ""));
      const topic = topicOf(event);
      const delivery = record(rawBody, { event });
      const plaintext = encodeEvent(topic, delivery, rawBody);

      expect(JSON.parse(decodeUtf8(plaintext))).toEqual({
        uri: topic,
        args: [],
        kwargs: { ...payload, _delivery: delivery },
      });
      const opened = decodeEvent(topic, plaintext);
      expect(opened).toMatchObject({ topic, delivery });
      expect(encodeHex(opened.rawBody)).toBe(encodeHex(rawBody));
    }
  });

  it("holds any JSON object, however it is spaced and whatever its keys are, and gives it back", () => {
    const outside = fc.string({ unit: fc.constantFrom(" ", "\n", "\r", "\t"), maxLength: 3 });
    let ownDelivery = 0;
    fc.assert(
      fc.property(jsonObjectText(4), outside, outside, (text, before, after) => {
        const rawBody = encodeUtf8(before + text + after);
        const delivery = record(rawBody);
        const plaintext = encodeEvent(TOPIC, delivery, rawBody);

        const body: Record<string, unknown> = JSON.parse(text);
        if ("_delivery" in body) ownDelivery += 1;
        body["_delivery"] = delivery;
        expect(JSON.stringify(JSON.parse(decodeUtf8(plaintext)))).toBe(
          JSON.stringify({ uri: TOPIC, args: [], kwargs: body }),
        );
        expect(encodeHex(decodeEvent(TOPIC, plaintext).rawBody)).toBe(encodeHex(rawBody));
      }),
      { numRuns: 3000 },
    );
    expect(ownDelivery).toBeGreaterThan(20);
  });

  test.for([
    { text: "{}", is: '{"_delivery":R}' },
    { text: "{ }", is: '{ "_delivery":R}' },
    { text: " {\n} ", is: ' {\n"_delivery":R} ' },
    { text: '{"a":1}', is: '{"a":1,"_delivery":R}' },
    { text: '{"a":1 }\n', is: '{"a":1 ,"_delivery":R}\n' },
    { text: '{"a":{}}', is: '{"a":{},"_delivery":R}' },
    { text: '{"a":"}"}', is: '{"a":"}","_delivery":R}' },
    {
      text: '{"id":12345678901234567890,"x":1.10e+2}',
      is: '{"id":12345678901234567890,"x":1.10e+2,"_delivery":R}',
    },
    { text: '{"a":1,"a":2}', is: '{"a":1,"a":2,"_delivery":R}' },
    { text: '{"_delivery":{"seq":9}}', is: '{"_delivery":{"seq":9},"_delivery":R}' },
  ])("is the body with our key spliced in last: $text", ({ text, is }) => {
    const rawBody = encodeUtf8(text);
    const delivery = record(rawBody);
    const plaintext = decodeUtf8(encodeEvent(TOPIC, delivery, rawBody));
    expect(plaintext.trimEnd()).toBe(
      `{"uri":"${TOPIC}","args":[],"kwargs":${is.replace("R", () => JSON.stringify(delivery))}}`,
    );
    const opened = decodeEvent(TOPIC, encodeUtf8(plaintext));
    expect(decodeUtf8(opened.rawBody)).toBe(text);
    expect(opened.delivery).toEqual(delivery);
  });

  it("is padded with spaces to the Padmé size of what it holds", () => {
    fc.assert(
      fc.property(fc.nat(20_000), (length) => {
        const rawBody = encodeUtf8(`{"a":"${"x".repeat(length)}"}`);
        const plaintext = encodeEvent(TOPIC, record(rawBody), rawBody);
        const unpadded = decodeUtf8(plaintext).replace(/ +$/, "").length;
        expect(plaintext).toHaveLength(padmeSize(unpadded));
        // And no part of the padding is anything but spaces.
        expect(decodeUtf8(plaintext.subarray(unpadded))).toBe(" ".repeat(plaintext.length - unpadded));
      }),
      { numRuns: 200 },
    );
  });
});

describe("a draft", () => {
  it("takes the body in place, with room before it that stays free", () => {
    const rawBody = encodeUtf8('{"a":[1,2]}\n \t');
    const draft = draftEvent(TOPIC, rawBody.length, 40);
    draft.body.set(rawBody.subarray(0, 5));
    draft.body.set(rawBody.subarray(5), 5);
    const whole = draft.finish(record(rawBody));
    expect(whole.subarray(0, 40)).toEqual(new Uint8Array(40));
    expect(whole.subarray(40)).toEqual(encodeEvent(TOPIC, record(rawBody), rawBody));
    expect(decodeEvent(TOPIC, whole.subarray(40)).rawBody).toEqual(rawBody);
  });
});

describe("strings that begin with NUL", () => {
  it("are rewritten, which leaves the size as it is, and the record says so", () => {
    const text = '{"a":"\\u0000AA","\\u0000":["\\u0000"],"b":"x\\u0000"}';
    const rawBody = encodeUtf8(text);
    const scan = scanBody(rawBody);
    if (!scan.ok) throw new Error(scan.fault);
    const altered = rawBody.slice();
    replaceLeadingNul(altered, scan.leadingNul);
    const plaintext = encodeEvent(TOPIC, record(rawBody, { altered: true }), altered);
    const opened = decodeEvent(TOPIC, plaintext);
    expect(decodeUtf8(opened.rawBody)).toBe('{"a":"\\uFFFDAA","\\u0000":["\\uFFFD"],"b":"x\\u0000"}');
    expect(opened.delivery.altered).toBe(true);
  });
});

describe("an opened plaintext is refused", () => {
  const rawBody = encodeUtf8('{"ref":"refs/heads/main","size":1}');
  const good = decodeUtf8(encodeEvent(TOPIC, record(rawBody), rawBody)).trimEnd();
  const decode = (text: string, topic = TOPIC) => decodeEvent(topic, encodeUtf8(text));

  it("never, when it is what was encoded", () => {
    expect(decodeUtf8(decode(good).rawBody)).toBe(decodeUtf8(rawBody));
  });

  test.for([
    "webhook.github.issues",
    "webhook.github.pus",
    "webhook.github.push ",
    "WEBHOOK.GITHUB.PUSH",
    "",
  ])("when it came on another topic: %j", (topic) => {
    expect(() => decode(good, topic)).toThrow(uriError);
  });

  it("when a second uri was smuggled in behind the first", () => {
    const twice = good.replace(/}$/, ',"uri":"webhook.github.issues"}');
    expect(() => decode(twice, "webhook.github.push")).toThrow(uriError);
    expect(() => decode(twice, "webhook.github.issues")).toThrow(formatError);
  });

  test.for([
    { name: "no JSON", text: good.slice(0, -1) },
    { name: "two documents", text: `${good}${good}` },
    { name: "a byte order mark first", text: `\uFEFF${good}` },
    { name: "an array", text: "[]" },
    { name: "null", text: "null" },
    { name: "no uri", text: good.replace('"uri"', '"url"') },
    { name: "args that are not empty", text: good.replace("[]", "[1]") },
    { name: "no kwargs", text: `{"uri":"${TOPIC}","args":[],"kwargs":null}` },
    { name: "no record", text: `{"uri":"${TOPIC}","args":[],"kwargs":{}}` },
    { name: "white space in its head", text: good.replace('"args":[]', '"args": []') },
    { name: "its keys in another order", text: reordered(rawBody) },
    {
      name: "a receipt",
      text: '{"v":1,"kind":"receipt","stream":"s","seq":1,"delivery":"12345678","tag":""}',
    },
  ])("when it is $name", ({ text }) => {
    expect(() => decode(text)).toThrow(formatError);
  });

  it("when it is not UTF-8", () => {
    expect(() => decodeEvent(TOPIC, concatBytes(encodeUtf8(good), Uint8Array.of(0x80)))).toThrow(formatError);
  });

  test.for<[keyof DeliveryRecord, unknown]>([
    ["v", 2],
    ["id", "short"],
    ["id", "../../../../etc"],
    ["hook_id", "1"],
    ["received_at", "yesterday"],
    ["stream", "Stream"],
    ["stream", ""],
    ["seq", 0],
    ["seq", 1.5],
    ["seq", "1"],
    ["seq", 2 ** 53],
    ["redelivery", 0],
    ["signature", "sha1=00"],
    ["body_bytes", -1],
    ["altered", null],
  ])("when its record has %s %j", ([field, value]) => {
    const delivery = { ...record(rawBody), [field]: value } as DeliveryRecord;
    expect(() => decodeEvent(TOPIC, encodeEvent(TOPIC, delivery, rawBody))).toThrow(formatError);
  });

  test.for(Object.keys(record(rawBody)))("when its record has no %s", (field) => {
    const incomplete = { ...record(rawBody), [field]: undefined };
    expect(() => decodeEvent(TOPIC, encodeEvent(TOPIC, incomplete, rawBody))).toThrow(formatError);
  });

  test.for(["{}", "{ }", '{"a":1}', ' {"a":[1,2,3]} ', '{"a":{"b":{}}}', '{"a":"\\"_delivery\\":{"}'])(
    "when body_bytes lies about %j, whatever it says",
    (text) => {
      const body = encodeUtf8(text);
      for (let lie = 2; lie < body.length + 400; lie += 1) {
        if (lie === body.length) continue;
        const delivery = { ...record(body), body_bytes: lie };
        expect(() => decodeEvent(TOPIC, encodeEvent(TOPIC, delivery, body)), `body_bytes ${lie}`).toThrow(
          formatError,
        );
      }
    },
  );

  it("never with another error than ours, whatever byte is altered", () => {
    const bytes = encodeUtf8(good);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
        const altered = bytes.slice();
        altered[at] = byte;
        try {
          decodeEvent(TOPIC, altered);
        } catch (error) {
          expect([formatError, uriError]).toContainEqual(error);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a later version's record", () => {
  it("may have more fields, which are left out", () => {
    const rawBody = encodeUtf8('{"a":1}');
    const later = { ...record(rawBody), shard: 7 };
    const opened = decodeEvent(TOPIC, encodeEvent(TOPIC, later, rawBody));
    expect(opened.delivery).toEqual(record(rawBody));
    expect(decodeUtf8(opened.rawBody)).toBe('{"a":1}');
  });
});

function record(rawBody: Uint8Array, changes: Partial<DeliveryRecord> = {}): DeliveryRecord {
  return {
    v: 1,
    id: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    event: "push",
    hook_id: 292430182,
    received_at: "2026-11-21T12:00:00.000Z",
    stream: "builder",
    seq: 42,
    redelivery: false,
    signature: `sha256=${"0".repeat(64)}`,
    body_bytes: rawBody.length,
    altered: false,
    ...changes,
  };
}

function reordered(rawBody: Uint8Array): string {
  const body: object = JSON.parse(decodeUtf8(rawBody));
  return JSON.stringify({ args: [], kwargs: { ...body, _delivery: record(rawBody) }, uri: TOPIC });
}
