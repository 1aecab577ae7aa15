/** What a builder asks of the relay when it misses events, and what it is told: docs/protocol.md §5. */
import * as v from "valibot";
import { NAME } from "./delivery.ts";

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/** Numbers that one question may cover. */
export const MAX_REPLAY = 1000;

/** The kwargs of the call; both ends are included. `id`: random, so that an answer belongs to one question only. */
export const replayRequest = v.pipe(
  v.object({
    id: v.pipe(v.string(), v.uuid()),
    stream: v.pipe(v.string(), v.regex(NAME)),
    from: seq,
    to: seq,
  }),
  v.check(({ from, to }) => from <= to && to - from < MAX_REPLAY),
);

/** The kwargs of the answer: how many of these events are on their way; or why none is. */
export const replayAnswer = v.union([
  v.object({ id: v.string(), events: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) }),
  v.object({ id: v.string(), error: v.pipe(v.string(), v.regex(/^ERR_[A-Z_]{1,50}$/)) }),
]);

export type ReplayRequest = v.InferOutput<typeof replayRequest>;
export type ReplayAnswer = v.InferOutput<typeof replayAnswer>;
