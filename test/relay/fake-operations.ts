/** An `Operations` of events in memory, for what stands on that port. */
import { judge } from "../../relay/health.ts";
import type { Operations, ReplayWish } from "../../relay/operations.ts";
import { type HeldEvent, QUEUE_STATES, type QueueState } from "../../relay/queue/queue.ts";
import { makeStatus, type StatusKeeper } from "../../relay/status.ts";

export interface FakeOperations extends Operations {
  readonly held: HeldEvent[];
  /** What `replay` was asked for. */
  readonly wishes: ReplayWish[];
  readonly status: () => ReturnType<Operations["status"]>;
  readonly keeper: StatusKeeper;
}

export function heldEvent(seq: number, state: QueueState, more: Partial<HeldEvent> = {}): HeldEvent {
  return {
    stream: "builder",
    seq,
    topic: "webhook.github.push",
    delivery: `72d3162e-cc78-11e3-81ab-4c9367dc09${String(seq).padStart(2, "0")}`,
    state,
    bytes: 8192,
    addedAt: Date.now() - 60_000 + seq,
    tries: { started: 1, spent: 0 },
    ...more,
  };
}

export function makeFakeOperations(...held: HeldEvent[]): FakeOperations {
  const keeper = makeStatus(Date.now);
  const wishes: ReplayWish[] = [];
  const counts = () => {
    const inState = (state: QueueState) => held.filter((event) => event.state === state).length;
    return {
      waiting: inState("waiting"),
      "in hand": inState("in hand"),
      delayed: inState("delayed"),
      received: inState("received"),
      dead: inState("dead"),
    } satisfies Record<(typeof QUEUE_STATES)[number], number>;
  };
  return {
    held,
    wishes,
    keeper,
    status: () => Promise.resolve(judge(keeper.snapshot({ counts: counts() }))),
    list: (state, limit) => Promise.resolve(held.filter((event) => event.state === state).slice(0, limit)),
    find: (id) =>
      Promise.resolve(
        held.filter(({ stream, seq, delivery }) => id === delivery || id === `${stream}-${seq}`),
      ),
    retry(events) {
      let retried = 0;
      for (const [index, event] of held.entries()) {
        if (!events.some(({ stream, seq }) => stream === event.stream && seq === event.seq)) continue;
        if (event.state === "waiting" || event.state === "in hand") continue;
        held[index] = { ...event, state: "waiting" };
        retried += 1;
      }
      return Promise.resolve(retried);
    },
    replay(wish) {
      wishes.push(wish);
      return Promise.resolve({ events: 3 });
    },
  };
}
