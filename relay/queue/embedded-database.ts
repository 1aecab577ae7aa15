/**
 * The embedded database, opened anew when it fails. On a full disk PGlite answers a call with an error and the next one
 * that succeeds not at all, for ever, and may take the whole thread with it; so calls go one after the other, and none
 * goes to an instance that failed, or to a disk without room. What was acknowledged is in the files all the same. A failed
 * instance is left to the garbage collector: to close it could hang, too, or write where its successor does.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { PGlite } from "@electric-sql/pglite";
import { errnoCode, OnionhookError } from "../../shared/errors.ts";

export interface Database {
  /**
   * Runs `work`. Rejects with its error; with `ERR_QUEUE_UNREACHABLE` while the database is being opened anew, or when it
   * did not answer.
   */
  run<T>(work: (db: PGlite) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Milliseconds for a call: the largest, a job of 35 MB, takes a second, and so does a tidying. */
const ANSWER_MS = 30_000;
/** Milliseconds between tries to open it anew. */
const RETRY_MS = 1000;
/** SQLSTATE classes after which an instance is not to be trusted: no resources, system error, internal error. */
const FATAL = /^(?:53|58|XX)/;

/**
 * @param reopen opens the same directory, however it was left.
 * @param hasRoom whether its disk has room to do so.
 */
export function keepOpen(
  first: PGlite,
  reopen: () => Promise<PGlite>,
  hasRoom: () => Promise<boolean>,
  answerMs = ANSWER_MS,
): Database {
  let current: PGlite | undefined = first;
  let last: Promise<unknown> = Promise.resolve();
  const closing = new AbortController();

  async function renew(failed: PGlite): Promise<void> {
    if (current !== failed) return;
    current = undefined;
    while (!closing.signal.aborted) {
      const mayOpen = await hasRoom().catch(() => false);
      const opened = mayOpen ? await inTime(reopen(), answerMs).catch(() => undefined) : undefined;
      if (opened) {
        current = opened;
        return;
      }
      await sleep(RETRY_MS, undefined, { signal: closing.signal }).catch(() => {});
    }
  }

  async function runNow<T>(work: (db: PGlite) => Promise<T>): Promise<T> {
    const db = current;
    if (!db) throw unreachable("is being opened anew");
    try {
      return await inTime(work(db), answerMs);
    } catch (error) {
      const isFatal = error instanceof OnionhookError || FATAL.test(errnoCode(error) ?? "");
      if (isFatal) void renew(db);
      throw error;
    }
  }

  return {
    run(work) {
      const turn = last.then(() => runNow(work));
      last = turn.catch(() => {});
      return turn;
    },
    async close() {
      closing.abort();
      await current?.close();
    },
  };
}

/** Rejects with `ERR_QUEUE_UNREACHABLE` when there is no answer in time. */
async function inTime<T>(work: Promise<T>, answerMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(unreachable("gives no answer")), answerMs);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function unreachable(what: string): OnionhookError {
  return new OnionhookError("ERR_QUEUE_UNREACHABLE", `the embedded queue ${what}`, {
    hint: "it goes on by itself; if it stays, look at the disk of the data directory",
    retryable: true,
  });
}
