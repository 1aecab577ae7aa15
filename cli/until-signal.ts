/** A part that hangs while it ends is ended anyway: twice what its own bounds allow. */
const FORCED_EXIT_MS = 20_000;

/**
 * Runs a part until SIGTERM or SIGINT, then waits for it to end by itself. A second signal, or a part
 * that does not end, exits at once with 1.
 */
export async function untilSignal(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(1);
    controller.abort();
    setTimeout(() => process.exit(1), FORCED_EXIT_MS).unref();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  try {
    await run(controller.signal);
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
  }
}
