/** What became of one delivery, hop by hop, from the events of all parts. */

/** The hops in order, each with the part or thing that it reaches. */
const HOPS = [
  ["received", "edge"],
  ["stored", "outbox"],
  ["drained", "relay"],
  ["published", "router"],
  ["opened", "builder"],
  ["done", "receipt"],
  ["built", "build"],
] as const;

export interface Journey {
  /** Takes note of an event of any part; other deliveries' are ignored. */
  note(event: Readonly<Record<string, unknown>>): void;
  /** Milliseconds since the delivery was sent, for an event that came. */
  since(event: string): number | undefined;
  /** One line: every hop with its time since the delivery was sent. */
  summary(): string;
}

/** @param sentAt milliseconds since 1970, with fractions. */
export function makeJourney(delivery: string, sentAt: number): Journey {
  const times = new Map<string, number>();
  const since = (event: string) => {
    const at = times.get(event);
    // Part clocks are read in different processes, one of them in whole milliseconds.
    return at === undefined ? undefined : Math.max(0, at - sentAt);
  };
  return {
    note({ event, at, delivery: which }) {
      if (which === delivery && typeof event === "string" && typeof at === "number" && !times.has(event))
        times.set(event, at);
    },
    since,
    summary: () =>
      HOPS.flatMap(([event, reached]) => {
        const ms = since(event);
        return ms === undefined ? [] : [`${reached} ${ms.toFixed(0)}`];
      }).join(" · "),
  };
}
