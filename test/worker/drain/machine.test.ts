import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type Drain,
  fillWindow,
  type Input,
  type Open,
  type Output,
  stepDrain,
  type Surroundings,
} from "../../../worker/drain/machine.ts";
import type { EventRow } from "../../../worker/outbox/events.ts";

const MIB = 1024 * 1024;
const NOW = 1_790_000_000_000;
const challenged: Drain = { v: 2, phase: "challenged", host: "edge.example", challenge: "AAAA", since: 1 };
const open: Open = {
  v: 2,
  phase: "open",
  relay: "relay-one",
  window: 0,
  cursor: 0,
  resumed: false,
  whole: false,
  freed: null,
  unstored: [],
  replays: [],
  heardAt: NOW,
};
const hello: Input = { type: "hello", relay: "relay-one", proven: true, resumed: false };

/** None touches another, or 1 to 3. */
const sixteenRanges = Array.from({ length: 16 }, (_, index): [number, number] => [
  10 * index + 10,
  10 * index + 11,
]);

describe("the table of states", () => {
  const unexpected = (type: string): Output => ({
    do: "close",
    code: 4400,
    reason: `${type} is not expected now`,
  });
  const rows: {
    name: string;
    drain: Drain;
    input: Input;
    refusal?: string;
    /** The number of the canary that there is, or then is. */
    canary?: number;
    next: Drain;
    outputs: Output[];
  }[] = [
    {
      name: "challenged + hello, proven → open, admitted, welcome",
      drain: challenged,
      input: hello,
      next: open,
      outputs: [
        { do: "admit", relay: "relay-one" },
        { do: "send", message: { type: "welcome", may: ["canary", "redeliver"] } },
      ],
    },
    {
      name: "challenged + hello, proven, to go on → open, and what the relay stored is not asked for",
      drain: challenged,
      input: { ...hello, resumed: true },
      next: { ...open, resumed: true, whole: true },
      outputs: [
        { do: "admit", relay: "relay-one" },
        { do: "send", message: { type: "welcome", may: ["canary", "redeliver"] } },
      ],
    },
    {
      name: "challenged + hello, not proven → close 4401",
      drain: challenged,
      input: { ...hello, proven: false },
      next: challenged,
      outputs: [{ do: "close", code: 4401, reason: "not proven" }],
    },
    ...(
      [
        { type: "credit", events: 1 },
        { type: "stored", seq: 1 },
        { type: "done", seq: 1, receipt: "AAAA" },
        { type: "replay", id: 1, of: { from: 1, to: 2 } },
        { type: "redeliver", id: 1, of: { from: 1, to: 2 } },
        { type: "canary", id: 1 },
      ] as const
    ).map((input) => ({
      name: `challenged + ${input.type} → close 4400`,
      drain: challenged,
      input,
      next: challenged,
      outputs: [unexpected(input.type)],
    })),
    {
      name: "open + hello → close 4400",
      drain: open,
      input: hello,
      next: open,
      outputs: [unexpected("hello")],
    },
    {
      name: "open + credit → events up to the window",
      drain: open,
      input: { type: "credit", events: 2 },
      next: { ...open, window: 2, cursor: 2, unstored: underWay(1, 2) },
      outputs: [sendEvent(1), sendEvent(2)],
    },
    {
      name: "open + stored → the next event",
      drain: { ...open, window: 2, cursor: 2, unstored: underWay(1, 2) },
      input: { type: "stored", seq: 1 },
      next: { ...open, window: 2, cursor: 3, unstored: underWay(2, 3) },
      outputs: [sendEvent(3)],
    },
    {
      name: "open + stored of what is not under way → nothing",
      drain: { ...open, window: 1, cursor: 1, unstored: underWay(1) },
      input: { type: "stored", seq: 9 },
      next: { ...open, window: 1, cursor: 1, unstored: underWay(1) },
      outputs: [],
    },
    {
      name: "open + done → accepted, and as done is stored, too, the next event",
      drain: { ...open, window: 1, cursor: 1, unstored: underWay(1) },
      input: { type: "done", seq: 1, receipt: "AAAA" },
      next: { ...open, window: 1, cursor: 2, unstored: underWay(2) },
      outputs: [{ do: "send", message: { type: "accepted", seq: 1 } }, sendEvent(2)],
    },
    {
      name: "open + done, refused → refused with the reason, and the window is not touched",
      drain: { ...open, window: 1, cursor: 1, unstored: underWay(1) },
      input: { type: "done", seq: 1, receipt: "AAAA" },
      refusal: "ERR_RECEIPT",
      next: { ...open, window: 1, cursor: 1, unstored: underWay(1) },
      outputs: [{ do: "send", message: { type: "refused", seq: 1, code: "ERR_RECEIPT" } }],
    },
    {
      name: "open + replay → how many, then the events, marked as such",
      drain: { ...open, window: 2, cursor: 3 },
      input: { type: "replay", id: 7, of: { from: 2, to: 3 } },
      next: { ...open, window: 2, cursor: 3, whole: true, unstored: underWay(2, 3) },
      outputs: [
        { do: "send", message: { type: "replaying", id: 7, events: 2 } },
        sendEvent(2, 10, true),
        sendEvent(3, 10, true),
      ],
    },
    {
      name: "open + replay beyond the window → the rest is kept for later",
      drain: { ...open, window: 1, cursor: 3 },
      input: { type: "replay", id: 7, of: { from: 1, to: 3 } },
      next: { ...open, window: 1, cursor: 3, whole: true, unstored: underWay(1), replays: [[2, 3]] },
      outputs: [{ do: "send", message: { type: "replaying", id: 7, events: 3 } }, sendEvent(1, 10, true)],
    },
    {
      name: "open + replay, behind what is new",
      drain: { ...open, window: 1, cursor: 2 },
      input: { type: "replay", id: 7, of: { from: 1, to: 1 } },
      next: { ...open, window: 1, cursor: 3, unstored: underWay(3), replays: [[1, 1]] },
      outputs: [{ do: "send", message: { type: "replaying", id: 7, events: 1 } }, sendEvent(3)],
    },
    {
      name: "open + the seventeenth replay → none found",
      drain: { ...open, replays: sixteenRanges },
      input: { type: "replay", id: 7, of: { from: 1, to: 1 } },
      next: { ...open, replays: sixteenRanges },
      outputs: [{ do: "send", message: { type: "replaying", id: 7, events: 0 } }],
    },
    {
      name: "open + replay of what is under way → how many, and of these what is not under way",
      drain: { ...open, window: 9, cursor: 3, unstored: underWay(1, 2) },
      input: { type: "replay", id: 7, of: { from: 1, to: 3 } },
      next: { ...open, window: 9, cursor: 3, whole: true, unstored: underWay(1, 2, 3) },
      outputs: [{ do: "send", message: { type: "replaying", id: 7, events: 3 } }, sendEvent(3, 10, true)],
    },
    {
      name: "open + replay of nothing but what is under way → how many",
      drain: { ...open, window: 9, cursor: 3, unstored: underWay(2, 3) },
      input: { type: "replay", id: 7, of: { from: 2, to: 3 } },
      next: { ...open, window: 9, cursor: 3, whole: true, unstored: underWay(2, 3) },
      outputs: [{ do: "send", message: { type: "replaying", id: 7, events: 2 } }],
    },
    {
      name: "open + redeliver → how many, then everybody gets them",
      drain: open,
      input: { type: "redeliver", id: 8, of: { from: 2, to: 3 } },
      next: open,
      outputs: [{ do: "send", message: { type: "redelivered", id: 8, events: 2 } }, { do: "sendOn" }],
    },
    {
      name: "open + redeliver of more than a frame may → where to go on",
      drain: open,
      input: { type: "redeliver", id: 8, of: { from: 2, to: 300 }, after: 3 },
      next: open,
      outputs: [
        { do: "send", message: { type: "redelivered", id: 8, events: 200, next: 203 } },
        { do: "sendOn" },
      ],
    },
    {
      name: "open + redeliver of nothing → none, and nothing is sent",
      drain: open,
      input: { type: "redeliver", id: 8, of: { delivery: "delivery-9" } },
      next: open,
      outputs: [{ do: "send", message: { type: "redelivered", id: 8, events: 0 } }],
    },
    {
      name: "open + redeliver without the right → close 4400",
      drain: { ...open, relay: "relay-two" },
      input: { type: "redeliver", id: 8, of: { from: 2, to: 3 } },
      next: { ...open, relay: "relay-two" },
      outputs: [unexpected("redeliver")],
    },
    {
      name: "open + canary → its number, and the events that are there, the canary among them",
      drain: { ...open, window: 2, cursor: 2 },
      input: { type: "canary", id: 9 },
      canary: 4,
      next: { ...open, window: 2, cursor: 4, unstored: underWay(3, 4) },
      outputs: [{ do: "send", message: { type: "canary", id: 9, seq: 4 } }, sendEvent(3), sendEvent(4)],
    },
    {
      name: "open + canary where there is one → its number, and it comes again",
      drain: { ...open, window: 2, cursor: 3 },
      input: { type: "canary", id: 9 },
      canary: 2,
      next: { ...open, window: 2, cursor: 3, whole: true, unstored: underWay(2) },
      outputs: [{ do: "send", message: { type: "canary", id: 9, seq: 2 } }, sendEvent(2, 10, true)],
    },
    {
      name: "open + canary where one is under way → its number",
      drain: { ...open, window: 2, cursor: 3, unstored: underWay(3) },
      input: { type: "canary", id: 9 },
      canary: 3,
      next: { ...open, window: 2, cursor: 3, whole: true, unstored: underWay(3) },
      outputs: [{ do: "send", message: { type: "canary", id: 9, seq: 3 } }],
    },
    {
      name: "open + canary where there is one, while others wait to come again → its number alone",
      drain: { ...open, replays: [[1, 3]] },
      input: { type: "canary", id: 9 },
      canary: 2,
      next: { ...open, replays: [[1, 3]] },
      outputs: [{ do: "send", message: { type: "canary", id: 9, seq: 2 } }],
    },
    {
      name: "open + canary without the right → close 4400",
      drain: { ...open, relay: "relay-two" },
      input: { type: "canary", id: 9 },
      next: { ...open, relay: "relay-two" },
      outputs: [unexpected("canary")],
    },
  ];

  test.for(rows)("$name", ({ drain, input, refusal, canary = 0, next, outputs }) => {
    const before = structuredClone(drain);
    const three = surroundingsOf(3);
    const around: Surroundings = { ...three, finish: () => refusal };
    around.canary = () => {
      if (canary > three.newest())
        Object.assign(around, { ...surroundingsOf(canary), canary: around.canary });
      return canary;
    };
    expect(stepDrain(drain, input, around)).toEqual([next, outputs]);
    expect(drain, "the state that went in is left alone").toEqual(before);
  });

  it("says in the welcome that no receipts are given, and only then", () => {
    const around: Surroundings = { ...surroundingsOf(0), receipts: false, may: () => [] };
    const [, outputs] = stepDrain(challenged, hello, around);
    expect(outputs[1]).toEqual({ do: "send", message: { type: "welcome", receipts: false, may: [] } });
  });

  it("believes that the relay stored what is under way to it, and nothing else", () => {
    const stored: number[] = [];
    const around: Surroundings = { ...surroundingsOf(3), stored: (seq) => stored.push(seq) };
    const drain: Drain = { ...open, window: 1, cursor: 3, unstored: underWay(2) };
    for (const seq of [1, 2, 3]) stepDrain(drain, { type: "stored", seq }, around);
    expect(stored).toEqual([2]);
  });

  it("notes when the relay was heard", () => {
    const around = { ...surroundingsOf(0), now: NOW + 5 };
    const [drain] = stepDrain(open, { type: "stored", seq: 1 }, around);
    expect(drain).toEqual({ ...open, heardAt: NOW + 5 });
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
    const [drain, outputs] = fillWindow({ ...open, window }, surroundingsOf(sizes));
    expect(outputs).toEqual(sizes.slice(0, sent).map((bytes, index) => sendEvent(index + 1, bytes)));
    expect(drain).toMatchObject({
      cursor: sent,
      unstored: sizes.slice(0, sent).map((bytes, index) => [index + 1, bytes]),
    });
  });

  it("counts what is under way already", () => {
    const drain: Drain = { ...open, window: 3, cursor: 1, unstored: [[1, 32 * MIB]] };
    expect(fillWindow(drain, surroundingsOf(3))).toEqual([drain, []]);
  });

  it("sends nothing to a socket that has not proven who it is", () => {
    expect(fillWindow(challenged, surroundingsOf(3))).toEqual([challenged, []]);
  });

  it("sends first what another relay lost, then what is new", () => {
    const around = { ...surroundingsOf(4), nextFreed: (seq: number) => (seq < 2 ? row(2) : undefined) };
    const [drain, outputs] = fillWindow({ ...open, window: 9, cursor: 3, freed: 0 }, around);
    expect(outputs).toEqual([sendEvent(2), sendEvent(4)]);
    expect(drain).toEqual({ ...open, window: 9, cursor: 4, whole: true, unstored: underWay(2, 4) });
  });

  it("asks for what the relay stored before, unless the drain goes on", () => {
    const around = {
      ...surroundingsOf(3),
      next: (_relay: string, seq: number, resumed: boolean) =>
        [row(1), row(2), row(3)].find((each) => each.seq > seq && !(resumed && each.seq < 3)),
    };
    const sentOn = (resumed: boolean) => fillWindow({ ...open, resumed, window: 9 }, around)[1];
    expect(sentOn(false)).toEqual([sendEvent(1), sendEvent(2), sendEvent(3)]);
    expect(sentOn(true)).toEqual([sendEvent(3)]);
  });

  it.for([
    { name: "not while there may be more than the window takes", window: 3, whole: false },
    { name: "once nothing is left", window: 4, whole: true },
  ])("knows that the relay was sent all: $name", ({ window, whole }) => {
    expect(fillWindow({ ...open, window }, surroundingsOf(3))[0]).toMatchObject({ whole });
  });

  it("goes on with what was freed when there is room again", () => {
    const around = {
      ...surroundingsOf(4),
      nextFreed: (seq: number) => [row(1), row(2)].find((each) => each.seq > seq),
    };
    const [drain] = fillWindow({ ...open, window: 1, cursor: 4, freed: 0 }, around);
    expect(drain).toEqual({ ...open, window: 1, cursor: 4, freed: 1, unstored: underWay(1) });
    const [, outputs] = stepDrain(drain, { type: "stored", seq: 1 }, around);
    expect(outputs).toEqual([sendEvent(2)]);
  });

  it("tries a troublesome event last, and alone", () => {
    const around = { ...surroundingsOf(0), newest: () => 5, nextTrouble: () => row(1) };
    const [drain, outputs] = fillWindow({ ...open, window: 9, cursor: 5 }, around);
    expect(outputs).toEqual([sendEvent(1)]);
    expect(drain).toEqual({ ...open, window: 9, cursor: 5, whole: true, unstored: underWay(1) });
    expect(fillWindow({ ...open, window: 9, unstored: underWay(2) }, around)[1]).toEqual([]);
  });
});

describe("any conversation with two relays", () => {
  const relay = fc.constantFrom("relay-one", "relay-two");
  const seq = fc.integer({ min: 1, max: 25 });
  const heard: fc.Arbitrary<Input> = fc.oneof(
    fc.record({ type: fc.constant("credit" as const), events: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ type: fc.constant("stored" as const), seq }),
    fc.record({ type: fc.constant("done" as const), seq, receipt: fc.constantFrom("good", "good", "bad") }),
    seq.map((from) => ({ type: "replay" as const, id: 1, of: { from, to: from + 3 } })),
  );
  const step = fc.oneof(
    fc.record({ type: fc.constant("delivery" as const) }),
    fc.record({ type: fc.constant("hear" as const), relay, input: heard }),
    fc.record({ type: fc.constantFrom("leave" as const, "lose" as const, "expire" as const), relay }),
  );

  it("gives no event to both at a time, keeps to each window, repeats nothing on a socket, and forgets none", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 0, max: 10 }), (steps, atFirst) => {
        const stream = makeStream(atFirst);
        for (const each of steps) {
          if (each.type === "delivery") stream.add();
          else if (each.type === "hear") stream.hear(each.relay, each.input);
          else stream[each.type](each.relay);
        }
        // Whatever was not sent is sent as soon as a relay takes it.
        stream.expire("relay-two");
        stream.leave("relay-two");
        stream.hear("relay-one", { type: "credit", events: 500 });
        expect(stream.undone().filter((each) => !stream.has("relay-one", each))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });
});

function sendEvent(seq: number, bytes = 10, replay = false): Output {
  return { do: "sendEvent", row: row(seq, bytes), replay };
}

function underWay(...seqs: number[]): [number, number][] {
  return seqs.map((seq) => [seq, 10]);
}

function row(seq: number, bytes = 10): EventRow {
  return {
    seq,
    delivery: `delivery-${seq}`,
    topic: "webhook.github.push",
    bytes,
    tag: "tag",
    pair_key: "pair",
  };
}

/** Surroundings with that many undone events, or events of these sizes. */
function surroundingsOf(events: number | number[]): Surroundings {
  const sizes = typeof events === "number" ? Array.from({ length: events }, () => 10) : events;
  const rows = sizes.map((bytes, index) => row(index + 1, bytes));
  return {
    now: NOW,
    receipts: true,
    may: (relay) => (relay === "relay-one" ? ["canary", "redeliver"] : []),
    newest: () => rows.length,
    next: (_relay, seq) => rows.find((each) => each.seq > seq),
    nextFreed: () => undefined,
    nextReplay: (_relay, [from, to]) => rows.find(({ seq }) => seq >= from && seq <= to),
    nextTrouble: () => undefined,
    stored: () => {},
    finish: () => undefined,
    replayRanges: (of) =>
      "from" in of ? { ranges: [[of.from, of.to]], events: of.to - of.from + 1 } : { ranges: [], events: 0 },
    redeliver(of, after) {
      if (!("from" in of)) return { events: 0 };
      const from = Math.max(of.from, after + 1);
      return of.to - from < 200 ? { events: of.to - from + 1 } : { events: 200, next: from + 199 };
    },
    canary: () => 1,
  };
}

/** A stream in memory with its relays: it dials for them, and checks whatever is sent. */
function makeStream(count: number) {
  interface Event {
    seq: number;
    done: boolean;
    relay: string | undefined;
  }
  interface Socket {
    drain: Open;
    /** What was sent and not asked for, and was not taken away since. */
    got: Set<number>;
  }
  const events: Event[] = [];
  const sockets = new Map<string, Socket>();
  const undone = () => events.filter(({ done }) => !done);

  const surroundings = (): Surroundings => {
    const found = (event: Event | undefined) => event && row(event.seq);
    const free = (relay: string) => (event: Event) => event.relay === undefined || event.relay === relay;
    return {
      ...surroundingsOf(0),
      newest: () => events.length,
      next: (relay, after) =>
        found(
          undone()
            .filter(free(relay))
            .find(({ seq }) => seq > after),
        ),
      nextFreed: (after) => found(undone().find((event) => event.seq > after && event.relay === undefined)),
      nextReplay: (relay, [from, to]) =>
        found(
          events.find((event) => event.seq >= from && event.seq <= to && (event.done || free(relay)(event))),
        ),
      replayRanges: (of) => ({ ranges: "from" in of ? [[of.from, of.to]] : [], events: 0 }),
      finish(seq, receipt, relay) {
        const event = events[seq - 1];
        if (!event) return "ERR_UNKNOWN_EVENT";
        if (receipt === "good") {
          event.done = true;
          return undefined;
        }
        if (event.relay === relay && !event.done) setFree(event);
        for (const [other, { drain }] of sockets) {
          if (other === relay) continue;
          const freed = Math.min(drain.freed ?? seq - 1, seq - 1);
          act(other, fillWindow({ ...drain, freed }, surroundings()));
        }
        return "ERR_RECEIPT";
      },
    };
  };

  const setFree = (event: Event) => {
    if (event.relay !== undefined) sockets.get(event.relay)?.got.delete(event.seq);
    event.relay = undefined;
  };

  const act = (relay: string, [next, outputs]: [Drain, Output[]]) => {
    const socket = socketOf(relay);
    if (next.phase !== "open") throw new Error("the socket is not open");
    socket.drain = next;
    const sent = outputs.filter((output) => output.do === "sendEvent");
    if (sent.length > 0) expect(next.unstored.length).toBeLessThanOrEqual(next.window);
    for (const {
      row: { seq },
      replay,
    } of sent) {
      const event = events[seq - 1];
      if (!event) throw new Error(`there is no event ${seq}`);
      if (!event.done) {
        expect([undefined, relay], `${seq} is free for ${relay}`).toContain(event.relay);
        event.relay = relay;
      }
      if (replay) continue;
      expect(event.done, `${seq} is undone`).toBe(false);
      expect(socket.got.has(seq), `${seq} is new on this socket`).toBe(false);
      socket.got.add(seq);
    }
    // Too many replays: the relay dials anew.
    if (outputs.some((output) => output.do === "close")) sockets.delete(relay);
  };

  const socketOf = (relay: string): Socket => {
    const there = sockets.get(relay);
    if (there) return there;
    const [drain] = stepDrain(
      challenged,
      { type: "hello", relay, proven: true, resumed: false },
      surroundings(),
    );
    if (drain.phase !== "open") throw new Error("the relay was not let in");
    const socket = { drain, got: new Set<number>() };
    sockets.set(relay, socket);
    return socket;
  };

  const sendOn = () => {
    for (const [relay, { drain }] of sockets) act(relay, fillWindow(drain, surroundings()));
  };

  const release = (relay: string) => {
    for (const event of undone()) if (event.relay === relay) setFree(event);
    for (const socket of sockets.values()) socket.drain = { ...socket.drain, freed: 0 };
    sendOn();
  };

  const stream = {
    undone: () => undone().map(({ seq }) => seq),
    has: (relay: string, seq: number) => events[seq - 1]?.relay === relay && socketOf(relay).got.has(seq),
    add() {
      events.push({ seq: events.length + 1, done: false, relay: undefined });
      sendOn();
    },
    hear(relay: string, input: Input) {
      act(relay, stepDrain(socketOf(relay).drain, input, surroundings()));
    },
    /** Closes in order. */
    leave(relay: string) {
      sockets.delete(relay);
      release(relay);
    },
    /** The connection is gone; what the relay has stays with it. */
    lose: (relay: string) => void sockets.delete(relay),
    /** It did not come back in time. */
    expire(relay: string) {
      if (!sockets.has(relay)) release(relay);
    },
  };
  for (let added = 0; added < count; added += 1) stream.add();
  return stream;
}
