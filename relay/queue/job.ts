/**
 * An event as a job of BullMQ. Its id is `<stream>-<seq>`; its data are the sealed bytes in base64, since BullMQ
 * stores JSON; its *name* is all else that is told of it, so that thousands of jobs are listed without their bytes.
 *
 * | BullMQ's state        | ours     |
 * |-----------------------|----------|
 * | wait, prioritized     | waiting  |
 * | active                | in hand  |
 * | delayed               | delayed  |
 * | completed             | received |
 * | failed                | dead     |
 *
 * `attemptsStarted` is `tries.started`; `attemptsMade` is `tries.spent`: a try that is not spent is moved with
 * `skipAttempt`, and `completed` adds one that is subtracted here.
 */
import { hash } from "node:crypto";
import type { HeldEvent, QueuedEvent, QueueState } from "./queue.ts";

/** What a job tells without its data. */
export interface StoredJob {
  readonly id: string;
  readonly name: string;
  readonly state: QueueState;
  readonly addedAt: number;
  readonly attemptsStarted: number;
  readonly attemptsMade: number;
  readonly dueAt: number | undefined;
  readonly failedReason: string | undefined;
  /** What it was completed with: JSON of a receipt, or of `null`. */
  readonly returnValue: string | undefined;
}

export function jobId(stream: string, seq: number): string {
  return `${stream}-${seq}`;
}

/** Lines, since neither a topic nor a GUID holds the end of one. The digest tells one event from another. */
export function jobName({ topic, delivery, sealed }: QueuedEvent): string {
  return [topic, delivery, sealed.length, hash("sha256", sealed, "base64url")].join("\n");
}

/** Which event a job is; `bytes` is the size of what is sealed. */
export function parseJob({
  id,
  name,
}: {
  readonly id: string;
  readonly name: string;
}): Omit<QueuedEvent, "sealed"> & { readonly bytes: number } {
  const dash = id.lastIndexOf("-");
  const [topic = "", delivery = "", bytes = "0"] = name.split("\n");
  return {
    stream: id.slice(0, dash),
    seq: Number(id.slice(dash + 1)),
    topic,
    delivery,
    bytes: Number(bytes),
  };
}

export function parseReceipt(returnValue: string | undefined): string | undefined {
  const value: unknown = JSON.parse(returnValue ?? "null");
  return typeof value === "string" ? value : undefined;
}

export function heldEvent(job: StoredJob): HeldEvent {
  const { state, addedAt, dueAt, failedReason } = job;
  const spent = state === "received" ? job.attemptsMade - 1 : job.attemptsMade;
  return {
    ...parseJob(job),
    state,
    addedAt,
    tries: { started: job.attemptsStarted, spent: Math.max(0, spent) },
    ...(state === "delayed" && dueAt !== undefined && { dueAt }),
    ...(state === "dead" && failedReason !== undefined && { reason: failedReason }),
  };
}
