/**
 * An intake between a queue and a publisher that do what a test says, when it says so. The queue is the port's two
 * members over a list: how a real one keeps events is its contract's business (`queue/queue.contract.ts`).
 */
import { type Intake, makeIntake } from "../../relay/intake.ts";
import type { Added, EventName, Outcome, QueuedEvent } from "../../relay/queue/queue.ts";

export interface Publishing {
  readonly event: QueuedEvent;
  readonly settle: (outcome: Outcome) => void;
}

export interface Adding {
  readonly events: readonly QueuedEvent[];
  readonly store: () => void;
  readonly fail: () => void;
}

export interface IntakeWorld {
  readonly intake: Intake;
  /** What is being published, in order of its start. */
  readonly publishing: Publishing[];
  /** What is being put into the queue. */
  readonly adding: Adding[];
  /** What waits in the queue. */
  readonly waiting: QueuedEvent[];
  /** Every event that was published, each time that it was. */
  readonly published: QueuedEvent[];
  readonly stored: string[];
  readonly done: [name: string, receipt: string | undefined][];
  readonly reports: string[];
  /** Ends all that is being published. */
  settleAll(outcome: Outcome): void;
  /** A stream's builder comes or goes; with the last one, what is being published is in doubt. */
  setReady(stream: string, isReady: boolean): void;
  /** The queue has delivered all that waited in it. */
  emptyQueue(): void;
  /** What `add` finds of an event that the queue has received already. */
  readonly receivedBefore: Map<string, string>;
  /** Called at the start of each publishing and adding. */
  watch: { publish?: (event: QueuedEvent) => void; add?: (events: readonly QueuedEvent[]) => void };
}

export function nameOf({ stream, seq }: Pick<EventName, "stream" | "seq">): string {
  return `${stream}-${seq}`;
}

export function event(seq: number, stream = "docs", mark = 0): QueuedEvent {
  const delivery = `delivery-${stream}-${seq}-${mark}`;
  return { stream, seq, topic: "webhook.github.push", delivery, sealed: Buffer.from(delivery) };
}

export function makeIntakeWorld(): IntakeWorld {
  const ready = new Set<string>();
  const publishing: Publishing[] = [];
  const adding: Adding[] = [];
  const world: Omit<IntakeWorld, "intake"> = {
    publishing,
    adding,
    waiting: [],
    published: [],
    stored: [],
    done: [],
    reports: [],
    receivedBefore: new Map(),
    watch: {},
    settleAll(outcome) {
      for (const one of publishing.slice()) one.settle(outcome);
    },
    setReady(stream, isReady) {
      if (isReady) ready.add(stream);
      else ready.delete(stream);
      for (const each of isReady ? [] : publishing.filter((one) => one.event.stream === stream))
        each.settle({ kind: "unavailable" });
      intake.pump();
    },
    emptyQueue() {
      world.waiting.length = 0;
      if (adding.length === 0) intake.pump();
    },
  };

  function publish(given: QueuedEvent): Promise<Outcome> {
    if (!ready.has(given.stream)) return Promise.resolve({ kind: "unavailable" });
    world.watch.publish?.(given);
    world.published.push(given);
    return new Promise((resolve) => {
      const one: Publishing = {
        event: given,
        settle(outcome) {
          publishing.splice(publishing.indexOf(one), 1);
          resolve(outcome);
        },
      };
      publishing.push(one);
    });
  }

  function add(events: readonly QueuedEvent[]): Promise<Added[]> {
    world.watch.add?.(events);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => () => {
        adding.splice(adding.indexOf(one), 1);
        settle();
      };
      const one: Adding = {
        events,
        store: end(() => resolve(events.map(keep))),
        fail: end(() => reject(new Error("the store is away"))),
      };
      adding.push(one);
    });
  }

  function keep(given: QueuedEvent): Added {
    const receipt = world.receivedBefore.get(nameOf(given));
    if (receipt !== undefined) return { state: "received", receipt };
    world.waiting.push(given);
    return { state: "added" };
  }

  const intake = makeIntake({
    queue: {
      add,
      isIdle: (stream) => world.waiting.every((waiting) => waiting.stream !== stream),
    },
    publisher: { publish, isReady: (stream) => ready.has(stream) },
    stored: (stream, seq) => void world.stored.push(nameOf({ stream, seq })),
    done: (stream, seq, receipt) => void world.done.push([nameOf({ stream, seq }), receipt]),
    report: (name, { stream, seq } = {}) =>
      void world.reports.push(`${name} ${String(stream)}-${String(seq)}`),
  });
  return Object.assign(world, { intake });
}
