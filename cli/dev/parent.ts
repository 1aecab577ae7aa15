/** npm cannot tell us that it was killed; looking costs a few microseconds. */
const LOOK_MS = 500;

/**
 * Calls `onOrphaned` when npm, which started us, is gone: its script replaces itself by us, so npm is our
 * parent. Started without npm, only a signal or a closed terminal ends us, and nothing is watched.
 * Returns how to stop watching.
 */
export function watchParent(onOrphaned: () => void): () => void {
  if (process.env["npm_lifecycle_event"] === undefined) return () => {};
  const npm = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== npm) onOrphaned();
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
