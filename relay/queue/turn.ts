/** The turn of an event that was taken out of the store: it is handed to the handler, and its outcome is settled. */
import { describeError } from "../../shared/errors.ts";
import { pauseMs } from "../../shared/host/backoff.ts";
import type { Report } from "../../shared/report.ts";
import type { Handler, OnReceived, Outcome } from "./queue.ts";
import type { Ahead } from "./ahead.ts";
import { parseJob } from "./job.ts";
import type { Settled } from "./settler.ts";
import type { TakenJob } from "./store.ts";

export interface Turns {
  /** From now on events are handed to `handler`; until then every one is parked. */
  begin(handler: Handler, onReceived: OnReceived): void;
  /** `parked`: it keeps its place. */
  take(job: TakenJob): Promise<"settled" | "parked">;
  /** It is not to start again before that. */
  postpone(id: string, delayMs: number): void;
  /** It need not wait any more. */
  release(id: string): void;
  /** Nor need any other, those that are being tried included. */
  releaseAll(): void;
}

/** For an event whose handler threw: a fault that passes by itself has then passed. */
const PAUSES = { firstMs: 1000, capMs: 60_000 };

/** @param over from then on no receipt is handed on: the store does not know of it. */
export function makeTurns(
  settle: (job: TakenJob, outcome: Settled) => Promise<void>,
  ahead: Ahead,
  report: Report,
  over: AbortSignal,
): Turns {
  /** Milliseconds since 1970, by job. */
  const notBefore = new Map<string, number>();
  /** How often all were released. */
  let releases = 0;
  let handle: Handler | undefined;
  let receive: OnReceived | undefined;

  async function attempt({ id, name, sealed, attemptsStarted, attemptsMade }: TakenJob): Promise<Outcome> {
    const { stream, seq, topic, delivery } = parseJob({ id, name });
    const tries = { started: Math.max(0, attemptsStarted - 1), spent: attemptsMade };
    try {
      if (handle === undefined) return { kind: "unavailable" };
      return await handle({ stream, seq, topic, delivery, sealed }, tries);
    } catch (error) {
      report("error", { ...describeError(error), stream, seq, delivery });
      return { kind: "later", delayMs: pauseMs(tries.started, PAUSES), spent: false };
    }
  }

  return {
    begin(handler, onReceived) {
      handle = handler;
      receive = onReceived;
    },
    async take(job) {
      const delayMs = (notBefore.get(job.id) ?? 0) - Date.now();
      notBefore.delete(job.id);
      const before = releases;
      let outcome: Outcome = delayMs > 0 ? { kind: "later", delayMs, spent: false } : await attempt(job);
      if (outcome.kind === "unavailable") return "parked";
      // What made all others ready while it was tried makes it ready, too.
      if (outcome.kind === "later" && !outcome.spent && releases !== before)
        outcome = { ...outcome, delayMs: 0 };
      await settle(job, outcome);
      const { stream, seq, delivery } = parseJob(job);
      ahead.end(stream, job.id);
      // A receipt is true even where the job is not ours any more.
      if (outcome.kind === "received" && !over.aborted) receive?.({ stream, seq, delivery }, outcome.receipt);
      return "settled";
    },
    postpone: (id, delayMs) => void notBefore.set(id, Date.now() + delayMs),
    release: (id) => void notBefore.delete(id),
    releaseAll() {
      notBefore.clear();
      releases += 1;
    },
  };
}
