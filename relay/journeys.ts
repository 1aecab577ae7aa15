/**
 * The ways of the last events that passed this relay, kept in memory only: what `show` tells of an event that is done,
 * and what latencies are measured from. The queue and the edge know what is undone; this knows when things happened.
 */
import type { EventName } from "./queue/queue.ts";

/** What an event goes through here, in order; each is the name of a report. `queued` is left out when all goes well. */
export const STEPS = ["drained", "queued", "published", "received", "accepted"] as const;

export type Step = (typeof STEPS)[number];

export interface Journey extends EventName {
  /** Known of events that were drained since the relay began. */
  readonly topic?: string;
  /** Size of the sealed bytes. */
  readonly bytes?: number;
  /** When each step was taken, the last time; `drained`: the first time. Milliseconds since 1970. */
  readonly at: Readonly<Partial<Record<Step, number>>>;
  /** How often it was published. */
  readonly published: number;
}

export interface Journeys {
  /** Takes note of a report: the journey as it is now, when the report was of a step. */
  note(
    event: string,
    fields?: Readonly<Record<string, unknown>>,
  ): { step: Step; journey: Journey } | undefined;
  /** Those whose event is done, the latest first. */
  done(limit: number): Journey[];
  /** Those of a delivery, or of a `STREAM-SEQ`. */
  find(id: string): Journey[];
}

/** Journeys kept: some 300 KB. */
const MOST_JOURNEYS = 1000;

/** @param now milliseconds since 1970. */
export function makeJourneys(now: () => number, most: number = MOST_JOURNEYS): Journeys {
  /** By `STREAM-SEQ`, in the order in which they began. */
  const journeys = new Map<string, Journey>();

  /** The edge sends again what is not done; what was done, or is another delivery, is on a new journey. */
  function goesOn(known: Journey, step: Step, delivery: unknown): boolean {
    if (delivery !== undefined && delivery !== known.delivery) return false;
    return step !== "drained" || known.at.accepted === undefined;
  }

  function forgetOldest(): void {
    for (const oldest of journeys.keys()) {
      if (journeys.size <= most) return;
      journeys.delete(oldest);
    }
  }

  return {
    note(event, fields = {}) {
      const step = STEPS.find((each) => each === event);
      const { delivery, stream, seq, topic, bytes } = fields;
      if (step === undefined || typeof stream !== "string" || typeof seq !== "number") return undefined;
      const key = keyOf({ stream, seq });
      const known = journeys.get(key);
      const before = known && goesOn(known, step, delivery) ? known : undefined;
      const name = before?.delivery ?? delivery;
      if (typeof name !== "string") return undefined;
      const at = now();
      const journey: Journey = {
        ...before,
        stream,
        seq,
        delivery: name,
        ...(typeof topic === "string" && { topic }),
        ...(typeof bytes === "number" && { bytes }),
        at: step === "drained" ? { drained: at, ...before?.at } : { ...before?.at, [step]: at },
        published: (before?.published ?? 0) + (step === "published" ? 1 : 0),
      };
      if (!before) journeys.delete(key);
      journeys.set(key, journey);
      forgetOldest();
      return { step, journey };
    },
    done: (limit) =>
      [...journeys.values()]
        .filter(({ at }) => at.accepted !== undefined)
        .toSorted((a, b) => (b.at.accepted ?? 0) - (a.at.accepted ?? 0))
        .slice(0, limit),
    find: (id) =>
      [...journeys.values()].filter((journey) => journey.delivery === id || keyOf(journey) === id),
  };
}

/** `STREAM-SEQ`: how an event is named to people, and by them. */
export function keyOf({ stream, seq }: Pick<EventName, "stream" | "seq">): string {
  return `${stream}-${seq}`;
}
