/**
 * Asks the relay for what is missing, and raises the alarm for what cannot be had. When is `gap-wait.ts`'s to say.
 * (Accepted race: killed between the journal's word that a gap is given up and the alarm, it raises none.)
 */
import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { describeError, OnionhookError } from "../shared/errors.ts";
import type { Keyring } from "../shared/keyring.ts";
import { replayAnswer, type ReplayRequest } from "../shared/replay.ts";
import type { Report } from "../shared/report.ts";
import { REPLAY_PROCEDURE } from "../shared/topic.ts";
import { sealedSession } from "../shared/wamp/sealed-session.ts";
import type { WampSession } from "../shared/wamp/session.ts";
import { ErrorReply, NOT_OPENED } from "../shared/wamp/wamp-error.ts";
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
 * @param keyring without a key for `webhook.replay` the relay cannot be asked.
 * @param onReleased a build may no longer be held.
 */
export function makeRecovery(
  { journal, keyring, report }: { journal: Journal; keyring: Keyring; report: Report },
  onReleased: () => void,
): Recovery {
  const fault = makeJournalFault("what is missing is not given up", report);
  const mayAsk = keyring.has("originator", REPLAY_PROCEDURE);
  const waits = new Map<string, readonly Wait[]>();
  let session: WampSession | undefined;
  /** Of the clock `session`: when it ran last, or began to run. */
  let sessionTime = 0;
  let sessionBegan = 0;
  let asking = false;
  let ended = false;
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
    const free = !asking && mayAsk;
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
    if (asking || !session || !mayAsk) return;
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
      events = await callReplay(from, keyring, question);
      report("asked", { ...question, events });
    } catch (error) {
      if (!ended) report("error", { ...describeError(error), stream });
    }
    asking = false;
    if (ended) return;
    if (events === 0) abandon(stream, question);
    waits.set(stream, afterAnswer(waits.get(stream) ?? [], question, events !== undefined, clocks()));
    tick();
    onReleased();
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
 * @throws OnionhookError those of a call; `ERR_REPLAY` when the answer is not the relay's, or is that it cannot open the question, or cannot look.
 */
async function callReplay(
  session: WampSession,
  keyring: Keyring,
  asked: Omit<ReplayRequest, "id">,
): Promise<number> {
  const question = { id: randomUUID(), ...asked };
  const { kwargs } = await sealedSession(session, keyring)
    .call(REPLAY_PROCEDURE, { kwargs: question })
    .catch((error: unknown) => {
      if (!(error instanceof ErrorReply) || error.uri !== NOT_OPENED) throw error;
      throw new OnionhookError("ERR_REPLAY", "the relay cannot open what this builder asks", {
        hint: "put this builder's public box key into the relay's replay.builders, and check relay_box_public here",
        cause: error,
      });
    });
  const answer = v.safeParse(replayAnswer, kwargs);
  if (!answer.success || answer.output.id !== question.id)
    throw new OnionhookError(
      "ERR_REPLAY",
      "the relay's answer to webhook.replay is malformed, or another question's",
    );
  if ("events" in answer.output) return answer.output.events;
  throw new OnionhookError("ERR_REPLAY", `the relay cannot look for events: ${answer.output.error}`);
}
