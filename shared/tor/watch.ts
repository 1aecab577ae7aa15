/**
 * What Tor's control port is used for by those who only dial: to tell how far Tor has got when they do not get
 * through, and to have Tor forget what it wrongly remembers of an onion service. Nothing else is ever asked there.
 *
 * Why Tor is told to forget: it remembers for 2 min which introduction points failed, and one that had tried in vain while a
 * service was away was seen to need 95 s, and 2.5 s with NEWNYM. docs/tor.md has cases in which it makes no difference.
 */
import { OnionhookError } from "../errors.ts";
import { keepTrying } from "../host/keep-trying.ts";
import type { Report } from "../report.ts";
import { BOOTSTRAPPED, followBootstrap, stuck, type BootstrapState } from "./bootstrap.ts";
import { isCircuitFailure } from "./circuits.ts";
import { connectControl, type Control } from "./control.ts";
import type { LocalAddress } from "./local-socket.ts";

export interface TorWatch {
  /** What the failure of a dial is to be called. Has Tor forget what it knows when that may mend it. */
  explain(error: unknown): unknown;
  /** A dial went through. */
  reached(): void;
  /** Resolves when the signal has ended it. */
  readonly ended: Promise<void>;
}

/** Of a Tor whose control port we are not given. */
export const NO_WATCH: TorWatch = {
  explain: (error) => error,
  reached: () => {},
  ended: Promise.resolve(),
};

/** Failures that come of what Tor remembers: F0, F1, F2 and F7 of its SocksPort. */
const REMEMBERED: ReadonlySet<string> = new Set([
  "ERR_TOR_ONION_NOT_FOUND",
  "ERR_TOR_ONION_DESCRIPTOR",
  "ERR_TOR_ONION_INTRO",
  "ERR_TOR_ONION_TIMEOUT",
]);

/** Milliseconds between two NEWNYM: Tor itself takes one in 10 s (control-spec, SIGNAL). */
const FIRST_PAUSE_MS = 10_000;
/** Milliseconds, reached by doubling: a service that is away for hours is not to cost others of this Tor more than this. */
const LONGEST_PAUSE_MS = 60_000;

/** @param now milliseconds that only grow */
export function watchTor(
  address: LocalAddress | undefined,
  report: Report,
  signal: AbortSignal,
  now: () => number = () => performance.now(),
): TorWatch {
  if (address === undefined) return NO_WATCH;
  let control: Control | undefined;
  let bootstrap: (() => BootstrapState) | undefined;
  /** NEWNYM since a dial went through, and when the last was. */
  let asked = 0;
  let lastAt = Number.NEGATIVE_INFINITY;

  async function follow(where: LocalAddress, reached: () => void): Promise<void> {
    const connected = await connectControl(where, { signal });
    const close = (): void => connected.close();
    signal.addEventListener("abort", close, { once: true });
    try {
      bootstrap = await followBootstrap(connected, report);
      control = connected;
      reached();
      await connected.closed;
    } finally {
      signal.removeEventListener("abort", close);
      close();
      control = bootstrap = undefined;
    }
  }

  /** @throws never: what it is for is tried again anyway. */
  async function forget(): Promise<void> {
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.max(0, asked - 1), LONGEST_PAUSE_MS);
    if (control === undefined || now() - lastAt < pauseMs) return;
    asked += 1;
    lastAt = now();
    await control.command("SIGNAL NEWNYM").then(
      () => report("tor", { signal: "NEWNYM" }),
      () => {},
    );
  }

  return {
    explain(error) {
      const state = bootstrap?.();
      if (state !== undefined && state.progress < BOOTSTRAPPED) {
        return isCircuitFailure(error) ? stuck(state) : error;
      }
      if (error instanceof OnionhookError && REMEMBERED.has(error.code)) void forget();
      return error;
    },
    reached() {
      asked = 0;
    },
    ended: keepTrying((reached) => follow(address, reached), report, signal),
  };
}
