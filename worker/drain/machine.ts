/**
 * The edge's side of the drain protocol (docs/protocol.md §3) as a pure machine: one `Drain` a socket,
 * plain data, so that it can live in the attachment of a hibernating WebSocket.
 *
 * | phase        | input               | next   | outputs                                    |
 * |--------------|---------------------|--------|--------------------------------------------|
 * | `challenged` | `hello`, proven     | `open` | admit, `welcome`                           |
 * | `challenged` | `hello`, not proven | —      | close 4401                                 |
 * | `open`       | `credit`            | `open` | events up to the window                    |
 * | `open`       | `stored`            | `open` | events up to the window                    |
 * | `open`       | `done`              | `open` | `accepted` or `refused`, events            |
 * | `open`       | `replay`            | `open` | `replaying`, events up to the window       |
 * | `open`       | `redeliver`, `may`  | `open` | `redelivered`, events to all who have room |
 * | `open`       | `canary`, `may`     | `open` | `canary`, events up to the window           |
 * | any          | anything else       | —      | close 4400                                 |
 *
 * What is sent first: what another relay lost, then what is new, then what was asked for again, and last, alone,
 * an event on which connections kept ending.
 */
import * as v from "valibot";
import { CLOSE, type Selection, type SentToRelay, type ToEdge } from "../../shared/drain.ts";
import type { EventRow } from "../outbox/events.ts";
import type { SeqRange } from "../outbox/replays.ts";

/** Sealed bytes that may be under way to one relay, so that a slow one cannot fill the object's memory. */
const MAX_UNSTORED_BYTES = 32 * 1024 * 1024;
/** Ranges that one socket may have waiting to be replayed: they live in its attachment. */
const MAX_REPLAYS = 16;

const seqs = v.tuple([v.number(), v.number()]);

export const challengedSchema = v.object({
  v: v.literal(2),
  phase: v.literal("challenged"),
  host: v.string(),
  challenge: v.string(),
  /** When it was challenged; ms since 1970, as below. */
  since: v.number(),
});

export const openSchema = v.object({
  v: v.literal(2),
  phase: v.literal("open"),
  relay: v.string(),
  /** How many events the relay takes at a time; 0 until it grants credit. */
  window: v.number(),
  /** Every event up to this was sent on this socket, or is none of its relay's. */
  cursor: v.number(),
  /** The relay still has all that it stored: that is not sent again. */
  resumed: v.boolean(),
  /** Whether every event that the relay has was sent on this socket, or was stored by it before. */
  whole: v.boolean(),
  /** Events up to the cursor that another relay had are free again from the one after this; null: none. */
  freed: v.nullable(v.number()),
  /** What was sent and is not yet stored by the relay: seq and size of each. */
  unstored: v.array(seqs),
  /** What is to be sent again, both ends included. */
  replays: v.array(seqs),
  /** When the relay last sent a message. */
  heardAt: v.number(),
});

export type Challenged = v.InferOutput<typeof challengedSchema>;
export type Open = v.InferOutput<typeof openSchema>;
export type Drain = Challenged | Open;

/** A relay's message; whether a `hello` is proven was found out before. */
export type Input =
  | Exclude<ToEdge, { type: "hello" }>
  | { type: "hello"; relay: string; proven: boolean; resumed: boolean };

export type Output =
  | { do: "send"; message: SentToRelay }
  | { do: "sendEvent"; row: EventRow; replay: boolean }
  /** Events were stored: every relay with room for them gets them, this one, too. */
  | { do: "sendOn" }
  /** This relay is here: an older socket of its own ends. */
  | { do: "admit"; relay: string }
  | { do: "close"; code: number; reason: string };

/** What a relay may ask beyond the first version of the protocol. */
export type Right = "canary" | "redeliver";

/** What the machine asks of its surroundings; every answer is immediate. */
export interface Surroundings {
  now: number;
  /** Whether an event is done by its recipient's receipt alone. */
  receipts: boolean;
  may(relay: string): Right[];
  /** The number of the newest event. */
  newest(): number;
  /** The first undone event after `seq` that no other relay has; `resumed`: nor this one stored. */
  next(relay: string, seq: number, resumed: boolean): EventRow | undefined;
  /** The first undone event after `seq` that nobody has. */
  nextFreed(seq: number): EventRow | undefined;
  nextReplay(relay: string, range: SeqRange): EventRow | undefined;
  /** The first event on which connections kept ending and which may be tried again. */
  nextTrouble(relay: string): EventRow | undefined;
  /** The relay has safe what was under way to it: the event makes no trouble. */
  stored(seq: number): void;
  /** Marks the event done: `undefined`, or why that was refused. */
  finish(seq: number, receipt: string | undefined, relay: string): string | undefined;
  replayRanges(of: Selection): { ranges: SeqRange[]; events: number };
  /** Stores done events of a selection anew: how many, and after which number there are more. */
  redeliver(of: Selection, after: number): { events: number; next?: number };
  /** Stores a canary for the relay, unless it has one already: its number. */
  canary(relay: string): number;
}

const SEND_ON: Output = { do: "sendOn" };

export function stepDrain(drain: Drain, input: Input, around: Surroundings): [Drain, Output[]] {
  if (drain.phase === "challenged") {
    if (input.type !== "hello") return [drain, [protocolError(input.type)]];
    const { relay, proven, resumed } = input;
    if (!proven) return [drain, [{ do: "close", code: CLOSE.unauthorised, reason: "not proven" }]];
    return [
      opened(relay, resumed, around.now),
      [
        { do: "admit", relay },
        { do: "send", message: welcome(around.receipts, around.may(relay)) },
      ],
    ];
  }
  const heard = { ...drain, heardAt: around.now };
  switch (input.type) {
    case "credit":
      return fillWindow({ ...heard, window: input.events }, around);
    case "stored":
      // Of what was not sent here another relay may be known to lack it.
      if (isIn(heard.unstored, input.seq)) around.stored(input.seq);
      return fillWindow(without(heard, input.seq), around);
    case "done": {
      const code = around.finish(input.seq, input.receipt, drain.relay);
      if (code !== undefined)
        return [heard, [{ do: "send", message: { type: "refused", seq: input.seq, code } }]];
      return after(
        { do: "send", message: { type: "accepted", seq: input.seq } },
        fillWindow(without(heard, input.seq), around),
      );
    }
    case "replay": {
      const { ranges, events } = around.replayRanges(input.of);
      const replays = merged([...heard.replays, ...ranges]);
      if (replays.length > MAX_REPLAYS)
        return [heard, [{ do: "send", message: { type: "replaying", id: input.id, events: 0 } }]];
      return after(
        { do: "send", message: { type: "replaying", id: input.id, events } },
        fillWindow({ ...heard, replays }, around),
      );
    }
    case "redeliver": {
      if (!around.may(drain.relay).includes("redeliver")) return [drain, [protocolError(input.type)]];
      const outcome = around.redeliver(input.of, input.after ?? 0);
      const message = { type: "redelivered", id: input.id, ...outcome } as const;
      return [heard, [{ do: "send", message }, ...(outcome.events > 0 ? [SEND_ON] : [])]];
    }
    case "canary": {
      if (!around.may(drain.relay).includes("canary")) return [drain, [protocolError(input.type)]];
      const newest = around.newest();
      const seq = around.canary(drain.relay);
      // Whoever asks tests its own way: a new one is for this relay first, and one that it had comes once more.
      const comesAgain = seq <= newest && heard.replays.length === 0;
      const replays: Open["replays"] = comesAgain ? [[seq, seq]] : heard.replays;
      return after(
        { do: "send", message: { type: "canary", id: input.id, seq } },
        fillWindow({ ...heard, replays }, around),
      );
    }
    case "hello":
      return [drain, [protocolError(input.type)]];
    default:
      return input satisfies never;
  }
}

/** Where receipts are given that is not said: a relay of before does not know the key. */
function welcome(receipts: boolean, may: Right[]): SentToRelay {
  return receipts ? { type: "welcome", may } : { type: "welcome", receipts, may };
}

/** In order, and none touching another. */
function merged(ranges: readonly SeqRange[]): Open["replays"] {
  const apart: Open["replays"] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = apart.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else apart.push([from, to]);
  }
  return apart;
}

function opened(relay: string, resumed: boolean, now: number): Open {
  return {
    v: 2,
    phase: "open",
    relay,
    window: 0,
    cursor: 0,
    resumed,
    whole: resumed,
    freed: null,
    unstored: [],
    replays: [],
    heardAt: now,
  };
}

/** Sends events as far as the window and {@link MAX_UNSTORED_BYTES} allow. */
export function fillWindow(drain: Drain, around: Surroundings): [Drain, Output[]] {
  if (drain.phase !== "open") return [drain, []];
  const outputs: Output[] = [];
  let filled = drain;
  let bytes = drain.unstored.reduce((sum, [, size]) => sum + size, 0);
  while (filled.unstored.length < filled.window && bytes < MAX_UNSTORED_BYTES) {
    const [picked, row, replay] = pick(filled, around);
    filled = picked;
    if (!row) break;
    bytes += row.bytes;
    filled = { ...filled, unstored: [...filled.unstored, [row.seq, row.bytes]] };
    outputs.push({ do: "sendEvent", row, replay });
  }
  return [filled, outputs];
}

/** The next event for this socket, and whether it is a replay. */
function pick(drain: Open, around: Surroundings): [Open, EventRow | undefined, boolean] {
  const { relay, cursor } = drain;
  if (drain.freed !== null) {
    const row = around.nextFreed(drain.freed);
    if (row && row.seq <= cursor) return [{ ...drain, freed: row.seq }, row, false];
  }
  const unfreed: Open = { ...drain, freed: null };
  const row = around.next(relay, cursor, drain.resumed);
  if (row) return [{ ...unfreed, cursor: row.seq }, row, false];

  // What others have is not looked through again for every new event: `freed` tells when they lose it.
  const caughtUp: Open = { ...unfreed, cursor: around.newest(), whole: true };
  for (const [index, [from, to]] of drain.replays.entries()) {
    const again = nextReplay(drain, [from, to], around);
    if (!again) continue;
    const rest = drain.replays.slice(index + 1);
    const replays: Open["replays"] = again.seq < to ? [[again.seq + 1, to], ...rest] : rest;
    return [{ ...caughtUp, replays }, again, true];
  }
  const replayed: Open = { ...caughtUp, replays: [] };
  const trouble = drain.unstored.length === 0 ? around.nextTrouble(relay) : undefined;
  return [replayed, trouble, false];
}

/** What is under way on this socket already is not sent on it once more. */
function nextReplay(
  { relay, unstored }: Open,
  [from, to]: SeqRange,
  around: Surroundings,
): EventRow | undefined {
  let row = around.nextReplay(relay, [from, to]);
  while (row && isIn(unstored, row.seq)) row = around.nextReplay(relay, [row.seq + 1, to]);
  return row;
}

function isIn(unstored: Open["unstored"], seq: number): boolean {
  return unstored.some(([each]) => each === seq);
}

function without(drain: Open, stored: number): Open {
  return { ...drain, unstored: drain.unstored.filter(([seq]) => seq !== stored) };
}

function after(output: Output, [drain, outputs]: [Drain, Output[]]): [Drain, Output[]] {
  return [drain, [output, ...outputs]];
}

function protocolError(type: string): Output {
  return { do: "close", code: CLOSE.protocol, reason: `${type} is not expected now` };
}
