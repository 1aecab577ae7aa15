import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DrainIdentity, type DrainState, stepDrain } from "../../../relay/drain/machine.ts";
import { CHUNK_BYTES, HEARTBEAT_ANSWER, type ToRelay } from "../../../shared/drain.ts";

const identity: DrainIdentity = {
  relay: "relay",
  window: 64,
  stream: undefined,
  resume: () => false,
  prove: (stream, challenge) => `proof:${stream}:${Buffer.from(challenge).toString("hex")}`,
};
const challenge = Buffer.alloc(32, 7);
const frame = (message: ToRelay) => JSON.stringify(message);
const welcome = frame({ type: "welcome", receipts: true, may: [] });
const proving: DrainState = { phase: "proving", stream: "builder" };
const connected: DrainState = { phase: "connected" };
const open: DrainState = { phase: "open", stream: "builder" };
const header = (bytes: number): Extract<ToRelay, { type: "event" }> => ({
  type: "event",
  seq: 1,
  topic: "webhook.github.push",
  delivery: "delivery-1",
  bytes,
});
const faulty = expect.objectContaining({ code: "ERR_DRAIN_FRAME" });

/** All frames one after the other: the last state, and every output. */
function run(state: DrainState, frames: readonly (string | Uint8Array)[]) {
  const outputs = [];
  let now = state;
  for (const each of frames) {
    const [next, more] = stepDrain(now, each, identity);
    now = next;
    outputs.push(...more);
  }
  return { state: now, outputs };
}

describe("the relay's side of the drain", () => {
  it("proves itself, then grants credit", () => {
    const { state, outputs } = run(connected, [
      frame({ type: "challenge", stream: "builder", challenge: challenge.toString("base64") }),
      welcome,
    ]);
    expect(state).toEqual(open);
    expect(outputs).toEqual([
      {
        do: "send",
        message: {
          type: "hello",
          relay: "relay",
          signature: `proof:builder:${challenge.toString("hex")}`,
          resume: false,
        },
      },
      { do: "opened", stream: "builder", receipts: true, may: [] },
      { do: "send", message: { type: "credit", events: 64 } },
    ]);
  });

  it.each<[what: string, welcome: string, receipts: boolean, may: string[]]>([
    ["an edge of the first version", '{"type":"welcome"}', true, []],
    ["no receipts", '{"type":"welcome","receipts":false}', false, []],
    ["more to ask", '{"type":"welcome","receipts":true,"may":["canary","later"]}', true, ["canary", "later"]],
  ])("learns with the welcome what the stream is like: %s", (_what, text, receipts, may) => {
    const [, outputs] = stepDrain(proving, text, identity);
    expect(outputs[0]).toEqual({ do: "opened", stream: "builder", receipts, may });
  });

  it("puts an event together from whatever pieces it comes in", () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(pieces, (chunks) => {
        const sealed = Buffer.concat(chunks);
        const { state, outputs } = run(open, [frame(header(sealed.length)), ...chunks]);
        expect(state).toEqual(open);
        expect(outputs).toHaveLength(1);
        expect(outputs[0]).toMatchObject({
          do: "event",
          event: { stream: "builder", seq: 1, delivery: "delivery-1" },
        });
        const [output] = outputs;
        expect(output?.do === "event" && Buffer.from(output.event.sealed).equals(sealed)).toBe(true);
      }),
    );
  });

  it("tells what the edge said to a receipt", () => {
    const { outputs } = run(open, [
      frame({ type: "accepted", seq: 3 }),
      frame({ type: "refused", seq: 4, code: "ERR_RECEIPT" }),
    ]);
    expect(outputs).toEqual([
      { do: "settled", stream: "builder", seq: 3, code: undefined },
      { do: "settled", stream: "builder", seq: 4, code: "ERR_RECEIPT" },
    ]);
  });

  const inAnEvent: DrainState = {
    phase: "receiving",
    stream: "builder",
    header: header(2),
    chunks: [],
    missing: 2,
  };

  it.each<DrainState>([connected, proving, open, inAnEvent])(
    "takes the answer to a heartbeat at any time: $phase",
    (state) => {
      expect(stepDrain(state, HEARTBEAT_ANSWER, identity)).toEqual([state, []]);
    },
  );

  it("is not confused by that answer between an event's header and its bytes", () => {
    const frames = [frame(header(3)), HEARTBEAT_ANSWER, Buffer.of(1), HEARTBEAT_ANSWER, Buffer.of(2, 3)];
    const { state, outputs } = run(open, frames);
    expect(state).toEqual(open);
    expect(outputs).toMatchObject([{ do: "event", event: { seq: 1, sealed: Uint8Array.of(1, 2, 3) } }]);
  });

  it("takes an event of a replay like any other", () => {
    const replayed = frame({ ...header(1), replay: true });
    const { outputs } = run(open, [replayed, Buffer.of(1)]);
    const event = { stream: "builder", seq: 1, topic: "webhook.github.push", delivery: "delivery-1" };
    expect(outputs).toEqual([{ do: "event", event: { ...event, sealed: Uint8Array.of(1) } }]);
  });

  it.each<Extract<ToRelay, { id: number }>>([
    { type: "replaying", id: 1, events: 3 },
    { type: "redelivered", id: 2, events: 100, next: 101 },
    { type: "redelivered", id: 3, events: 0 },
    { type: "canary", id: 4, seq: 12 },
  ])("passes on the edge's answer: $type $id", (answer) => {
    expect(stepDrain(open, frame(answer), identity)).toEqual([open, [{ do: "answered", answer }]]);
  });

  it("proves itself for the stream that was asked for, and for no other", () => {
    const asking = { ...identity, stream: "docs" };
    const named = (stream: string) =>
      frame({ type: "challenge", stream, challenge: challenge.toString("base64") });
    expect(stepDrain(connected, named("docs"), asking)[0]).toEqual({ phase: "proving", stream: "docs" });
    expect(() => stepDrain(connected, named("site"), asking)).toThrow(faulty);
  });

  it.each<[string, DrainState, string | Uint8Array]>([
    ["a replay before the welcome", connected, frame({ type: "replaying", id: 1, events: 0 })],
    ["a replay in the middle of an event", inAnEvent, frame({ type: "replaying", id: 1, events: 0 })],
    ["an event before the welcome", connected, frame(header(1))],
    ["a canary before the welcome", proving, frame({ type: "canary", id: 1, seq: 1 })],
    ["a redelivery in the middle of an event", inAnEvent, frame({ type: "redelivered", id: 1, events: 0 })],
    ["a welcome without a challenge", connected, welcome],
    ["a second welcome", open, welcome],
    ["an empty binary frame", inAnEvent, new Uint8Array(0)],
    [
      "a second challenge",
      open,
      frame({ type: "challenge", stream: "builder", challenge: challenge.toString("base64") }),
    ],
    ["bytes without a header", open, new Uint8Array(3)],
    ["an event that is larger than any", open, frame(header(64 * 1024 * 1024))],
    ["what is not JSON", open, "{"],
    ["a message of no known type", open, '{"type":"surprise"}'],
  ])("refuses %s", (_what, state, bad) => {
    expect(() => stepDrain(state, bad, identity)).toThrow(faulty);
  });

  it("refuses more bytes than the header said, text in between, and frames over 1 MiB", () => {
    const [receiving] = stepDrain(open, frame(header(2 * CHUNK_BYTES)), identity);
    expect(() => stepDrain(receiving, new Uint8Array(CHUNK_BYTES + 1), identity)).toThrow(faulty);
    expect(() => stepDrain(receiving, frame({ type: "accepted", seq: 1 }), identity)).toThrow(faulty);
    const [short] = stepDrain(open, frame(header(3)), identity);
    expect(() => stepDrain(short, new Uint8Array(4), identity)).toThrow(faulty);
  });
});
