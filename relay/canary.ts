/**
 * Tests the whole way while nothing passes: the edge stores a small event, which goes to the builder like any other,
 * and its receipt back. A socket that looks open tells nothing; this does.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { CANARY_TOPIC } from "../shared/topic.ts";
import type { OpenDrain } from "./drain/connection.ts";

export interface Canaries {
  /** Hears every report, and passes on those that are not a canary's. */
  readonly sift: (out: Report) => Report;
  /** The edge accepted the receipt of an event. */
  readonly accepted: (stream: string, seq: number) => void;
  /** Resolves when the signal has ended them. */
  readonly ended: Promise<void>;
}

export interface CanaryParts {
  readonly drains: () => readonly OpenDrain[];
  /** Whether the events of a stream are done by a builder's receipt alone: else a canary proves nothing. */
  readonly givesReceipts: (stream: string) => boolean;
  readonly everyMs: number;
  /** Milliseconds after which one is lost. Default {@link WAY_MS}. */
  readonly wayMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** Milliseconds for a canary's way there and back: a minute is long even where a new circuit is made on each hop. */
const WAY_MS = 60_000;

/** Canaries of which is remembered that they came. */
const MAX_OTHERS = 64;

interface Canary {
  readonly seq: number;
  readonly startedAt: number;
  /** The last report of it. */
  where: string;
}

export function startCanaries({
  drains,
  givesReceipts,
  everyMs,
  wayMs = WAY_MS,
  report,
  signal,
}: CanaryParts): Canaries {
  const flying = new Map<string, Canary>();
  /** The last one that came back, by stream: an edge that was asked a moment ago names it again. */
  const back = new Map<string, number>();
  /** When another event was last accepted, by stream; of the monotonic clock. */
  const passedAt = new Map<string, number>();

  async function release(drain: OpenDrain): Promise<void> {
    const { stream } = drain;
    const startedAt = performance.now();
    const answer = await drain.ask((id) => ({ type: "canary", id }));
    if (answer.type !== "canary" || answer.seq === back.get(stream)) return;
    const known = flying.get(stream);
    if (known?.seq !== answer.seq) flying.set(stream, { seq: answer.seq, startedAt, where: "stored" });
    await sleep(wayMs, undefined, { signal }).catch(() => {});
    const late = flying.get(stream);
    if (!signal.aborted && late?.seq === answer.seq) report("canary_lost", { stream, where: late.where });
  }

  async function keepFlying(): Promise<void> {
    if (everyMs === 0) return;
    while (!signal.aborted) {
      await sleep(everyMs, undefined, { signal }).catch(() => {});
      for (const drain of signal.aborted ? [] : drains()) {
        const isQuiet = performance.now() - (passedAt.get(drain.stream) ?? -Infinity) >= everyMs;
        if (isQuiet && drain.may.includes("canary") && givesReceipts(drain.stream))
          void release(drain).catch((error: unknown) =>
            report("error", { ...describeError(error), to: "edge", stream: drain.stream }),
          );
      }
    }
  }

  /** Another relay's canary may come here, too: it is nobody's delivery either. */
  const others = new Set<string>();
  function noteOther(key: string): void {
    others.add(key);
    const [oldest] = others;
    if (others.size > MAX_OTHERS && oldest !== undefined) others.delete(oldest);
  }

  return {
    sift: (out) => (event, fields) => {
      const { stream, seq, topic } = fields ?? {};
      const own = flying.get(String(stream));
      const key = `${String(stream)}-${String(seq)}`;
      if (event === "drained" && topic === CANARY_TOPIC) noteOther(key);
      if (event === "error") return out(event, fields);
      if (own !== undefined && own.seq === seq) own.where = event;
      else if (!others.has(key)) out(event, fields);
    },
    accepted(stream, seq) {
      const canary = flying.get(stream);
      if (canary?.seq !== seq) {
        passedAt.set(stream, performance.now());
        return;
      }
      flying.delete(stream);
      back.set(stream, seq);
      report("canary", { stream, ms: Math.round(performance.now() - canary.startedAt) });
    },
    ended: keepFlying(),
  };
}
