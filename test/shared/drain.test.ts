import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { encodeBase64, encodeHex } from "../../shared/bytes.ts";
import {
  CLOSE,
  drainProof,
  HEARTBEAT,
  HEARTBEAT_ANSWER,
  MAX_WINDOW,
  parseToEdge,
  parseToRelay,
} from "../../shared/drain.ts";

const frameError = expect.objectContaining({ code: "ERR_DRAIN_FRAME" });
const BASE64_2048 = "A".repeat(2048);

describe("a frame to the edge", () => {
  test.for([
    { type: "hello", relay: "relay-one", signature: "AAAA" },
    { type: "hello", relay: "r", signature: BASE64_2048 },
    { type: "credit", events: 1 },
    { type: "credit", events: MAX_WINDOW },
    { type: "stored", seq: 1 },
    { type: "stored", seq: Number.MAX_SAFE_INTEGER },
    { type: "done", seq: 7, receipt: "AAAA" },
    { type: "done", seq: 7 },
    { type: "replay", id: 0, of: { from: 1, to: 1 } },
    { type: "replay", id: 1, of: { delivery: "delivery-1" } },
    { type: "replay", id: 2, of: { since: "2026-11-21T00:00:00.000Z", until: "2026-11-22T00:00:00.000Z" } },
    { type: "redeliver", id: 3, of: { from: 1, to: 1 } },
    { type: "redeliver", id: 4, of: { delivery: "delivery-1" }, after: 1 },
    { type: "canary", id: 5 },
  ])("is read: %j", (message) => {
    expect(parseToEdge(JSON.stringify(message))).toEqual(message);
  });

  test.for<unknown>([
    null,
    1,
    "hello",
    [],
    {},
    { type: "" },
    { type: "bye" },
    { type: "Hello", relay: "relay-one", signature: "AAAA" },
    { type: "hello", relay: "relay-one" },
    { type: "hello", relay: "Relay", signature: "AAAA" },
    { type: "hello", relay: "", signature: "AAAA" },
    { type: "hello", relay: "r".repeat(64), signature: "AAAA" },
    { type: "hello", relay: "relay-one", signature: "not base64" },
    { type: "hello", relay: "relay-one", signature: `${BASE64_2048}AAAA` },
    { type: "credit" },
    { type: "credit", events: 0 },
    { type: "credit", events: MAX_WINDOW + 1 },
    { type: "credit", events: 1.5 },
    { type: "credit", events: "1" },
    { type: "credit", events: -1 },
    { type: "stored", seq: 0 },
    { type: "stored", seq: 2 ** 53 },
    { type: "stored", seq: null },
    { type: "done" },
    { type: "done", seq: 1, receipt: null },
    { type: "done", seq: 1, receipt: `${BASE64_2048}AAAA` },
    { type: "replay", id: 1 },
    { type: "replay", id: -1, of: { from: 1, to: 2 } },
    { type: "replay", id: 1, of: {} },
    { type: "replay", id: 1, of: { from: 0, to: 2 } },
    { type: "replay", id: 1, of: { delivery: "a/b" } },
    { type: "replay", id: 1, of: { since: "yesterday", until: "today" } },
    { type: "redeliver", id: 1 },
    { type: "redeliver", id: 1, of: { from: 1, to: 2 }, after: 0 },
    { type: "redeliver", of: { from: 1, to: 2 } },
    { type: "canary" },
    { type: "canary", id: 0.5 },
    { type: "ping" },
    { type: "welcome" },
    { type: "challenge", stream: "builder", challenge: "AAAA" },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1 },
  ])("is refused: %j", (message) => {
    expect(() => parseToEdge(JSON.stringify(message))).toThrow(frameError);
  });
});

describe("a frame to the relay", () => {
  test.for([
    { type: "challenge", stream: "builder", challenge: encodeBase64(new Uint8Array(32)) },
    { type: "welcome", receipts: false, may: [] },
    { type: "welcome", receipts: true, may: ["canary", "redeliver", "what is not known yet"] },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1 },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1, replay: true },
    { type: "pong" },
    { type: "replaying", id: 3, events: 0 },
    { type: "redelivered", id: 3, events: 0 },
    { type: "redelivered", id: 3, events: 100, next: 101 },
    { type: "canary", id: 3, seq: 1 },
    { type: "accepted", seq: 1 },
    { type: "refused", seq: 1, code: "ERR_RECEIPT" },
  ])("is read: %j", (message) => {
    expect(parseToRelay(JSON.stringify(message))).toEqual(message);
  });

  test.for<unknown>([
    null,
    { type: "challenge", stream: "a b", challenge: "AAAA" },
    { type: "challenge", stream: "builder", challenge: "*" },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 0 },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1.5 },
    { type: "event", seq: 0, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1 },
    { type: "event", seq: 1, delivery: "delivery-1", bytes: 1 },
    { type: "event", seq: 1, topic: "webhook.github.push", delivery: "delivery-1", bytes: 1, replay: false },
    { type: "welcome", receipts: "no" },
    { type: "welcome", may: "canary" },
    { type: "replaying", id: 3 },
    { type: "redelivered", id: 3 },
    { type: "redelivered", id: 3, events: 1, next: 0 },
    { type: "canary", id: 3 },
    { type: "canary", id: 3, seq: 0 },
    { type: "accepted" },
    { type: "refused", seq: 1 },
    { type: "credit", events: 1 },
    { type: "hello", relay: "relay-one", signature: "AAAA" },
  ])("is refused: %j", (message) => {
    expect(() => parseToRelay(JSON.stringify(message))).toThrow(frameError);
  });
});

describe("any frame", () => {
  test.for(["", "{", "hello", '{"type":"welcome"} x', "\uFEFF{}"])(
    "that is no JSON is refused: %j",
    (frame) => {
      expect(() => parseToEdge(frame)).toThrow(frameError);
      expect(() => parseToRelay(frame)).toThrow(frameError);
    },
  );

  it("of a later version may have more fields, which are left out", () => {
    expect(parseToEdge('{"type":"credit","events":2,"bytes":9}')).toEqual({ type: "credit", events: 2 });
    expect(parseToRelay('{"type":"welcome","version":2}')).toEqual(parseToRelay('{"type":"welcome"}'));
  });

  it("of the first version has no more to tell: receipts are given, and nothing more may be asked", () => {
    expect(parseToRelay('{"type":"welcome"}')).toEqual({ type: "welcome", receipts: true, may: [] });
  });

  it("is either read as a message that reads the same again, or refused with our error", () => {
    const value = fc.oneof(
      fc.nat(600),
      fc.constantFrom("relay-one", "AAAA", "hello", "done", null),
      fc.jsonValue(),
    );
    const message = fc.record(
      {
        type: fc.constantFrom("hello", "credit", "stored", "done", "bye"),
        relay: value,
        signature: value,
        events: value,
        seq: value,
        receipt: value,
      },
      { requiredKeys: ["type"] },
    );
    let read = 0;
    fc.assert(
      fc.property(
        fc.oneof({ weight: 4, arbitrary: message.map((m) => JSON.stringify(m)) }, fc.string()),
        (frame) => {
          let once: unknown;
          try {
            once = parseToEdge(frame);
          } catch (error) {
            expect(error).toEqual(frameError);
            return;
          }
          expect(parseToEdge(JSON.stringify(once))).toEqual(once);
          read += 1;
        },
      ),
      { numRuns: 3000 },
    );
    expect(read).toBeGreaterThan(100);
  });

  it("is not repeated in the error, since a relay may have put a secret into it", () => {
    for (const frame of ["hunter2", '{"type":"hunter2"}']) {
      expect(() => parseToEdge(frame)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining("hunter2") }),
      );
    }
  });
});

describe("what a relay signs", () => {
  const challenge = Uint8Array.from({ length: 32 }, (_, index) => index);

  it("is, byte for byte, purpose, host, stream and challenge", () => {
    expect(encodeHex(drainProof("edge.example", "builder", challenge))).toBe(
      "6f6e696f6e686f6f6b2e647261696e2e3100" + // onionhook.drain.1
        "656467652e6578616d706c6500" + // edge.example
        "6275696c64657200" + // builder
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    );
  });

  it("differs whenever host, stream or challenge differ, also when their letters only moved", () => {
    const name = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 3 });
    const parts = fc.tuple(name, name, fc.uint8Array({ minLength: 2, maxLength: 2 }));
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const same = a[0] === b[0] && a[1] === b[1] && encodeHex(a[2]) === encodeHex(b[2]);
        expect(encodeHex(drainProof(...a)) === encodeHex(drainProof(...b))).toBe(same);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("the heartbeat", () => {
  it("is no message for the edge to read: the runtime answers it, and the answer is one for the relay", () => {
    expect(() => parseToEdge(HEARTBEAT)).toThrow(frameError);
    expect(parseToRelay(HEARTBEAT_ANSWER)).toEqual({ type: "pong" });
  });
});

describe("the close codes", () => {
  it("are those of docs/protocol.md: applications own 4000 to 4999", () => {
    expect(CLOSE).toEqual({
      unauthorised: 4401,
      protocol: 4400,
      silent: 4408,
      superseded: 4409,
      crowded: 4429,
    });
  });
});
