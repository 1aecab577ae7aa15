import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DrainIdentity, type DrainState, stepDrain } from "../../relay/drain-machine.ts";
import { CHUNK_BYTES, type ToRelay } from "../../shared/drain.ts";

const identity: DrainIdentity = {
  relay: "relay",
  window: 64,
  prove: (stream, challenge) => `proof:${stream}:${Buffer.from(challenge).toString("hex")}`,
};
const challenge = Buffer.alloc(32, 7);
const frame = (message: ToRelay) => JSON.stringify(message);
const connected: DrainState = { phase: "connected" };
const open: DrainState = { phase: "open", stream: "builder" };
const header = (bytes: number): ToRelay => ({
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
      frame({ type: "welcome" }),
    ]);
    expect(state).toEqual(open);
    expect(outputs).toEqual([
      {
        do: "send",
        message: { type: "hello", relay: "relay", signature: `proof:builder:${challenge.toString("hex")}` },
      },
      { do: "opened", stream: "builder" },
      { do: "send", message: { type: "credit", events: 64 } },
    ]);
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

  it.each<[string, DrainState, string | Uint8Array]>([
    ["an event before the welcome", connected, frame(header(1))],
    ["a welcome without a challenge", connected, frame({ type: "welcome" })],
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
