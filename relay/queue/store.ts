import type { IQueueBackend } from "bullmq";
import type { QueueState } from "./queue.ts";
import type { StoredJob } from "./job.ts";

/** The name of the queue, in every store. */
export const QUEUE_NAME = "deliveries";

/** The schema of BullMQ's tables in Postgres: the one that its migrations are written for. */
export const SCHEMA = "bullmq";

/**
 * Milliseconds between renewals of locks, which are also the looks for events whose process died. Such an
 * event is free after `lockMs` plus two looks: one marks it, the next takes it back.
 */
export const CHECK_MS = 2000;

/** Milliseconds that a lock lasts in a store that several processes share: 5 s + 2 × 2 s < 10 s. */
export const SHARED_LOCK_MS = 5000;

/** A store that BullMQ can keep the queue in, open and migrated. */
export interface QueueStore {
  readonly backend: IQueueBackend;
  readonly jobs: JobTable;
  /** Milliseconds for which an event in hand is ours without renewal. */
  readonly lockMs: number;
  /** What every job is added with, so that one given back becomes the head of the queue. */
  readonly jobOptions: { readonly priority?: number };
  /** Of a store that nobody else writes to. */
  readonly ledger?: Ledger;
  /** Of a store that, once it is full, cannot hand out what it holds. */
  readonly reserve?: Reserve;
  close(): Promise<void>;
}

/** A job that was taken, locked with its token. */
export interface TakenJob {
  readonly id: string;
  readonly name: string;
  readonly token: string;
  readonly attemptsStarted: number;
  readonly attemptsMade: number;
  readonly sealed: Uint8Array;
}

/**
 * The queue's jobs, where BullMQ's own interface has them one at a time, or only with their data. Whatever changes a
 * job is BullMQ's own script. All reject with the store's own error.
 */
export interface JobTable {
  /** Makes the first `count` waiting jobs active and returns them in order, or as many as there are. */
  take(count: number): Promise<TakenJob[]>;
  /** In the order of `ids`. */
  find(ids: readonly string[]): Promise<(StoredJob | undefined)[]>;
  /** The first to be started, to become due, or to have ended, comes first. */
  list(state: QueueState, limit: number): Promise<StoredJob[]>;
  anyWaiting(): Promise<boolean>;
  /** Removes those that are not locked; returns what it removed. */
  remove(ids: readonly string[]): Promise<{ readonly id: string; readonly name: string }[]>;
  /** Sets `attemptsMade` of a delayed job to 0. */
  forgetSpent(id: string): Promise<void>;
  /** The size of what is sealed, of all jobs together. */
  bytesHeld(): Promise<number>;
}

/** Room that is kept back in the store. Both reject with the store's own error. */
export interface Reserve {
  /** Gives it up. Whether it was there. */
  release(): Promise<boolean>;
  /** Takes it back, before anything is added; rejects for want of room while there is none. */
  restore(): Promise<void>;
}

/** What a store that nobody else writes to knows of itself without being asked. */
export interface Ledger {
  /** `false` only when there is certainly no such job. */
  mayHold(id: string): boolean;
  /** Called before a job is added, with the length of its data. */
  added(id: string, bytes: number): void;
  /** Called after a job was removed. */
  removed(id: string): void;
}

/** How each backend is made. `maxStalledCount`: a dying relay is never the event's fault. */
export function backendOptions(lockMs: number): {
  lockDuration: number;
  stalledInterval: number;
  maxStalledCount: number;
} {
  return { lockDuration: lockMs, stalledInterval: CHECK_MS, maxStalledCount: 1_000_000 };
}

/**
 * BullMQ's Postgres puts a job that is given back at the *tail* of the queue, unless it has a priority, and
 * then at the head of those with the same one: `move_active_to_wait` in its 0002_functions.sql. (Redis puts
 * it at the head without, and sorts by name with.)
 */
export const POSTGRES_JOB_OPTIONS = { priority: 1 } as const;
