/** How long something may take, and who may stop it earlier. */
export interface Limit {
  /** Milliseconds. */
  timeoutMs: number;
  /** Stops the work; its `reason` is what the work then rejects with. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs `work` under a limit. `work` is given one signal, `stop`, for both ends: its `reason` is
 * `onTimeout()` when the time ran out and the caller's own reason otherwise. `work` must settle soon
 * after `stop`; rejecting with {@link stopReason} is right. Leaves neither timer nor listener behind.
 */
export async function withDeadline<Result>(
  limit: Limit,
  onTimeout: () => Error,
  work: (stop: AbortSignal) => Promise<Result>,
): Promise<Result> {
  limit.signal?.throwIfAborted();
  const stopper = new AbortController();
  const timer = setTimeout(() => stopper.abort(onTimeout()), limit.timeoutMs);
  const pass = (): void => stopper.abort(limit.signal?.reason);
  limit.signal?.addEventListener("abort", pass, { once: true });
  try {
    return await work(stopper.signal);
  } finally {
    clearTimeout(timer);
    limit.signal?.removeEventListener("abort", pass);
  }
}

/** Why a signal aborted, as something that may be thrown. */
export function stopReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error("stopped", { cause: reason });
}
