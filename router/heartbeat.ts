import type { Clock } from "./clock.ts";

/** Milliseconds. How long a ping may wait behind what a slow peer has yet to take: 35 MB at 128 KiB/s, and some more. */
const FLUSH_DEADLINE = 300_000;

export interface HeartbeatParts {
  readonly clock: Clock;
  /** Milliseconds between pings; 0 for none. */
  readonly intervalMs: number;
  /** Milliseconds from a ping's leaving to the first byte from the peer; 0 for ever. */
  readonly timeoutMs: number;
  /** Sends a ping; calls back when it has left for the network. */
  readonly ping: (left: () => void) => void;
  /** How many bytes the peer has sent so far: every one of them shows that it lives. */
  readonly bytesRead: () => number;
  /** The peer is gone. */
  readonly dead: () => void;
}

/** Pings a peer until the returned function is called, or the peer is dead. Holds one timer at a time. */
export function startHeartbeat(parts: HeartbeatParts): () => void {
  const { clock, intervalMs, timeoutMs, ping, bytesRead, dead } = parts;
  if (intervalMs === 0) return () => {};
  let stopped = false;
  let cancel = clock.after(intervalMs, beat);

  function beat(): void {
    const before = bytesRead();
    cancel = clock.after(FLUSH_DEADLINE, dead);
    ping(() => {
      cancel();
      if (stopped) return;
      if (timeoutMs === 0) cancel = clock.after(intervalMs, beat);
      else cancel = clock.after(timeoutMs, () => judge(before));
    });
  }

  function judge(before: number): void {
    if (bytesRead() === before) dead();
    else cancel = clock.after(Math.max(0, intervalMs - timeoutMs), beat);
  }

  return () => {
    stopped = true;
    cancel();
  };
}
