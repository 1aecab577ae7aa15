/**
 * The edge's side of the drain protocol (docs/protocol.md §3) as a pure machine: one `Drain` a socket,
 * plain data, so that it can live in the attachment of a hibernating WebSocket.
 *
 * | phase        | input                     | next       | outputs                        |
 * |--------------|---------------------------|------------|--------------------------------|
 * | `challenged` | `hello`, proof valid      | `open`     | `welcome`, older socket closed |
 * | `challenged` | `hello`, proof invalid    | —          | close 4401                     |
 * | `open`       | `credit`                  | `open`     | events up to the window        |
 * | `open`       | `stored`                  | `open`     | events up to the window        |
 * | `open`       | `done`                    | `open`     | `accepted` or `refused`        |
 * | any          | anything else             | —          | close 4400                     |
 */
import * as v from "valibot";
import { CLOSE, type ToEdge, type ToRelay } from "../shared/drain.ts";
import type { EventRow } from "./outbox-sql.ts";

/** Sealed bytes that may be under way to one relay, so that a slow one cannot fill the object's memory. */
const MAX_UNSTORED_BYTES = 32 * 1024 * 1024;

export const drainSchema = v.variant("phase", [
  v.object({ v: v.literal(1), phase: v.literal("challenged"), host: v.string(), challenge: v.string() }),
  v.object({
    v: v.literal(1),
    phase: v.literal("open"),
    relay: v.string(),
    /** How many events the relay takes at a time; 0 until it grants credit. */
    window: v.number(),
    /** The last event that was sent on this socket. */
    cursor: v.number(),
    /** What was sent and is not yet stored by the relay: seq and size of each. */
    unstored: v.array(v.tuple([v.number(), v.number()])),
  }),
]);

export type Drain = v.InferOutput<typeof drainSchema>;

export type Output =
  | { do: "send"; message: ToRelay }
  | { do: "sendEvent"; row: EventRow }
  | { do: "supersede" }
  | { do: "close"; code: number; reason: string };

/** What the machine asks of its surroundings; every answer is immediate. */
export interface Surroundings {
  provenBy(hello: { relay: string; signature: string }, host: string, challenge: string): boolean;
  undoneAfter(seq: number): EventRow | undefined;
  /** Checks the receipt and marks the event done: `undefined`, or why it was refused. */
  finish(seq: number, receipt: string): string | undefined;
}

export function stepDrain(drain: Drain, message: ToEdge, around: Surroundings): [Drain, Output[]] {
  if (drain.phase === "challenged") {
    if (message.type !== "hello") return [drain, [protocolError(message.type)]];
    if (!around.provenBy(message, drain.host, drain.challenge)) {
      return [drain, [{ do: "close", code: CLOSE.unauthorised, reason: "not proven" }]];
    }
    const open: Drain = { v: 1, phase: "open", relay: message.relay, window: 0, cursor: 0, unstored: [] };
    return [open, [{ do: "supersede" }, { do: "send", message: { type: "welcome" } }]];
  }
  switch (message.type) {
    case "credit":
      return fillWindow({ ...drain, window: message.events }, around);
    case "stored":
      return fillWindow(
        { ...drain, unstored: drain.unstored.filter(([seq]) => seq !== message.seq) },
        around,
      );
    case "done": {
      const code = around.finish(message.seq, message.receipt);
      const answer: ToRelay =
        code === undefined
          ? { type: "accepted", seq: message.seq }
          : { type: "refused", seq: message.seq, code };
      return [drain, [{ do: "send", message: answer }]];
    }
    case "hello":
      return [drain, [protocolError(message.type)]];
    default:
      return message satisfies never;
  }
}

/** Sends undone events, in order, as far as the window and {@link MAX_UNSTORED_BYTES} allow. */
export function fillWindow(drain: Drain, around: Surroundings): [Drain, Output[]] {
  if (drain.phase !== "open") return [drain, []];
  const outputs: Output[] = [];
  const unstored = [...drain.unstored];
  let { cursor } = drain;
  let bytes = unstored.reduce((sum, [, size]) => sum + size, 0);
  while (unstored.length < drain.window && bytes < MAX_UNSTORED_BYTES) {
    const row = around.undoneAfter(cursor);
    if (!row) break;
    cursor = row.seq;
    bytes += row.bytes;
    unstored.push([row.seq, row.bytes]);
    outputs.push({ do: "sendEvent", row });
  }
  return [{ ...drain, cursor, unstored }, outputs];
}

function protocolError(type: string): Output {
  return { do: "close", code: CLOSE.protocol, reason: `${type} is not expected now` };
}
