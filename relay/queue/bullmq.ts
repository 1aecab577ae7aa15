/**
 * The delivery queue over BullMQ: one job an event (`job.ts`).
 *
 * BullMQ keeps the states, the locks and their recovery. Its `Worker` is not used: it puts what it gives back
 * out of order on Postgres, fetches while it is paused, and waits for wake-ups that can be lost. Jobs are
 * taken and settled by hand (https://docs.bullmq.io/patterns/manually-fetching-jobs) through its documented
 * `IQueueBackend`, in the order that `dispatch.ts` decides.
 *
 * Of BullMQ's stream of events some hundred entries are kept, and received events until `remove`. Dead ones are
 * never dropped by themselves; they count towards `maxBytes`, so that they are noticed before they fill a disk.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Job, Queue } from "bullmq";
import { OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import {
  type Added,
  type DeliveryQueue,
  QUEUE_STATES,
  type QueuedEvent,
  type QueueListeners,
} from "./queue.ts";
import { makeAhead } from "./ahead.ts";
import { makeAdder, type TextQueue } from "./adder.ts";
import { makeBatch } from "./batch.ts";
import { makeDispatch } from "./dispatch.ts";
import { heldEvent, jobId, parseJob, parseReceipt, type StoredJob } from "./job.ts";
import { isJobGone, isNoRoom, makeOutage, storeError } from "./outage.ts";
import { makeRoom } from "./room.ts";
import { makeSettler } from "./settler.ts";
import { CHECK_MS, type JobTable, QUEUE_NAME, type QueueStore, type TakenJob } from "./store.ts";
import { makeTurns } from "./turn.ts";

/** Milliseconds that `close` waits for what is in hand. With twice `CLOSE_STORE_MS`: at most 10 s. */
const CLOSE_GRACE_MS = 8000;
/** Milliseconds that `close` waits for the store to take back the rest, and again for it to let go. */
const CLOSE_STORE_MS = 1000;
/** Entries kept of BullMQ's stream of events, which nothing here reads. */
const EVENTS_KEPT = 256;
/** Calls of `add` or of `remove` that are answered together, at most. */
const CALLS_AT_ONCE = 200;

/** What a queue needs besides its store. */
export interface BullmqQueueOptions {
  readonly concurrency: number;
  readonly maxBytes: number;
  readonly report: Report;
}

/** Starts nothing until `process` and `resume`. Owns the store from now on; where it rejects, the store is closed. */
export async function makeBullmqQueue(
  store: QueueStore,
  { concurrency, maxBytes, report }: BullmqQueueOptions,
): Promise<DeliveryQueue> {
  const { backend, jobs } = store;
  const outage = makeOutage(report, () => listeners.onRecovered?.());
  const queue: TextQueue = new Queue(
    QUEUE_NAME,
    { connection: {}, streams: { events: { maxLen: EVENTS_KEPT } }, defaultJobOptions: store.jobOptions },
    () => backend,
  );
  queue.on("error", () => {}); // The calls that such an error fails are what `outage` reports.

  /** Aborted when `close` begins: nothing more is added. */
  const closing = new AbortController();
  /** Aborted when it ends: from then on the store is not to be called. */
  const over = new AbortController();
  let listeners: QueueListeners = {};

  const heldAtStart = await listAll(jobs).catch(async (error: unknown) => {
    await store.close();
    throw storeError(error);
  });
  /** Events that were here at the start, or came through this process: most others never touch the store. */
  const known = new Set(heldAtStart.map(({ id }) => id));
  const ahead = makeAhead(() => listeners.onIdle?.());
  for (const { id, state } of heldAtStart)
    if (state === "waiting" || state === "in hand") ahead.add(parseJob({ id, name: "" }).stream, id);
  const turns = makeTurns(makeSettler(queue, outage, over.signal), ahead, report, over.signal);
  const bytesAtStart = heldAtStart.reduce((sum, job) => sum + parseJob(job).bytes, 0);
  const count = store.ledger === undefined ? () => outage.watch(jobs.bytesHeld) : undefined;
  const room = makeRoom(bytesAtStart, maxBytes, count, report, closing.signal);

  const removeJobs = async (ids: readonly string[]): Promise<number> => {
    const removed = await jobs.remove(ids);
    for (const job of removed) {
      known.delete(job.id);
      ahead.end(parseJob(job).stream, job.id);
      turns.release(job.id);
      store.ledger?.removed(job.id);
      room.leave(parseJob(job).bytes);
    }
    return removed.length;
  };
  const remove = makeBatch<string, void>(async (ids) => {
    await outage.watch(() => removeJobs(ids));
    return ids.map(() => undefined);
  }, CALLS_AT_ONCE);

  const addAll = makeAdder({ store, queue, room, outage, remove: removeJobs });
  const add = makeBatch<readonly QueuedEvent[], Added[]>(async (lists) => {
    const added = await addAll(lists.flat());
    return lists.map((list) => added.splice(0, list.length));
  }, CALLS_AT_ONCE);

  const dispatch = makeDispatch<TakenJob>(
    {
      take: (most) => outage.watch(() => despiteFull(store, () => jobs.take(most))),
      anyWaiting: () => outage.watch(jobs.anyWaiting),
      run: turns.take,
      async giveBack({ id, token }) {
        await outage
          .watch(() => backend.moveJobFromActiveToWait(id, token))
          .catch((error: unknown) => {
            if (!isJobGone(error)) throw error;
          });
      },
      onNoneWaiting: () => ahead.keepOnly(new Set(dispatch.inHand().map(({ id }) => id))),
    },
    concurrency,
  );

  /** Keeps the locks of what is in hand, and frees the events of processes that died. */
  const check = async (): Promise<void> => {
    const taken = dispatch.inHand();
    const ids = taken.map(({ id }) => id);
    const tokens = taken.map(({ token }) => token);
    if (taken.length > 0) await backend.extendLocks(ids, tokens, store.lockMs);
    const freed = await backend.moveStalledJobsToWait();
    if (freed.length > 0) dispatch.wake();
  };
  let checking: NodeJS.Timeout | undefined;
  const checkRegularly = (): void => {
    checking = setTimeout(() => {
      void outage
        .watch(() => despiteFull(store, check))
        .catch(() => {})
        .then(() => over.signal.aborted || checkRegularly());
    }, CHECK_MS);
  };

  /** Makes a job that has ended wait again. Whether there was one. */
  const restart = async (id: string, name: string, state: "completed" | "failed"): Promise<boolean> => {
    const job = new Job<string, string | null>(queue, name, "", {}, id);
    const work = () => backend.retryFinishedJob(job, state, { resetAttemptsMade: true });
    return ifThere(() => dispatch.admit(() => outage.watch(work)));
  };

  return {
    add(events) {
      for (const { stream, seq } of events) known.add(jobId(stream, seq));
      return dispatch.admit(async () => {
        const added = await add(events);
        for (const [index, { stream, seq }] of events.entries())
          if (added[index]?.state === "added") ahead.add(stream, jobId(stream, seq));
        return added;
      });
    },
    process(handler, received, others = {}) {
      turns.begin(handler, received);
      listeners = others;
      dispatch.wake();
      checkRegularly();
    },
    isIdle: (stream) => !ahead.isAny(stream),
    async pause() {
      dispatch.pause();
    },
    async resume() {
      dispatch.resume();
    },
    async promote() {
      turns.releaseAll();
      const delayed = (await outage.watch(() => jobs.list("delayed", Infinity))).map(parseJob);
      await dispatch.admit(async () => {
        // One by one: BullMQ promotes all together in the order of their times, which each try has changed.
        for (const { stream, seq } of delayed.toSorted((a, b) => a.seq - b.seq)) {
          const id = jobId(stream, seq);
          ahead.add(stream, id);
          const isThere = await ifThere(() => outage.watch(() => backend.promote(id)));
          if (!isThere) ahead.end(stream, id);
        }
      });
    },
    async received() {
      const held = await outage.watch(() => jobs.list("received", Infinity));
      return held.map((job) => {
        const { stream, seq } = parseJob(job);
        return { stream, seq, receipt: parseReceipt(job.returnValue) };
      });
    },
    async remove(stream, seq) {
      const id = jobId(stream, seq);
      if (known.has(id)) await remove(id);
    },
    async requeue(stream, seq, delayMs) {
      const id = jobId(stream, seq);
      const [job] = await outage.watch(() => jobs.find([id]));
      if (job?.state !== "received") return;
      turns.postpone(id, delayMs);
      await restart(id, job.name, "completed");
    },
    async retry(stream, seq) {
      const id = jobId(stream, seq);
      const [job] = await outage.watch(() => jobs.find([id]));
      if (job === undefined) return false;
      turns.release(id);
      if (job.state === "received") await restart(id, job.name, "completed");
      if (job.state === "dead") await restart(id, job.name, "failed");
      if (job.state === "delayed") {
        await outage.watch(() => jobs.forgetSpent(id));
        await ifThere(() => dispatch.admit(() => outage.watch(() => backend.promote(id))));
      }
      return true;
    },
    async counts() {
      const types = ["wait", "prioritized", "active", "delayed", "completed", "failed"] as const;
      const counts = await outage.watch(() => backend.getCounts([...types]));
      const [wait = 0, prioritized = 0, active = 0, delayed = 0, completed = 0, failed = 0] = counts;
      const waiting = wait + prioritized;
      return { waiting, "in hand": active, delayed, received: completed, dead: failed };
    },
    async list(state, limit) {
      return (await outage.watch(() => jobs.list(state, limit))).map(heldEvent);
    },
    async find(stream, seq) {
      const [job] = await outage.watch(() => jobs.find([jobId(stream, seq)]));
      return job === undefined ? undefined : heldEvent(job);
    },
    async close() {
      const closed = new OnionhookError("ERR_QUEUE_UNREACHABLE", "the queue is closed", { retryable: true });
      closing.abort(closed);
      await within(CLOSE_GRACE_MS + CLOSE_STORE_MS, dispatch.close(CLOSE_GRACE_MS));
      over.abort();
      clearTimeout(checking);
      await within(
        CLOSE_STORE_MS,
        queue.close().then(() => store.close()),
      );
    },
  };
}

/** Work that hands out or keeps what is held: in a store that has no room, once more without its reserve. */
async function despiteFull<T>({ reserve }: QueueStore, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isNoRoom(error) || !(await reserve?.release())) throw error;
    return work();
  }
}

async function listAll(jobs: JobTable): Promise<StoredJob[]> {
  const lists = await Promise.all(QUEUE_STATES.map((state) => jobs.list(state, Infinity)));
  return lists.flat();
}

/** Whether the job was what `work` takes it for. */
async function ifThere(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (isJobGone(error)) return false;
    throw error;
  }
}

/** Resolves when the work is done, has failed, or `ms` have passed. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const settled = work.catch(() => {}).finally(() => done.abort());
  await Promise.race([settled, sleep(ms, undefined, { signal: done.signal }).catch(() => {})]);
}
