/**
 * What an operator may ask of a running relay: the port behind the control API (`control/control.ts`).
 */
import type { Selection } from "../shared/drain.ts";
import { OnionhookError } from "../shared/errors.ts";
import type { DrainClient } from "./drain/client.ts";
import type { OpenDrain } from "./drain/connection.ts";
import { judge, type Status } from "./health.ts";
import { type DeliveryQueue, type HeldEvent, QUEUE_STATES, type QueueState } from "./queue/queue.ts";
import type { QueueStatus, StatusKeeper } from "./status.ts";

/** Which events to send again. */
export interface ReplayWish {
  /** One of those that this relay drains; left out, every one. */
  readonly stream?: string;
  readonly of: Selection;
  /**
   * `again`: the edge stores them anew and they run again. `missed`: the same bytes; what the builder has, it does
   * not run again.
   */
  readonly how: "again" | "missed";
}

export interface Operations {
  status(): Promise<Status>;
  /** The oldest first. @throws OnionhookError of the queue's. */
  list(state: QueueState, limit: number): Promise<HeldEvent[]>;
  /** The events of this delivery, or of this `STREAM-SEQ`, that are held here. */
  find(id: string): Promise<HeldEvent[]>;
  /** Dead, delayed or received events are ready now: how many of those named were. */
  retry(events: readonly { stream: string; seq: number }[]): Promise<number>;
  /**
   * How many events the edge found.
   * @throws OnionhookError `ERR_NO_DRAIN` while the drain is not open; `ERR_REDELIVER_DENIED` when the edge does not
   * grant this relay `again`; `ERR_EDGE_SILENT`.
   */
  replay(wish: ReplayWish): Promise<{ events: number }>;
}

export interface OperationsParts {
  readonly queue: DeliveryQueue;
  readonly drains: Pick<DrainClient, "open">;
  readonly status: StatusKeeper;
}

/** Events of one state that are looked through for a delivery. */
const LOOK_THROUGH = 10_000;

export function makeOperations({ queue, drains, status }: OperationsParts): Operations {
  async function find(id: string): Promise<HeldEvent[]> {
    const [, stream, seq] = /^(.+)-(\d+)$/.exec(id) ?? [];
    const named = stream === undefined ? undefined : await queue.find(stream, Number(seq));
    if (named) return [named];
    const lists = await Promise.all(QUEUE_STATES.map((state) => queue.list(state, LOOK_THROUGH)));
    return lists.flat().filter(({ delivery }) => delivery === id);
  }

  return {
    status: async () => judge(status.snapshot(await takeStock(queue).catch(() => undefined))),
    list: (state, limit) => queue.list(state, limit),
    find,
    async retry(events) {
      let retried = 0;
      for (const { stream, seq } of events) if (await queue.retry(stream, seq)) retried += 1;
      return retried;
    },
    async replay({ stream, of, how }) {
      const wanted = drains.open().filter((drain) => stream === undefined || drain.stream === stream);
      if (wanted.length === 0) {
        throw new OnionhookError("ERR_NO_DRAIN", "the edge cannot be asked: no such drain is open", {
          hint: "onionhook status shows the drains; try again when one is up",
          retryable: true,
        });
      }
      let events = 0;
      for (const drain of wanted)
        events += how === "again" ? await redeliver(drain, of) : await sendAgain(drain, of);
      return { events };
    },
  };
}

async function takeStock(queue: DeliveryQueue): Promise<QueueStatus> {
  const counts = await queue.counts();
  const oldest = (await Promise.all(UNDONE.map((state) => queue.list(state, 1)))).flat();
  if (oldest.length === 0) return { counts };
  return { counts, oldestAt: Math.min(...oldest.map(({ addedAt }) => addedAt)) };
}

const UNDONE = ["waiting", "in hand", "delayed", "received"] as const;

async function sendAgain(drain: OpenDrain, of: Selection): Promise<number> {
  const answer = await drain.ask((id) => ({ type: "replay", id, of }));
  return answer.type === "replaying" ? answer.events : 0;
}

/** The edge does it in portions, each of which it says how to go on from. */
async function redeliver(drain: OpenDrain, of: Selection): Promise<number> {
  if (!drain.may.includes("redeliver")) {
    throw new OnionhookError(
      "ERR_REDELIVER_DENIED",
      "the edge does not let this relay have events run again",
      {
        hint: "set redeliver = true for this relay in the edge's RELAYS, or redeliver from the webhook's settings at GitHub",
      },
    );
  }
  let events = 0;
  for (let after: number | undefined = 0; after !== undefined;) {
    const from: number = after;
    const answer = await drain.ask((id) => ({
      type: "redeliver",
      id,
      of,
      ...(from > 0 && { after: from }),
    }));
    if (answer.type !== "redelivered") break;
    events += answer.events;
    after = answer.next;
  }
  return events;
}
