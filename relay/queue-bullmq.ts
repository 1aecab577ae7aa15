/**
 * The delivery queue over BullMQ: one job an event, named `<stream>-<seq>`.
 *
 * BullMQ keeps the states, the locks and their recovery. Its `Worker` is not used: it puts what it gives back
 * out of order on Postgres, fetches while it is paused, and waits for wake-ups that can be lost. Jobs are
 * taken and settled by hand (https://docs.bullmq.io/patterns/manually-fetching-jobs) through its documented
 * `IQueueBackend`, in the order that `queue-dispatch.ts` decides.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Job, Queue, type IQueueBackend, type JobJson } from "bullmq";
import { describeError } from "../shared/errors.ts";
import { pauseMs } from "../shared/host/backoff.ts";
import type { Report } from "../shared/report.ts";
import type { Added, DeliveryQueue, Handler, OnReceived, Outcome, QueuedEvent } from "./queue.ts";
import { makeDispatch } from "./queue-dispatch.ts";
import { isJobGone, makeOutage } from "./queue-outage.ts";
import { CHECK_MS, QUEUE_NAME, type QueueStore } from "./queue-store.ts";

/** Milliseconds that `close` waits for what is in hand. With twice `CLOSE_STORE_MS`: at most 10 s. */
const CLOSE_GRACE_MS = 8000;
/** Milliseconds that `close` waits for the store to take back the rest, and again for it to let go. */
const CLOSE_STORE_MS = 1000;
/** Milliseconds until the store is asked again to settle an event. */
const SETTLE_RETRY_MS = 500;
/** For an event whose handler threw: a fault that passes by itself has then passed. */
const PAUSES = { firstMs: 1000, capMs: 60_000 };
/** Entries kept of BullMQ's stream of events, which nothing here reads. */
const EVENTS_KEPT = 256;

/** What a job holds: an event, its bytes in base64, since BullMQ stores JSON. */
interface JobData extends Omit<QueuedEvent, "sealed"> {
  readonly sealed: string;
}

type DeliveryJob = Job<JobData, string>;

/** A job in hand, and the token of its lock. */
interface Taken {
  readonly job: DeliveryJob;
  readonly token: string;
}

/** Starts nothing until `process` and `resume`. Owns the store from now on. */
export function makeBullmqQueue(store: QueueStore, concurrency: number, report: Report): DeliveryQueue {
  const { backend } = store;
  const outage = makeOutage(report, () => onRecovered?.());
  const queue = new Queue<JobData, string, string, JobData, string, string, IQueueBackend>(
    QUEUE_NAME,
    { connection: {}, streams: { events: { maxLen: EVENTS_KEPT } }, defaultJobOptions: store.jobOptions },
    () => backend,
  );
  queue.on("error", () => {}); // The calls that such an error fails are what `outage` reports.

  /** When an event that was put back by `requeue` may start again: job id → milliseconds since 1970. */
  const notBefore = new Map<string, number>();
  /** Aborted at the end of `close`: from then on the store is not to be called. */
  const over = new AbortController();
  let handle: Handler | undefined;
  let onReceived: OnReceived | undefined;
  let onRecovered: (() => void) | undefined;

  /** What there is of an event. An edge that began anew numbers from 1 again: that is another event. */
  const lookUp = async (id: string, event: JobData): Promise<Added | undefined> => {
    if (store.ledger?.mayHold(id) === false) return undefined;
    const job = await queue.getJob(id);
    if (job === undefined) return undefined;
    if (job.data.delivery !== event.delivery || job.data.sealed !== event.sealed) {
      await queue.remove(id);
      store.ledger?.removed(id);
      return undefined;
    }
    if (!(await job.isCompleted())) return { state: "held" };
    return { state: "received", receipt: job.returnvalue };
  };

  const take = async (): Promise<Taken | undefined> => {
    for (;;) {
      const token = randomUUID();
      const next = await backend.moveToActive(token);
      const json: JobJson | null | undefined = next[0];
      const id: string = next[1];
      if (!json) return undefined;
      const job: DeliveryJob = Job.fromJSON(queue, json, id);
      const due = notBefore.get(id) ?? 0;
      notBefore.delete(id);
      if (due <= Date.now()) return { job, token };
      await job.moveToDelayed(due, token);
    }
  };

  const attempt = async ({ data, attemptsStarted }: DeliveryJob): Promise<Outcome> => {
    const { stream, seq, topic, delivery } = data;
    const tries = Math.max(0, attemptsStarted - 1);
    try {
      if (handle === undefined) return { kind: "unavailable" };
      const sealed = Buffer.from(data.sealed, "base64");
      return await handle({ stream, seq, topic, delivery, sealed }, tries);
    } catch (error) {
      report("error", { ...describeError(error), stream, seq, delivery });
      return { kind: "later", delayMs: pauseMs(tries, PAUSES) };
    }
  };

  /** Writes the outcome down, however long the store is away. Rejects when the job is not ours any more. */
  const settle = async (work: () => Promise<unknown>): Promise<void> => {
    while (!over.signal.aborted) {
      try {
        await outage.watch(work);
        return;
      } catch (error) {
        if (isJobGone(error)) throw error;
        await sleep(SETTLE_RETRY_MS, undefined, { signal: over.signal });
      }
    }
  };

  const run = async ({ job, token }: Taken): Promise<"settled" | "parked"> => {
    const outcome = await attempt(job);
    if (outcome.kind === "unavailable") return "parked";
    const { stream, seq, delivery } = job.data;
    try {
      if (outcome.kind === "later") {
        const delayMs = Math.max(0, Math.ceil(outcome.delayMs));
        await settle(() => job.moveToDelayed(Date.now() + delayMs, token));
      } else {
        await settle(() => job.moveToCompleted(outcome.receipt, token, false));
      }
    } catch {
      // The lock was lost, and another has the job or will; or the queue is closed. A receipt is true all the same.
    }
    if (outcome.kind === "received" && !over.signal.aborted)
      onReceived?.({ stream, seq, delivery }, outcome.receipt);
    return "settled";
  };

  const dispatch = makeDispatch<Taken>(
    {
      take: () => outage.watch(take),
      run,
      async giveBack({ job, token }) {
        await outage
          .watch(() => job.moveToWait(token))
          .catch((error: unknown) => {
            if (!isJobGone(error)) throw error;
          });
      },
    },
    concurrency,
  );

  /** Keeps the locks of what is in hand, and frees the events of processes that died. */
  const check = async (): Promise<void> => {
    const taken = dispatch.inHand();
    const ids = taken.map(({ job }) => jobId(job.data.stream, job.data.seq));
    const tokens = taken.map(({ token }) => token);
    if (taken.length > 0) await backend.extendLocks(ids, tokens, store.lockMs);
    const freed = await backend.moveStalledJobsToWait();
    if (freed.length > 0) dispatch.wake();
  };
  let checking: NodeJS.Timeout | undefined;
  const checkRegularly = (): void => {
    checking = setTimeout(() => {
      void outage
        .watch(check)
        .catch(() => {})
        .then(() => over.signal.aborted || checkRegularly());
    }, CHECK_MS);
  };

  return {
    async add(event) {
      const id = jobId(event.stream, event.seq);
      const data = { ...event, sealed: Buffer.from(event.sealed).toString("base64") };
      return outage.watch(async () => {
        const found = await lookUp(id, data);
        if (found !== undefined) return found;
        store.ledger?.added(id, data.sealed.length);
        await queue.add("event", data, { jobId: id });
        dispatch.wake();
        return { state: "added" };
      });
    },
    process(handler, received, recovered) {
      handle = handler;
      onReceived = received;
      onRecovered = recovered;
      checkRegularly();
    },
    async pause() {
      dispatch.pause();
    },
    async resume() {
      dispatch.resume();
    },
    async promote() {
      notBefore.clear();
      await outage.watch(() => queue.promoteJobs());
      dispatch.wake();
    },
    async received() {
      const jobs = await outage.watch(() => queue.getCompleted());
      return jobs.map(({ data: { stream, seq }, returnvalue }) => ({ stream, seq, receipt: returnvalue }));
    },
    async remove(stream, seq) {
      const id = jobId(stream, seq);
      notBefore.delete(id);
      const removed = await outage.watch(() => queue.remove(id));
      if (removed > 0) store.ledger?.removed(id);
    },
    async requeue(stream, seq, delayMs) {
      const id = jobId(stream, seq);
      await outage.watch(async () => {
        const job = await queue.getJob(id);
        if (job === undefined || !(await job.isCompleted())) return;
        notBefore.set(id, Date.now() + delayMs);
        await job.retry("completed");
        dispatch.wake();
      });
    },
    async close() {
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

function jobId(stream: string, seq: number): string {
  return `${stream}-${seq}`;
}

/** Resolves when the work is done, has failed, or `ms` have passed. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const settled = work.catch(() => {}).finally(() => done.abort());
  await Promise.race([settled, sleep(ms, undefined, { signal: done.signal }).catch(() => {})]);
}
