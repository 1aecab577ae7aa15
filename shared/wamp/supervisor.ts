import { keepTrying } from "../host/keep-trying.ts";
import type { Report } from "../report.ts";
import { isCircuitFailure, makeCircuits } from "../tor/circuits.ts";
import { NO_WATCH, type TorWatch } from "../tor/watch.ts";
import type { WampSession } from "./session.ts";

export interface Supervision {
  /** @param isolation names the circuit to dial on. */
  join: (isolation: string) => Promise<WampSession>;
  /** What the session is for: those of other purposes are dialled on other circuits. */
  purpose: string;
  /** Subscribes and registers on a fresh session; when it throws, the session ends and another is tried. */
  onSession: (session: WampSession) => Promise<void>;
  /** The session that `onSession` was given is over. */
  onLost: () => void;
  /** Of the Tor that `join` dials through. */
  watch?: TorWatch;
  report: Report;
  signal: AbortSignal;
}

/** Keeps a WAMP session until the signal: after every end it joins again. Resolves when the last is closed. */
export async function superviseWamp({
  join,
  purpose,
  onSession,
  onLost,
  watch = NO_WATCH,
  report,
  signal,
}: Supervision): Promise<void> {
  const circuits = makeCircuits(purpose);
  const attempt = async () => {
    const isolation = circuits.current();
    const session = await join(isolation).catch((error: unknown) => {
      if (isCircuitFailure(error)) circuits.leave(isolation);
      throw watch.explain(error);
    });
    watch.reached();
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
