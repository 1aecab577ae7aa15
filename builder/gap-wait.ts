/**
 * How long the builder waits for what is missing, and when it asks for it. Pure; `recovery.ts` has the session and
 * the timer.
 *
 * | when                                             | what follows                                          |
 * |--------------------------------------------------|-------------------------------------------------------|
 * | noticed                                          | builds behind it wait, for {@link GAP_GIVE_UP_MS}      |
 * | {@link GAP_ASK_MS} later                         | asked for, in pieces of {@link MAX_REPLAY}             |
 * | answer: on their way                             | the next piece; after the last, all again after a pause |
 * | answer: an error, none, or a lie                 | all again, after pauses that double                   |
 * | answer: there is none of them                    | the piece is given up                                 |
 * | {@link GAP_GIVE_UP_MS} and the time to send them | given up                                              |
 */
import { MAX_REPLAY } from "../shared/replay.ts";
import type { Gap, Range } from "./gaps.ts";

/** Milliseconds: WAMP keeps order, so that what only came out of order is here at once. */
export const GAP_ASK_MS = 2000;
/** Milliseconds: longer than a relay that died keeps its events from others, 90 s and an alarm's delay. */
export const GAP_GIVE_UP_MS = 120_000;
/** Milliseconds for each missing event, to come through an onion circuit. */
const SENDING_MS = 10;
/** Milliseconds before what is said to be on its way is asked for again: a relay's own time for a receipt, twice. */
const SENT_MS = 20_000;
/** A gap of more is given up unasked: no relay keeps as many. */
const MAX_ASKED = 100_000;

/** Two clocks in monotonic milliseconds, with any beginning. */
export interface Clocks {
  readonly always: number;
  /** Runs while a session is there. */
  readonly session: number;
}

/** A gap that is waited for. */
export interface Wait extends Range {
  /** Of the clock `always`. */
  readonly heldUntil: number;
  /** These two of the clock `session`. */
  readonly askAt: number;
  readonly giveUpAt: number;
  /** The first number that this round of questions has not had. */
  readonly next: number;
  readonly failures: number;
}

/** What is missing may be other than `before`: a part of a gap inherits the gap's times. */
export function renewWaits(before: readonly Wait[], missing: readonly Gap[], clocks: Clocks): Wait[] {
  return missing
    .filter(({ givenUp }) => !givenUp)
    .map(({ from, to }) => {
      const whole = before.find((wait) => wait.from <= from && to <= wait.to);
      if (whole) return inherit(whole, { from, to }, clocks);
      const events = to - from + 1;
      const patience = events > MAX_ASKED ? 0 : GAP_GIVE_UP_MS + events * SENDING_MS;
      return {
        from,
        to,
        heldUntil: clocks.always + GAP_GIVE_UP_MS,
        askAt: clocks.session + GAP_ASK_MS,
        giveUpAt: clocks.session + patience,
        next: from,
        failures: 0,
      };
    });
}

function inherit(whole: Wait, part: Range, clocks: Clocks): Wait {
  if (whole.next <= part.to) return { ...whole, ...part, next: Math.max(whole.next, part.from) };
  // This round asked for all of it, and goes on behind it.
  return { ...whole, ...part, next: part.from, askAt: Math.max(whole.askAt, clocks.session + SENT_MS) };
}

/** Whether a build of the event `seq` waits for an earlier event. */
export function holdsBack(waits: readonly Wait[], seq: number, clocks: Clocks): boolean {
  return waits.some(({ from, heldUntil }) => from < seq && clocks.always < heldUntil);
}

/** The gaps that have been waited for long enough. */
export function overdue(waits: readonly Wait[], clocks: Clocks): Wait[] {
  return waits.filter(({ giveUpAt }) => giveUpAt <= clocks.session);
}

/** What to ask for now. */
export function questionOf(waits: readonly Wait[], clocks: Clocks): Range | undefined {
  const wait = waits.find(({ askAt }) => askAt <= clocks.session);
  if (!wait) return undefined;
  return { from: wait.next, to: Math.min(wait.to, wait.next + MAX_REPLAY - 1) };
}

/** The answer to a question. `coming`: the relay sends these events; else it could not be asked. */
export function afterAnswer(
  waits: readonly Wait[],
  question: Range,
  coming: boolean,
  clocks: Clocks,
): Wait[] {
  return waits.map((wait) => {
    if (wait.to < question.from || question.to < wait.from) return wait;
    if (!coming) {
      const failures = wait.failures + 1;
      return { ...wait, failures, next: wait.from, askAt: clocks.session + GAP_ASK_MS * 2 ** failures };
    }
    if (question.to < wait.to) return { ...wait, next: question.to + 1 };
    return { ...wait, next: wait.from, askAt: clocks.session + SENT_MS };
  });
}

/** Milliseconds until there is something to do again. `session`, `free`: whether one is there and may be asked. */
export function idleMs(
  waits: readonly Wait[],
  clocks: Clocks,
  { session, free }: { session: boolean; free: boolean },
): number {
  const times = waits.flatMap(({ heldUntil, giveUpAt, askAt }) => [
    ...(heldUntil > clocks.always ? [heldUntil - clocks.always] : []),
    ...(session ? [giveUpAt - clocks.session] : []),
    ...(session && free ? [askAt - clocks.session] : []),
  ]);
  return Math.max(0, Math.min(...times));
}
