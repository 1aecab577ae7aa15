/**
 * `webhook.replay`: a builder asks for events that it misses, in a sealed call (docs/protocol.md §5). What the queue
 * holds is ready at once; the rest is asked of the edge, which sends what it has kept. Nothing runs twice by this: the
 * bytes are the same ones, and a builder knows them by their seal.
 */
import * as v from "valibot";
import { describeError } from "../shared/errors.ts";
import { makeKeyring } from "../shared/keyring.ts";
import { type ReplayAnswer, replayRequest, type ReplayRequest } from "../shared/replay.ts";
import type { Report } from "../shared/report.ts";
import type { Payload } from "../shared/sealed-payload.ts";
import { REPLAY_PROCEDURE } from "../shared/topic.ts";
import { sealedSession } from "../shared/wamp/sealed-session.ts";
import type { WampSession } from "../shared/wamp/session.ts";
import { ErrorReply } from "../shared/wamp/wamp-error.ts";
import type { DrainClient } from "./drain/client.ts";
import type { DeliveryQueue } from "./queue/queue.ts";

export interface ReplayParts {
  readonly queue: Pick<DeliveryQueue, "retry" | "find">;
  readonly drains: Pick<DrainClient, "open">;
  /** One for each builder that may ask. */
  readonly sharedKeys: readonly Uint8Array[];
  readonly report: Report;
}

/** Ranges that the edge is asked for one by one: it keeps no more than 16 waiting. */
const MAX_RANGES = 8;
/** Milliseconds until a procedure that another relay serves is asked for again. */
const TAKEN_RETRY_MS = 30_000;

/**
 * Serves the procedure on this session, or as soon as no other relay does. Events flow without it: a router that does
 * not let us is reported.
 */
export async function serveReplay(
  session: WampSession,
  parts: ReplayParts,
  takenRetryMs = TAKEN_RETRY_MS,
): Promise<void> {
  const { report, sharedKeys } = parts;
  const keyring = makeKeyring([{ uri: REPLAY_PROCEDURE, match: "exact", responder: sharedKeys }]);
  const sealed = sealedSession(session, keyring, {
    onRefused: () =>
      report("error", {
        code: "ERR_REPLAY_REFUSED",
        message: "somebody asked for events without the key of a builder",
        hint: "if it was a builder, put its public box key into replay.builders",
      }),
    onFault: (error) => report("error", describeError(error)),
  });
  let timer: NodeJS.Timeout | undefined;
  const tryIt = async (): Promise<void> => {
    try {
      await sealed.register(REPLAY_PROCEDURE, (call) => answerCall(call, parts));
    } catch (error) {
      const isTaken = error instanceof ErrorReply && error.uri === "wamp.error.procedure_already_exists";
      if (isTaken) timer = setTimeout(() => void tryIt(), takenRetryMs);
      else report("error", describeError(error));
    }
  };
  await tryIt();
  // Once, however often it is tried: it is kept for as long as the session lives.
  void session.closed.then(() => clearTimeout(timer));
}

/** Never rejects: the answer names its question, which an error would not. */
async function answerCall({ kwargs }: Payload, parts: ReplayParts): Promise<Partial<Payload>> {
  const request = v.safeParse(replayRequest, kwargs);
  const { id } = request.success ? request.output : { id: "" };
  const said = request.success
    ? replay(request.output, parts)
    : Promise.resolve({ error: "ERR_REPLAY_REQUEST" });
  const answer: ReplayAnswer = await said
    .catch((error: unknown) => {
      const { code } = describeError(error);
      parts.report("error", describeError(error));
      return { error: code.startsWith("ERR_") ? code : "ERR_INTERNAL" };
    })
    .then((outcome) => ({ id, ...outcome }));
  return { kwargs: answer };
}

async function replay(
  { stream, from, to }: ReplayRequest,
  { queue, drains, report }: ReplayParts,
): Promise<{ events: number } | { error: string }> {
  const missing: number[] = [];
  for (let seq = from; seq <= to; seq += 1) {
    if (!(await queue.find(stream, seq))) missing.push(seq);
    else await queue.retry(stream, seq);
  }
  let events = to - from + 1 - missing.length;
  const drain = drains.open().find((each) => each.stream === stream);
  if (missing.length > 0) {
    if (!drain) return { error: "ERR_NO_DRAIN" };
    for (const of of rangesOf(missing)) {
      const answer = await drain.ask((id) => ({ type: "replay", id, of }));
      if (answer.type === "replaying") events += answer.events;
    }
  }
  report("replayed", { stream, from, to, events });
  return { events };
}

/** Consecutive numbers together; all of them when these would be too many questions. */
function rangesOf(seqs: readonly number[]): Pick<ReplayRequest, "from" | "to">[] {
  const ranges: { from: number; to: number }[] = [];
  for (const seq of seqs) {
    const last = ranges.at(-1);
    if (last?.to === seq - 1) last.to = seq;
    else ranges.push({ from: seq, to: seq });
  }
  const [first] = ranges;
  const last = ranges.at(-1);
  return first && last && ranges.length > MAX_RANGES ? [{ from: first.from, to: last.to }] : ranges;
}
