/**
 * Asks the relay for what is missing, and raises the alarm for what cannot be had. When is `gap-wait.ts`'s to say.
 * (Accepted race: killed between the journal's word that a gap is given up and the alarm, it raises none.)
 */
import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { CRYPTOBOX } from "../shared/cryptobox.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { replayAnswer, type ReplayRequest } from "../shared/replay.ts";
import type { Report } from "../shared/report.ts";
import { openKwargs, sealKwargs } from "../shared/sealed-call.ts";
import { REPLAY_PROCEDURE } from "../shared/topic.ts";
import { Passthru } from "../shared/wamp/passthru.ts";
import type { WampSession } from "../shared/wamp/session.ts";
import {
  afterAnswer,
  type Clocks,
  holdsBack,
  idleMs,
  overdue,
  questionOf,
  renewWaits,
  type Wait,
} from "./gap-wait.ts";
import type { Range } from "./gaps.ts";
import type { Journal } from "./journal.ts";
import { makeJournalFault } from "./journal-fault.ts";

export interface Recovery {
  /** Events of these streams were kept: other numbers may be missing now. */
  noted(streams: Iterable<string>): void;
  /** Whether a build of the event `seq` waits for an earlier event of its stream. */
  holds(stream: string, seq: number): boolean;
  onSession(session: WampSession): void;
  onLost(): void;
  /** Nothing is asked or waited for any more. */
  end(): void;
}

/** Milliseconds before it is tried again to keep that a gap is given up. */
const DISK_PAUSE_MS = 5000;

/**
 * @param keys shared with the relay, one for each of our box keys; none: it cannot be asked.
 * @param onReleased a build may no longer be held.
 */
export function makeRecovery(
  { journal, keys, report }: { journal: Journal; keys: readonly Uint8Array[]; report: Report },
  onReleased: () => void,
): Recovery {
  const fault = makeJournalFault("what is missing is not given up", report);
  const waits = new Map<string, readonly Wait[]>();
  let session: WampSession | undefined;
  /** Of the clock `session`: when it ran last, or began to run. */
  let sessionTime = 0;
  let sessionBegan = 0;
  let asking = false;
  let ended = false;
  let questions = 0;
  let timer: NodeJS.Timeout | undefined;

  function clocks(): Clocks {
    const always = performance.now();
    return { always, session: session ? sessionTime + always - sessionBegan : sessionTime };
  }

  function renew(stream: string): void {
    const numbering = journal.numbering(stream);
    const before = waits.get(stream) ?? [];
    if (!numbering || (before.length === 0 && numbering.missing.length === 0)) return;
    for (const gap of before)
      if (gap.to < numbering.first || numbering.newest < gap.from) raiseAlarm(stream, gap);
    waits.set(stream, renewWaits(before, numbering.missing, clocks()));
  }

  /** Does what is due, and sets the timer for what comes next. */
  function tick(): void {
    clearTimeout(timer);
    if (ended) return;
    const kept = [...waits].every(([stream, each]) =>
      overdue(each, clocks()).every((gap) => abandon(stream, gap)),
    );
    ask();
    const free = !asking && keys.length > 0;
    const idle = [...waits.values()].map((each) => idleMs(each, clocks(), { session: !!session, free }));
    const next = Math.max(kept ? 0 : DISK_PAUSE_MS, Math.min(...idle));
    if (Number.isFinite(next)) timer = setTimeout(onTimer, next);
  }

  function onTimer(): void {
    tick();
    onReleased();
  }

  /** One question at a time: the relay reads the events from its store or from the edge. */
  function ask(): void {
    if (asking || !session || keys.length === 0) return;
    for (const [stream, each] of waits) {
      const question = questionOf(each, clocks());
      if (!question) continue;
      asking = true;
      void askFor(session, { stream, ...question });
      return;
    }
  }

  async function askFor(from: WampSession, question: Omit<ReplayRequest, "id">): Promise<void> {
    const { stream } = question;
    let events: number | undefined;
    try {
      events = await callReplay(from, question, keyFor(questions));
      report("asked", { ...question, events });
    } catch (error) {
      // The next may go under the older of two keys: the relay need not know the new one yet.
      questions += 1;
      if (!ended) report("error", { ...describeError(error), stream });
    }
    asking = false;
    if (ended) return;
    if (events === 0) abandon(stream, question);
    waits.set(stream, afterAnswer(waits.get(stream) ?? [], question, events !== undefined, clocks()));
    tick();
    onReleased();
  }

  function keyFor(question: number): Uint8Array {
    const key = keys[question % keys.length];
    if (!key) throw new RangeError("no key");
    return key;
  }

  /** Whether the journal could keep it. */
  function abandon(stream: string, range: Range): boolean {
    const missing = (waits.get(stream) ?? []).filter(({ from, to }) => from <= range.to && range.from <= to);
    try {
      journal.giveUp(stream, range);
      fault.works();
    } catch (error) {
      fault.failed(error);
      return false;
    }
    for (const { from, to } of missing)
      raiseAlarm(stream, { from: Math.max(from, range.from), to: Math.min(to, range.to) });
    renew(stream);
    return true;
  }

  function raiseAlarm(stream: string, { from, to }: Range): void {
    const which = from === to ? `event ${from}` : `events ${from} to ${to}`;
    const error = new OnionhookError("ERR_GAP", `${which} of stream ${stream} never came`, {
      hint: "edge, relay or router lost or withheld them: try onionhook replay at the relay, or redeliver at GitHub",
    });
    report("error", { ...describeError(error), stream, from, to });
  }

  for (const stream of journal.streams()) renew(stream);
  tick();
  return {
    noted(streams) {
      for (const stream of streams) renew(stream);
      tick();
    },
    holds: (stream, seq) => holdsBack(waits.get(stream) ?? [], seq, clocks()),
    onSession(fresh) {
      sessionBegan = performance.now();
      session = fresh;
      tick();
    },
    onLost() {
      sessionTime = clocks().session;
      session = undefined;
      tick();
    },
    end() {
      ended = true;
      clearTimeout(timer);
    },
  };
}

/**
 * How many of these events the relay sends.
 * @throws OnionhookError those of a call; `ERR_REPLAY` when the answer is not the relay's, or is that it cannot look.
 */
async function callReplay(
  session: WampSession,
  asked: Omit<ReplayRequest, "id">,
  shared: Uint8Array,
): Promise<number> {
  const question = { id: randomUUID(), ...asked };
  const sealed = sealKwargs(REPLAY_PROCEDURE, question, shared);
  const payload = await session.call(REPLAY_PROCEDURE, new Passthru(sealed, CRYPTOBOX, "json"));
  if (!(payload instanceof Passthru) || payload.algo !== CRYPTOBOX || payload.serializer !== "json")
    throw new OnionhookError("ERR_PLAINTEXT", "an answer to webhook.replay that is not sealed was refused", {
      hint: "somebody who may register this procedure is not our relay",
    });
  const answer = v.safeParse(replayAnswer, openKwargs(REPLAY_PROCEDURE, payload.bytes, shared));
  if (!answer.success || answer.output.id !== question.id)
    throw new OnionhookError(
      "ERR_REPLAY",
      "the relay's answer to webhook.replay is malformed, or another question's",
    );
  if ("events" in answer.output) return answer.output.events;
  throw new OnionhookError("ERR_REPLAY", `the relay cannot look for events: ${answer.output.error}`);
}
