/**
 * What must be true of a run when it has settled, whatever was done to it. Pure.
 *
 * - lost: every delivery that the edge took was built.
 * - twice: an event was kept once and built once. A second event of a delivery is only what GitHub calls a
 *   redelivery: the sender tried again because the answer to an earlier try was lost.
 * - invented: what was kept was sent, and what was built has its very bytes.
 * - order: the pushes of a ref were built in the order of sending.
 * - undone: the edge has every event done.
 * - gap: the outbox's numbers are gapless.
 */
export interface SentDelivery {
  delivery: string;
  /** Deliveries of one lane are in order of sending. */
  lane: string;
  /** Hexadecimal, of the raw body. */
  sha256: string;
  /** POSTs so far. */
  tries: number;
  /** Whether the edge answered 202. */
  isTaken: boolean;
}

/** A row of the builder's journal. */
export interface KeptEvent {
  tag: string;
  stream: string;
  seq: number;
  delivery: string;
}

/** A row of the journal's builds, with what its commands printed. */
export interface KeptBuild {
  /** Builds behind a gap wait for it: theirs may be lower than those of builds that ran before. */
  id: number;
  tag: string;
  /** Null while it is not over. */
  exit: string | null;
  /** SHA-256 of the payload as the command saw it, for each time that it ran to its end. */
  printed: readonly string[];
}

/** One of the contract's events, in the order in which `dev` said them. */
export type ToldEvent = { event: string } & Readonly<Record<string, unknown>>;

export interface History {
  /** In order of sending within a lane. */
  sent: readonly SentDelivery[];
  kept: readonly KeptEvent[];
  builds: readonly KeptBuild[];
  told: readonly ToldEvent[];
  /** Each may have cut off one build, which is run again from its start. */
  builderDeaths: number;
  /** Events, as {@link eventName} has them, whose commands may have failed: the disk was full. */
  mayHaveFailed: ReadonlySet<string>;
}

export interface Violation {
  rule: "lost" | "twice" | "invented" | "order" | "undone" | "gap";
  delivery: string;
  /** The other delivery of an `order`. */
  other?: string;
  what: string;
}

/** Names an event: the outbox numbers are per stream. */
export function eventName({ stream, seq }: Pick<KeptEvent, "stream" | "seq"> | ToldEvent): string {
  return `${String(stream)}/${String(seq)}`;
}

/** Everything that is wrong; empty for a clean run. */
export function checkLedger(history: History): Violation[] {
  return [
    ...checkLost(history),
    ...checkTwice(history),
    ...checkInvented(history),
    ...checkOrder(history),
    ...checkUndone(history),
    ...checkGaps(history),
  ];
}

function checkLost({ sent, kept, builds, mayHaveFailed }: History): Violation[] {
  const eventsOf = Map.groupBy(kept, ({ delivery }) => delivery);
  const buildsOf = Map.groupBy(builds, ({ tag }) => tag);
  const lost = (delivery: string, what: string): Violation => ({ rule: "lost", delivery, what });
  return sent.flatMap(({ delivery, isTaken }) => {
    const events = eventsOf.get(delivery) ?? [];
    if (!isTaken) return [];
    if (events.length === 0) return [lost(delivery, "was taken and is not in the journal")];
    return events.flatMap((event) => {
      const [build] = buildsOf.get(event.tag) ?? [];
      if (build === undefined) return [lost(delivery, `${eventName(event)} has no build`)];
      if (build.exit === null) return [lost(delivery, `build ${build.id} is not over`)];
      if (build.exit === "0") {
        return build.printed.length > 0 ? [] : [lost(delivery, `build ${build.id} printed nothing`)];
      }
      if (mayHaveFailed.has(eventName(event))) return [];
      return [lost(delivery, `build ${build.id} ended with ${build.exit}`)];
    });
  });
}

function checkTwice({ sent, kept, builds, told, builderDeaths }: History): Violation[] {
  const twice = (delivery: string, what: string): Violation => ({ rule: "twice", delivery, what });
  const deliveryOf = new Map(kept.map(({ tag, delivery }) => [tag, delivery]));
  const redelivered = new Set(
    told.flatMap((event) =>
      event.event === "opened" && event["redelivery"] === true ? [eventName(event)] : [],
    ),
  );
  const triesOf = new Map(sent.map(({ delivery, tries }) => [delivery, tries]));
  const rows = [...Map.groupBy(kept, eventName)].flatMap(([name, same]) =>
    same.length > 1 ? [twice(same[0]?.delivery ?? "", `${name} is in the journal ${same.length} times`)] : [],
  );
  const events = [...Map.groupBy(kept, ({ delivery }) => delivery)].flatMap(([delivery, same]) => {
    const again = same.toSorted((a, b) => a.seq - b.seq).slice(1);
    const excess = again.length - ((triesOf.get(delivery) ?? 1) - 1);
    return [
      ...(excess > 0 ? [twice(delivery, `is ${same.length} events`)] : []),
      ...again
        .filter((event) => !redelivered.has(eventName(event)))
        .map((event) => twice(delivery, `${eventName(event)} is the same again, and no redelivery`)),
    ];
  });
  const runs = [...Map.groupBy(builds, ({ tag }) => tag)].flatMap(([tag, same]) =>
    same.length > 1 ? [twice(deliveryOf.get(tag) ?? "", `has ${same.length} builds`)] : [],
  );
  const reruns = builds.filter(({ printed }) => printed.length > 1);
  const excess = reruns.reduce((sum, { printed }) => sum + printed.length - 1, 0) - builderDeaths;
  const cutOff =
    excess > 0
      ? reruns.map(({ id, tag, printed }) =>
          twice(deliveryOf.get(tag) ?? "", `build ${id} ran ${printed.length} times to its end`),
        )
      : [];
  return [...rows, ...events, ...runs, ...cutOff];
}

function checkInvented({ sent, kept, builds }: History): Violation[] {
  const invented = (delivery: string, what: string): Violation => ({ rule: "invented", delivery, what });
  const hashOf = new Map(sent.map(({ delivery, sha256 }) => [delivery, sha256]));
  const eventOf = new Map(kept.map((event) => [event.tag, event]));
  return [
    ...kept
      .filter(({ delivery }) => !hashOf.has(delivery))
      .map((event) => invented(event.delivery, `${eventName(event)} was never sent`)),
    ...builds.flatMap(({ id, tag, printed }) => {
      const event = eventOf.get(tag);
      if (event === undefined) return [invented("", `build ${id} is of no event`)];
      const other = printed.some((hash) => hash !== hashOf.get(event.delivery));
      return other ? [invented(event.delivery, `build ${id} saw another body`)] : [];
    }),
  ];
}

/** By the order in which builds were over, one after the other. Of a delivery that came again, the first event counts. */
function checkOrder({ sent, kept, told }: History): Violation[] {
  const toldAt = new Map<string, number>();
  for (const [index, event] of told.entries()) {
    if (event.event === "built" && !toldAt.has(eventName(event))) toldAt.set(eventName(event), index);
  }
  const firstOf = new Map<string, KeptEvent>();
  for (const event of kept.toSorted((a, b) => b.seq - a.seq)) firstOf.set(event.delivery, event);
  return [...Map.groupBy(sent, ({ lane }) => lane).values()].flatMap((lane) => {
    const places = lane.flatMap(({ delivery }) => {
      const event = firstOf.get(delivery);
      return event === undefined ? [] : [{ delivery, built: toldAt.get(eventName(event)) }];
    });
    return places.slice(1).flatMap(({ delivery, built }, index): Violation[] => {
      const before = places[index];
      if (before === undefined || !isAfter(before.built, built)) return [];
      const what = `was built before ${before.delivery}`;
      return [{ rule: "order", delivery, other: before.delivery, what }];
    });
  });
}

/** False when either is missing: that is another rule's matter. */
function isAfter(one: number | undefined, other: number | undefined): boolean {
  return one !== undefined && other !== undefined && one > other;
}

function checkUndone({ kept, told }: History): Violation[] {
  const done = new Set(told.flatMap((event) => (event.event === "done" ? [eventName(event)] : [])));
  return kept
    .filter((event) => !done.has(eventName(event)))
    .map((event) => ({
      rule: "undone",
      delivery: event.delivery,
      what: `${eventName(event)} was never done`,
    }));
}

function checkGaps({ kept }: History): Violation[] {
  return [...Map.groupBy(kept, ({ stream }) => stream)].flatMap(([stream, events]) => {
    const seqs = new Set(events.map(({ seq }) => seq));
    return Array.from({ length: Math.max(...seqs) }, (_, index) => index + 1)
      .filter((seq) => !seqs.has(seq))
      .map((seq): Violation => ({
        rule: "gap",
        delivery: "",
        what: `${stream}/${seq} is not in the journal`,
      }));
  });
}
