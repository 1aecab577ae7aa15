import { keepTrying } from "../host/keep-trying.ts";
import type { Report } from "../report.ts";
import type { WampSession } from "./session.ts";

export interface Supervision {
  join: () => Promise<WampSession>;
  /** Subscribes and registers on a fresh session; when it throws, the session ends and another is tried. */
  onSession: (session: WampSession) => Promise<void>;
  /** The session that `onSession` was given is over. */
  onLost: () => void;
  report: Report;
  signal: AbortSignal;
}

/** Keeps a WAMP session until the signal: after every end it joins again. Resolves when the last is closed. */
export async function superviseWamp({ join, onSession, onLost, report, signal }: Supervision): Promise<void> {
  const attempt = async () => {
    const session = await join();
    const stop = () => void session.close();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    try {
      await onSession(session);
      report("connected", { to: "router" });
      await session.closed;
      report("disconnected", { from: "router" });
    } finally {
      signal.removeEventListener("abort", stop);
      onLost();
      await session.close();
    }
  };
  await keepTrying(attempt, report, signal);
}
