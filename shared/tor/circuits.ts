/**
 * On which circuits of Tor a purpose is dialled. Connections with the same isolation credential share a circuit,
 * another credential has its own. Nobody leaves a circuit that works; one that does not is never tried again, since Tor
 * may go on to use it.
 */
import { OnionhookError } from "../errors.ts";

export interface Circuits {
  /** The isolation credential to dial with: `PURPOSE-1`, `PURPOSE-2`, … */
  current(): string;
  /** Others are to be dialled on another circuit, unless that was said of this one already. */
  leave(credential: string): void;
}

export function makeCircuits(purpose: string): Circuits {
  let number = 1;
  const current = () => `${purpose}-${number}`;
  return {
    current,
    leave(credential) {
      if (credential === current()) number += 1;
    },
  };
}

/** Where Tor itself is away, or hangs, there is no circuit. */
const TOR_AWAY: ReadonlySet<string> = new Set(["ERR_TOR_UNREACHABLE", "ERR_TOR_SILENT"]);

/** Whether another circuit may do what this one did not. */
export function isCircuitFailure(error: unknown): boolean {
  if (!(error instanceof OnionhookError) || TOR_AWAY.has(error.code)) return false;
  return error.retryable && error.code.startsWith("ERR_TOR_");
}
