import { OnionhookError, errnoCode } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";

const HINT = "Start the store, or correct queue.url; events wait at the edge until it answers.";

/** Watches calls to the store, so that an outage is told once, however many calls it fails. */
export interface Outage {
  /**
   * Runs `work`. Rejects with an {@link OnionhookError} when the store is away or refuses; with the store's
   * own error, unreported, when that only says that the job is not what the caller thinks ({@link isJobGone}).
   */
  watch<T>(work: () => Promise<T>): Promise<T>;
}

/** `onOver` is called when the store answers again after an outage that was told. */
export function makeOutage(report: Report, onOver: () => void): Outage {
  let told = false;
  return {
    async watch(work) {
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
        if (!told) report("error", { code: failure.code, message: failure.message, hint: failure.hint });
        told = true;
        throw failure;
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

/** A failed call to the store as our error: away (`ERR_QUEUE_UNREACHABLE`) or unwilling (`ERR_QUEUE_STORE`). */
export function storeError(cause: unknown): OnionhookError {
  if (cause instanceof OnionhookError) return cause;
  const code = errnoCode(cause);
  const said = code === undefined ? "" : ` (${code})`;
  const details = { hint: HINT, retryable: true, cause };
  return isRefusal(cause, code)
    ? new OnionhookError("ERR_QUEUE_STORE", `the queue's store refused${said}`, details)
    : new OnionhookError("ERR_QUEUE_UNREACHABLE", `the queue's store does not answer${said}`, details);
}

/** A reply of Redis, or an SQLSTATE other than the classes 08 (connection) and 57 (shutdown). */
function isRefusal(error: unknown, code: string | undefined): boolean {
  if (error instanceof Error && error.name === "ReplyError") return !error.message.startsWith("LOADING");
  return code !== undefined && /^(?!08|57)[0-9A-Z]{5}$/.test(code) && /\d/.test(code);
}
