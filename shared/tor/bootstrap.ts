/**
 * How far Tor has got with its start, as it tells on its control port. Tor's texts are data: what is passed on of
 * them is short and plain, and holds no address.
 * Source: Tor's control-spec, "Bootstrap phases" and STATUS_CLIENT.
 */
import { OnionhookError, describeError } from "../errors.ts";
import type { Report } from "../report.ts";
import type { Control } from "./control.ts";

export interface BootstrapState {
  /** Percent; at 100 Tor can be used. */
  readonly progress: number;
  /** Tor's name of the phase, e.g. `conn_dir`, and what it says of it, e.g. `Connecting to a relay`. */
  readonly tag: string;
  readonly summary: string;
  /** What keeps Tor from getting on, in its own words for programs, e.g. `NOROUTE`. */
  readonly problem?: string;
}

export const BOOTSTRAPPED = 100;

/**
 * Reports `tor {progress, tag, summary}` at each step until Tor is ready, and an error whenever something keeps it
 * from that, as long as the control connection lasts. Says nothing of a Tor that is ready already.
 * @returns what Tor said last
 * @throws OnionhookError those of `Control.command`
 */
export async function followBootstrap(control: Control, report: Report): Promise<() => BootstrapState> {
  let state: BootstrapState | undefined;
  const take = (text: string, isFirst: boolean): BootstrapState | undefined => {
    const next = readBootstrap(text);
    if (next === undefined) return state;
    const before = state;
    state = next;
    const isNews = isFirst ? next.progress < BOOTSTRAPPED : next.progress !== before?.progress;
    if (isNews) report("tor", { progress: next.progress, tag: next.tag, summary: next.summary });
    const isNewProblem = next.problem !== before?.problem || next.progress !== before?.progress;
    if (next.problem !== undefined && isNewProblem) report("error", describeError(stuck(next)));
    return state;
  };
  await control.subscribe("STATUS_CLIENT", (text) => void take(text, false));
  const first = take(await control.getInfo("status/bootstrap-phase"), state === undefined);
  return () => state ?? first ?? UNKNOWN;
}

/** A Tor that says nothing of a start is taken for ready: it is better to dial than to wait. */
const UNKNOWN: BootstrapState = { progress: BOOTSTRAPPED, tag: "", summary: "" };

/** @param text `NOTICE BOOTSTRAP PROGRESS=…`, as in an event or in the answer to GETINFO; undefined if it is no other's. */
export function readBootstrap(text: string): BootstrapState | undefined {
  const [, severity, rest = ""] = /^(NOTICE|WARN) BOOTSTRAP (.*)$/s.exec(text) ?? [];
  const words = new Map<string, string>();
  for (const [, name = "", value = ""] of rest.matchAll(/(?:^| )([A-Z_]+)=("(?:[^"\\]|\\.)*"|\S*)/g))
    words.set(name, value.replace(/^"(.*)"$/s, "$1"));
  const progress = Number(words.get("PROGRESS") ?? Number.NaN);
  if (!Number.isInteger(progress) || progress < 0 || progress > BOOTSTRAPPED) return undefined;
  // Tor itself tells what need not be shown: a single relay may be away.
  const isProblem = severity === "WARN" && words.get("RECOMMENDATION") === "warn";
  return {
    progress,
    tag: plain(words.get("TAG"), /^[a-z_]{1,40}$/),
    summary: plain(words.get("SUMMARY"), /^[\w ,.()-]{1,80}$/),
    ...(isProblem && { problem: plain(words.get("REASON"), /^[A-Z_]{1,40}$/) || "MISC" }),
  };
}

function plain(value: string | undefined, form: RegExp): string {
  return value !== undefined && form.test(value) ? value : "";
}

const WALL = "Does a firewall keep Tor's relays away? Bridges, in torrc, go around it.";

/** What to do about each REASON of Tor's. */
const REMEDIES: Readonly<Record<string, string>> = {
  NOROUTE: "This machine has no way to the network: is it online?",
  TIMEOUT: `Is this machine online? ${WALL}`,
  CONNECTREFUSED: WALL,
  CONNECTRESET: WALL,
  IOERROR: WALL,
  DONE: WALL,
  IDENTITY:
    "Somebody answers in a relay's place: check this machine's clock, and what stands between it and the network.",
  RESOURCELIMIT: "Tor has no sockets or no memory left: raise its limits.",
  PT_MISSING:
    "A bridge needs a pluggable transport: set ClientTransportPlugin in torrc, and install its program.",
};

/** Why Tor is not ready yet. */
export function stuck({ progress, tag, summary, problem }: BootstrapState): OnionhookError {
  const at = `${progress} % (${[tag, summary].filter(Boolean).join(": ")})`;
  if (problem === undefined) {
    return new OnionhookError("ERR_TOR_STARTING", `Tor is not ready: ${at}`, {
      hint: "Tried again by itself. If it stays, look at this machine's network and clock, and at Tor's log.",
      retryable: true,
    });
  }
  return new OnionhookError("ERR_TOR_STUCK", `Tor does not get on: ${at}, ${problem}`, {
    hint: REMEDIES[problem] ?? "Tor's log tells more.",
    retryable: true,
  });
}
