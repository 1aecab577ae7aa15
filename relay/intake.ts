/**
 * What comes from the edge, in order: published at once while a builder is there and nothing waits in the queue, else
 * put into the queue. An event that is published at once never touches a disk here: until it is done the edge has it.
 *
 * ```
 *                   ready, queue idle            received
 *   take ──▶ held ───────────────────▶ published ─────────▶ received ── settled ──▶ (nothing)
 *             │ ▲                        │   │                              │
 *             │ └────── unavailable ─────┘   └ later, dead                  │ refused
 *             └ not ready ──▶ queue ◀────────┘◀─────────────────────────────┘
 * ```
 *
 * While a builder is there but the queue has not caught up, events wait here: the queue empties first, and no event
 * overtakes another. What is not done soon is said to be stored, as far as there is room: the edge then sends on, and
 * does not take the end of the connection for that event's fault. It is not on a disk; but a relay that starts anew
 * does not resume its drains, and gets all of it again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { pauseMs, type Pauses } from "../shared/host/backoff.ts";
import type { Report } from "../shared/report.ts";
import type { Publisher } from "./publisher.ts";
import type { Added, DeliveryQueue, QueuedEvent } from "./queue/queue.ts";

export interface Intake {
  /** An event came from the edge, perhaps not for the first time. */
  take(event: QueuedEvent): void;
  /** Who listens, or what the queue holds, has changed. */
  pump(): void;
  /** What the edge made of a receipt: `undefined` when the event is over. Whether it was here. */
  settled(stream: string, seq: number, refusal: string | undefined): boolean;
  /** Receipts that the edge may not have got. */
  received(stream: string): { seq: number; receipt: string | undefined }[];
  /** Resolves when what was being put into the queue is there. The rest the edge still has. */
  close(): Promise<void>;
}

export interface IntakeParts {
  readonly queue: Pick<DeliveryQueue, "add" | "isIdle">;
  readonly publisher: Pick<Publisher, "publish" | "isReady">;
  /** Tells the edge that the event is here. */
  readonly stored: (stream: string, seq: number) => void;
  /** Tells the edge that the event is done, with the builder's receipt. */
  readonly done: (stream: string, seq: number, receipt: string | undefined) => void;
  readonly report: Report;
}

interface Entry {
  readonly event: QueuedEvent;
  at: "held" | "publishing" | "to queue" | "queueing" | "received";
  /** Whether it is on its way to the queue in its place: others of its stream wait for that. */
  keepsPlace: boolean;
  receipt: string | undefined;
  readonly cameAt: number;
  isStored: boolean;
}

/** Milliseconds after which an event that is not done is said to be stored: most are done before. */
const STORED_MS = 1000;
/** Bytes, and events, that are said to be stored while they are only here. */
const MAX_STORED_BYTES = 33_554_432;
const MAX_STORED = 256;
/** Milliseconds until a queue whose store is away is asked again. */
const STORE_PAUSES: Pauses = { firstMs: 100, capMs: 2000 };
const FRESH = { started: 0, spent: 0 };

export function makeIntake({ queue, publisher, stored, done, report }: IntakeParts): Intake {
  /** By stream and seq, in the order of coming. */
  const entries = new Map<string, Entry>();
  let queueing: Promise<void> | undefined;
  const closing = new AbortController();

  /** Another event of the same number may have taken its place. */
  const isCurrent = (entry: Entry): boolean =>
    entries.get(keyOf(entry.event.stream, entry.event.seq)) === entry;
  const forget = (entry: Entry): void => {
    entries.delete(keyOf(entry.event.stream, entry.event.seq));
  };

  async function publish(entry: Entry): Promise<void> {
    entry.at = "publishing";
    const { event } = entry;
    const outcome = await publisher.publish(event, FRESH);
    if (!isCurrent(entry)) return;
    if (outcome.kind === "received") {
      entry.at = "received";
      entry.receipt = outcome.receipt;
      done(event.stream, event.seq, outcome.receipt);
    } else {
      // What is to be tried again later, or is too often tried, is the queue's business, from the start.
      entry.at = outcome.kind === "unavailable" ? "held" : "to queue";
    }
    // Others may have waited for the end of this one.
    pump();
  }

  /** What goes to the queue now, in order: nothing overtakes an event of its stream whose publishing is not over. */
  function forQueue(): Entry[] {
    const batch: Entry[] = [];
    const blocked = new Set<string>();
    for (const entry of entries.values()) {
      const { stream } = entry.event;
      if (entry.at === "to queue") batch.push(entry);
      else if (entry.at === "publishing") blocked.add(stream);
      else if (entry.at === "held" && !blocked.has(stream) && !publisher.isReady(stream)) batch.push(entry);
    }
    const first = batch[0]?.event.stream;
    return batch.filter(({ event }) => event.stream === first);
  }

  function toldQueued(entry: Entry, found: Added | undefined): void {
    if (!isCurrent(entry)) return;
    const { stream, seq, delivery } = entry.event;
    forget(entry);
    report("queued", { delivery, stream, seq });
    if (!entry.isStored) stored(stream, seq);
    if (found?.state === "received") done(stream, seq, found.receipt);
  }

  async function fillQueue(): Promise<void> {
    for (let tries = 0; !closing.signal.aborted;) {
      const batch = forQueue();
      if (batch.length === 0) return;
      const before = batch.map(({ at }) => at);
      for (const entry of batch) {
        entry.keepsPlace = entry.at === "held";
        entry.at = "queueing";
      }
      const added = await queue.add(batch.map(({ event }) => event)).catch(() => undefined);
      if (added) {
        for (const [index, entry] of batch.entries()) toldQueued(entry, added[index]);
        tries = 0;
      } else {
        // The queue has reported its store; the edge has the events.
        for (const [index, entry] of batch.entries()) entry.at = before[index] ?? "held";
        await sleep(pauseMs(tries, STORE_PAUSES), undefined, { signal: closing.signal }).catch(() => {});
        tries += 1;
      }
    }
  }

  function pump(): void {
    if (closing.signal.aborted) return;
    queueing ??= fillQueue().finally(() => {
      queueing = undefined;
      if (forQueue().length > 0) pump();
      else publishHeld();
    });
    publishHeld();
  }

  function publishHeld(): void {
    if (closing.signal.aborted) return;
    const queued = new Set<string>();
    for (const entry of entries.values()) {
      const { stream } = entry.event;
      if (entry.at === "queueing" && entry.keepsPlace) queued.add(stream);
      const isNext = entry.at === "held" && !queued.has(stream) && queue.isIdle(stream);
      if (isNext && publisher.isReady(stream)) void publish(entry);
    }
  }

  function tellStored(): void {
    const due = performance.now() - STORED_MS;
    let events = 0;
    let bytes = 0;
    for (const entry of entries.values()) {
      const { stream, seq, sealed } = entry.event;
      if (entry.at === "received" || entry.cameAt > due) continue;
      events += 1;
      bytes += sealed.length;
      if (events > MAX_STORED || bytes > MAX_STORED_BYTES) return;
      if (!entry.isStored) stored(stream, seq);
      entry.isStored = true;
    }
  }
  const telling = setInterval(tellStored, STORED_MS / 2);

  return {
    take(event) {
      const key = keyOf(event.stream, event.seq);
      const before = entries.get(key);
      if (before && isSame(before.event, event)) {
        before.isStored = false;
        if (before.at === "received") done(event.stream, event.seq, before.receipt);
        return;
      }
      const { delivery, stream, seq, topic, sealed } = event;
      report("drained", { delivery, stream, seq, topic, bytes: sealed.length });
      entries.delete(key);
      entries.set(key, {
        event,
        at: "held",
        keepsPlace: true,
        receipt: undefined,
        cameAt: performance.now(),
        isStored: false,
      });
      pump();
    },
    pump,
    settled(stream, seq, refusal) {
      const entry = entries.get(keyOf(stream, seq));
      if (!entry) return false;
      // Whoever brought the receipt: what is over is not wanted here any more.
      if (refusal === undefined) forget(entry);
      else if (entry.at === "received") entry.at = "to queue";
      pump();
      return true;
    },
    received: (stream) =>
      [...entries.values()].flatMap(({ event, at, receipt }) =>
        at === "received" && event.stream === stream ? [{ seq: event.seq, receipt }] : [],
      ),
    async close() {
      closing.abort();
      clearInterval(telling);
      await queueing;
    },
  };
}

/** The seals tell: an edge that began anew numbers from 1 again. */
function isSame(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.delivery === b.delivery && Buffer.compare(a.sealed, b.sealed) === 0;
}

function keyOf(stream: string, seq: number): string {
  return `${stream}-${seq}`;
}
