import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { ToEdge } from "../../shared/drain.ts";
import {
  type Drain,
  drainSchema,
  fillWindow,
  type Output,
  stepDrain,
  type Surroundings,
} from "../../worker/drain.ts";
import type { EventRow } from "../../worker/outbox-sql.ts";
import * as v from "valibot";

const MIB = 1024 * 1024;
const challenged: Drain = { v: 1, phase: "challenged", host: "edge.example", challenge: "AAAA" };
const open: Drain & { phase: "open" } = {
  v: 1,
  phase: "open",
  relay: "relay-one",
  window: 0,
  cursor: 0,
  unstored: [],
};
const hello: ToEdge = { type: "hello", relay: "relay-one", signature: "BBBB" };

describe("the table of states", () => {
  const welcomed: Drain = { ...open };
  const rows: {
    name: string;
    drain: Drain;
    message: ToEdge;
    proven?: boolean;
    refusal?: string;
    next: Drain;
    outputs: Output[];
  }[] = [
    {
      name: "challenged + hello, proven → open, welcome, the older socket closed first",
      drain: challenged,
      message: hello,
      next: welcomed,
      outputs: [{ do: "supersede" }, { do: "send", message: { type: "welcome" } }],
    },
    {
      name: "challenged + hello, not proven → close 4401",
      drain: challenged,
      message: hello,
      proven: false,
      next: challenged,
      outputs: [{ do: "close", code: 4401, reason: "not proven" }],
    },
    ...(
      [
        { type: "credit", events: 1 },
        { type: "stored", seq: 1 },
        { type: "done", seq: 1, receipt: "AAAA" },
      ] as const
    ).map((message) => ({
      name: `challenged + ${message.type} → close 4400`,
      drain: challenged,
      message,
      next: challenged,
      outputs: [{ do: "close" as const, code: 4400, reason: `${message.type} is not expected now` }],
    })),
    {
      name: "open + hello → close 4400",
      drain: open,
      message: hello,
      next: open,
      outputs: [{ do: "close", code: 4400, reason: "hello is not expected now" }],
    },
    {
      name: "open + credit → events up to the window",
      drain: open,
      message: { type: "credit", events: 2 },
      next: {
        ...open,
        window: 2,
        cursor: 2,
        unstored: [
          [1, 10],
          [2, 10],
        ],
      },
      outputs: [sendEvent(1), sendEvent(2)],
    },
    {
      name: "open + stored → the next event",
      drain: {
        ...open,
        window: 2,
        cursor: 2,
        unstored: [
          [1, 10],
          [2, 10],
        ],
      },
      message: { type: "stored", seq: 1 },
      next: {
        ...open,
        window: 2,
        cursor: 3,
        unstored: [
          [2, 10],
          [3, 10],
        ],
      },
      outputs: [sendEvent(3)],
    },
    {
      name: "open + stored of what is not under way → nothing",
      drain: { ...open, window: 1, cursor: 1, unstored: [[1, 10]] },
      message: { type: "stored", seq: 9 },
      next: { ...open, window: 1, cursor: 1, unstored: [[1, 10]] },
      outputs: [],
    },
    {
      name: "open + done, the receipt good → accepted, and the window is not touched",
      drain: { ...open, window: 1, cursor: 1, unstored: [[1, 10]] },
      message: { type: "done", seq: 1, receipt: "AAAA" },
      next: { ...open, window: 1, cursor: 1, unstored: [[1, 10]] },
      outputs: [{ do: "send", message: { type: "accepted", seq: 1 } }],
    },
    {
      name: "open + done, the receipt bad → refused with the reason",
      drain: open,
      message: { type: "done", seq: 1, receipt: "AAAA" },
      refusal: "ERR_RECEIPT",
      next: open,
      outputs: [{ do: "send", message: { type: "refused", seq: 1, code: "ERR_RECEIPT" } }],
    },
  ];

  test.for(rows)("$name", ({ drain, message, proven = true, refusal, next, outputs }) => {
    const before = structuredClone(drain);
    const around = { ...outboxOf(3), provenBy: () => proven, finish: () => refusal };
    expect(stepDrain(drain, message, around)).toEqual([next, outputs]);
    expect(drain, "the state that went in is left alone").toEqual(before);
  });

  it("asks for the proof with what the relay sent and what it was challenged with", () => {
    const asked: unknown[] = [];
    const provenBy: Surroundings["provenBy"] = (...question) => {
      asked.push(question);
      return true;
    };
    stepDrain(challenged, hello, { ...outboxOf(0), provenBy });
    expect(asked).toEqual([[hello, "edge.example", "AAAA"]]);
  });
});

describe("filling the window", () => {
  test.for([
    { name: "the window", sizes: [1, 1, 1, 1], window: 3, sent: 3 },
    { name: "what there is", sizes: [1, 1], window: 500, sent: 2 },
    { name: "no credit", sizes: [1], window: 0, sent: 0 },
    { name: "32 MiB under way", sizes: [16 * MIB, 16 * MIB, 1], window: 500, sent: 2 },
    {
      name: "32 MiB under way, which one event may pass",
      sizes: [16 * MIB, 16 * MIB - 1, 27 * MIB, 1],
      window: 500,
      sent: 3,
    },
    { name: "nothing, for a single event of any size", sizes: [40 * MIB], window: 1, sent: 1 },
  ])("is bounded by $name", ({ sizes, window, sent }) => {
    const [drain, outputs] = fillWindow({ ...open, window }, outboxOf(sizes));
    expect(outputs).toEqual(sizes.slice(0, sent).map((bytes, index) => sendEvent(index + 1, bytes)));
    expect(drain).toMatchObject({
      cursor: sent,
      unstored: sizes.slice(0, sent).map((bytes, index) => [index + 1, bytes]),
    });
  });

  it("counts what is under way already", () => {
    const drain: Drain = { ...open, window: 3, cursor: 1, unstored: [[1, 32 * MIB]] };
    expect(fillWindow(drain, outboxOf(3))).toEqual([drain, []]);
  });

  it("sends nothing to a socket that has not proven who it is", () => {
    expect(fillWindow(challenged, outboxOf(3))).toEqual([challenged, []]);
  });
});

describe("any conversation", () => {
  /** What a relay may send once it is welcome, and deliveries that come meanwhile. */
  const input = fc.oneof(
    fc.record({ type: fc.constant("credit" as const), events: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ type: fc.constant("stored" as const), seq: fc.integer({ min: 1, max: 25 }) }),
    fc.record({
      type: fc.constant("done" as const),
      seq: fc.integer({ min: 1, max: 25 }),
      receipt: fc.constantFrom("good", "bad"),
    }),
    fc.constant({ type: "delivery" as const }),
  );

  it("sends every event once, in order, never more than the window, and forgets none", () => {
    fc.assert(
      fc.property(fc.array(input, { maxLength: 60 }), fc.integer({ min: 0, max: 10 }), (inputs, atFirst) => {
        const outbox = makeOutbox(atFirst);
        let [drain] = stepDrain(challenged, hello, outbox);
        const sent: number[] = [];
        const stored = new Set<number>();
        const take = ([next, outputs]: [Drain, Output[]]) => {
          drain = next;
          for (const output of outputs) if (output.do === "sendEvent") sent.push(output.row.seq);
          if (drain.phase !== "open") throw new Error("the socket was closed");
          expect(v.is(drainSchema, structuredClone(drain))).toBe(true);
          return drain;
        };
        let window = 0;
        for (const message of inputs) {
          if (message.type === "delivery") {
            outbox.add();
            take(fillWindow(drain, outbox));
          } else {
            if (message.type === "credit") window = message.events;
            if (message.type === "stored" && sent.includes(message.seq)) stored.add(message.seq);
            const before = sent.length;
            take(stepDrain(drain, message, outbox));
            const underWay = sent.filter((seq) => !stored.has(seq)).length;
            if (sent.length > before) expect(underWay).toBeLessThanOrEqual(window);
          }
        }
        expect(sent).toEqual([...new Set(sent)].toSorted((a, b) => a - b));

        // Whatever was not sent is sent as soon as the relay takes it.
        take(stepDrain(drain, { type: "credit", events: 500 }, outbox));
        const neverDone = outbox.undone();
        expect(neverDone.filter((seq) => !sent.includes(seq))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });
});

function sendEvent(seq: number, bytes = 10): Output {
  return { do: "sendEvent", row: row(seq, bytes) };
}

function row(seq: number, bytes = 10): EventRow {
  return { seq, delivery: `delivery-${seq}`, topic: "webhook.github.push", bytes, tag: "tag" };
}

/** Surroundings with that many undone events, or events of these sizes. */
function outboxOf(events: number | number[]): Surroundings {
  const sizes = typeof events === "number" ? Array.from({ length: events }, () => 10) : events;
  const rows = sizes.map((bytes, index) => row(index + 1, bytes));
  return {
    provenBy: () => true,
    finish: () => undefined,
    undoneAfter: (seq) => rows.find((each) => each.seq > seq),
  };
}

/** An outbox in memory, in which only a good receipt makes an event done. */
function makeOutbox(count: number) {
  const undone = new Set(Array.from({ length: count }, (_, index) => index + 1));
  let last = count;
  return {
    provenBy: () => true,
    undoneAfter: (after: number) => {
      const seq = [...undone].find((each) => each > after);
      return seq === undefined ? undefined : row(seq);
    },
    finish(seq: number, receipt: string) {
      if (receipt !== "good") return "ERR_RECEIPT";
      undone.delete(seq);
      return undefined;
    },
    add() {
      last += 1;
      undone.add(last);
    },
    undone: () => [...undone],
  };
}
