import { OnionhookError, errnoCode } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";

const HINT = "Start the store, or correct queue.url; events wait at the edge until it answers.";
const NO_ROOM_HINT =
  "Make room where the store is: on its disk, or by a larger maxmemory in Redis. The rest waits at the edge until then.";

/** Watches calls to the store, so that an outage is told once, however many calls it fails. */
export interface Outage {
  /**
   * Runs `work`. Rejects with an {@link OnionhookError} when the store is away or refuses; with the store's
   * own error, unreported, when that only says that the job is not what the caller thinks ({@link isJobGone}).
   */
  watch<T>(work: () => Promise<T>): Promise<T>;
  /**
   * Runs `work` that adds to the store. `false`, told once until an addition succeeds, when the store has no room;
   * else as `watch`.
   */
  watchAdding(work: () => Promise<unknown>): Promise<boolean>;
}

/** `onOver` is called when the store answers again after an outage that was told. */
export function makeOutage(report: Report, onOver: () => void): Outage {
  let told = false;
  let toldNoRoom = false;

  const tell = (failure: OnionhookError): void => {
    const known = isNoRoom(failure.cause) ? toldNoRoom : told;
    if (isNoRoom(failure.cause)) toldNoRoom = true;
    else told = true;
    if (!known) report("error", { code: failure.code, message: failure.message, hint: failure.hint });
  };
  const watch = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      const result = await work();
      if (told) {
        told = false;
        onOver();
      }
      return result;
    } catch (error) {
      if (isJobGone(error)) throw error;
      const failure = storeError(error);
      tell(failure);
      throw failure;
    }
  };
  return {
    watch,
    async watchAdding(work) {
      try {
        await watch(work);
        toldNoRoom = false;
        return true;
      } catch (error) {
        if (error instanceof OnionhookError && isNoRoom(error.cause)) return false;
        throw error;
      }
    },
  };
}

/**
 * Whether the error says that a job is missing, not locked by us, or in another state. BullMQ's
 * `finishedErrors` carry a negative number as their code.
 */
export function isJobGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "number" && error.code < 0;
}

/**
 * Whether a store's error says that it is full: Redis at its `maxmemory`, or unable to write to its disk (it would be
 * about to end, with `appendfsync always`); Postgres's `disk_full`.
 */
export function isNoRoom(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = errnoCode(error);
  return code === "53100" || code === "ENOSPC" || /^(OOM|MISCONF) /.test(error.message);
}

/** A failed call to the store as our error: away (`ERR_QUEUE_UNREACHABLE`) or unwilling (`ERR_QUEUE_STORE`). */
export function storeError(cause: unknown): OnionhookError {
  if (cause instanceof OnionhookError) return cause;
  const code = errnoCode(cause);
  const said = code === undefined ? "" : ` (${code})`;
  const details = { hint: HINT, retryable: true, cause };
  if (isNoRoom(cause)) {
    const message = `the queue's store has no room${said}`;
    return new OnionhookError("ERR_QUEUE_STORE", message, { ...details, hint: NO_ROOM_HINT });
  }
  return isRefusal(cause, code)
    ? new OnionhookError("ERR_QUEUE_STORE", `the queue's store refused${said}`, details)
    : new OnionhookError("ERR_QUEUE_UNREACHABLE", `the queue's store does not answer${said}`, details);
}

/** A reply of Redis, or an SQLSTATE other than the classes 08 (connection) and 57 (shutdown). */
function isRefusal(error: unknown, code: string | undefined): boolean {
  if (error instanceof Error && error.name === "ReplyError") return !error.message.startsWith("LOADING");
  return code !== undefined && /^(?!08|57)[0-9A-Z]{5}$/.test(code) && /\d/.test(code);
}
