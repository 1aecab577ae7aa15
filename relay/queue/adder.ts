import type { IQueueBackend, Queue } from "bullmq";
import { OnionhookError } from "../../shared/errors.ts";
import type { Added, QueuedEvent } from "./queue.ts";
import { jobId, jobName, parseReceipt, type StoredJob } from "./job.ts";
import type { Outage } from "./outage.ts";
import type { Room } from "./room.ts";
import type { QueueStore } from "./store.ts";

/** Events written in one go, at most. */
const EVENTS_AT_ONCE = 256;
/** Sealed bytes written in one go, about: a store has these in memory several times over. */
const BYTES_AT_ONCE = 4_194_304;

/** A queue of BullMQ whose data are text, whatever keeps it. */
export type TextQueue = Queue<string, string | null, string, string, string | null, string, IQueueBackend>;

/** Milliseconds to wait for room: meanwhile a builder may have come, and the events can be delivered without. */
const ROOM_MS = 5000;

interface Draft {
  readonly id: string;
  readonly name: string;
  readonly sealed: Uint8Array;
}

/** What adding needs of the queue. */
export interface AdderParts {
  readonly store: QueueStore;
  readonly queue: TextQueue;
  readonly room: Room;
  readonly outage: Outage;
  /** Removes jobs that are not in hand, and counts their bytes out. Resolves with how many these were. */
  readonly remove: (ids: readonly string[]) => Promise<number>;
}

/** Adds events in order: one look for what is there already, and one call for every {@link BYTES_AT_ONCE}. */
export function makeAdder({
  store,
  queue,
  room,
  outage,
  remove,
}: AdderParts): (events: readonly QueuedEvent[]) => Promise<Added[]> {
  const find = async (drafts: readonly Draft[]): Promise<Map<string, StoredJob>> => {
    const ids = drafts.map(({ id }) => id).filter((id) => store.ledger?.mayHold(id) !== false);
    const found = ids.length === 0 ? [] : await store.jobs.find(ids);
    return new Map(found.filter((job) => job !== undefined).map((job) => [job.id, job]));
  };

  const write = async (drafts: readonly Draft[]): Promise<void> => {
    await store.reserve?.restore();
    const jobs = drafts.map(({ id, name, sealed }) => {
      const data = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length).toString("base64");
      store.ledger?.added(id, data.length);
      return { name, data, opts: { jobId: id } };
    });
    const [only] = jobs;
    // BullMQ's Postgres makes two tables for several at once.
    if (jobs.length === 1 && only !== undefined) await queue.add(only.name, only.data, only.opts);
    else await queue.addBulk(jobs);
  };

  const writeInRoom = async (drafts: readonly Draft[]): Promise<void> => {
    const bytes = drafts.reduce((sum, { sealed }) => sum + sealed.length, 0);
    const deadline = performance.now() + ROOM_MS;
    await room.enter(bytes, deadline);
    try {
      while (!(await outage.watchAdding(() => write(drafts)))) await room.change(deadline);
    } catch (error) {
      room.leave(bytes);
      throw error;
    }
  };

  const replace = async (ids: readonly string[]): Promise<void> => {
    const removed = await outage.watch(() => remove(ids));
    if (removed === ids.length) return;
    const message =
      "an event of an edge that was there before has the same number and is just being published";
    throw new OnionhookError("ERR_QUEUE_STORE", message, { retryable: true });
  };

  return async (events) => {
    const drafts = events.map((event) => {
      return { id: jobId(event.stream, event.seq), name: jobName(event), sealed: event.sealed };
    });
    const found = await outage.watch(() => find(drafts));
    // An edge that began anew numbers from 1 again: that is another event.
    const others = drafts.filter(({ id, name }) => found.has(id) && found.get(id)?.name !== name);
    if (others.length > 0) await replace(others.map(({ id }) => id));
    const fresh = new Map(
      drafts.filter(({ id, name }) => found.get(id)?.name !== name).map((draft) => [draft.id, draft]),
    );
    for (const chunk of chunksOf([...fresh.values()])) await writeInRoom(chunk);
    return drafts.map(({ id, name }) => {
      const job = found.get(id);
      if (job?.name !== name) return fresh.delete(id) ? { state: "added" } : { state: "held" };
      if (job.state !== "received") return { state: "held" };
      return { state: "received", receipt: parseReceipt(job.returnValue) };
    });
  };
}

function* chunksOf(drafts: readonly Draft[]): Generator<Draft[]> {
  let chunk: Draft[] = [];
  let bytes = 0;
  for (const draft of drafts) {
    if (chunk.length > 0 && (chunk.length >= EVENTS_AT_ONCE || bytes + draft.sealed.length > BYTES_AT_ONCE)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(draft);
    bytes += draft.sealed.length;
  }
  if (chunk.length > 0) yield chunk;
}
