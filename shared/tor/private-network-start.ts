/**
 * One attempt at starting the private network, from its torrc files to clients and a service that are
 * bootstrapped.
 *
 * What takes time is waiting for Tor's schedules, so the schedules are moved: the authority votes as
 * soon as it has every relay's descriptor, the relays are told to look again once there is a
 * consensus, and clients and service begin only then.
 */
import { execFile } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { OnionhookError } from "../errors.ts";
import { connectControl, type Control } from "./control.ts";
import { RELAYS, savePlan, torPaths } from "./private-network-plan.ts";
import type { Plan, PlannedTor } from "./private-network-plan.ts";
import { RESOLV_CONF, VOTE_DELAY_S, VOTING_INTERVAL_S, torrc } from "./private-network-torrc.ts";
import type { HiddenService } from "./private-network-torrc.ts";

/** A process that the caller owns. */
export interface PartHandle {
  readonly pid: number | undefined;
  /** Resolves when the process has ended. */
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

/** Starts a process. `name` is e.g. `relay1`; `argv[0]` is the program. */
export type Spawn = (name: string, argv: string[]) => PartHandle;

export interface Attempt {
  readonly dir: string;
  readonly tor: string;
  readonly spawn: Spawn;
  readonly plan: Plan;
  readonly tors: readonly PlannedTor[];
  readonly onions: readonly HiddenService[];
  /** Filled with what was started, by name. */
  readonly parts: Map<string, PartHandle>;
  readonly warm: boolean;
  progress(percent: number): void;
  now(): number;
}

/** Milliseconds between looks at a tor's state: short beside the seconds that the states last. */
const POLL_MS = 50;
/** Milliseconds without any progress after which an attempt is given up. */
const STALL_MS = 20_000;
/**
 * Milliseconds from moving the vote to its consensus. Tor needs twice VOTE_DELAY_S; the rest is for
 * a busy machine to take up the new schedule in time, and a missed vote would be the next one 300 s away.
 */
const VOTE_LEAD_MS = 2 * VOTE_DELAY_S * 1000 + 250;
/** Milliseconds after its time at which a consensus that is not there counts as missed. */
const VOTE_GRACE_MS = 2500;

/**
 * Starts every tor and waits until the network is usable.
 * @returns the plan as it is now on disk
 * @throws OnionhookError `ERR_TOR_NETWORK`, retryable, when a tor exits or nothing moves any more;
 *   `signal`'s reason when it aborts
 */
export async function bringUp(attempt: Attempt, signal: AbortSignal): Promise<Plan> {
  const controls: Control[] = [];
  const watch = makeWatch(attempt, signal);
  const torsOf = (wanted: PlannedTor["role"]): PlannedTor[] =>
    attempt.tors.filter(({ role }) => role === wanted);
  try {
    await startTors(attempt);
    watch.progress(5);
    const connect = async (tor: PlannedTor): Promise<Control> => {
      const control = await watch.until(`${tor.name}'s control port`, () =>
        tryControl(attempt.dir, tor.name),
      );
      controls.push(control);
      return control;
    };
    const [authority, relays, ends] = await Promise.all([
      Promise.all(torsOf("authority").map(connect)),
      Promise.all(torsOf("relay").map(connect)),
      Promise.all([...torsOf("client"), ...torsOf("service")].map(connect)),
    ]);
    watch.progress(10);
    const voted = await agree(attempt, authority, watch);
    watch.progress(55);
    await Promise.all(relays.map((relay) => relay.command("SIGNAL RELOAD")));
    await bootstrapped(relays, 90, watch, 55, 70);
    // First the file, then the running tor: one that dies in between comes back as it should be.
    await writeTorrcs(attempt, voted, true);
    await Promise.all(ends.map((end) => end.command("SETCONF DisableNetwork=0")));
    await bootstrapped(ends, 100, watch, 70, 100);
    return voted;
  } finally {
    for (const control of controls) control.close();
  }
}

/** The authority's consensus: the stored one on a warm start, else a vote as soon as all are known. */
async function agree(attempt: Attempt, authorities: Control[], watch: Watch): Promise<Plan> {
  const [authority] = authorities;
  if (authority === undefined) throw new Error("a network has an authority");
  const listsAll = async (): Promise<boolean> => (await countRunning(authority)) >= RELAYS;
  if (attempt.warm) {
    await watch.until("the stored consensus", async () => (await listsAll()) || undefined);
    return attempt.plan;
  }
  await watch.until("every relay's descriptor", async () => {
    const known = await countDescriptors(authority);
    watch.progress(10 + 5 * known);
    return known >= RELAYS || undefined;
  });
  for (;;) {
    const votesAt = Math.ceil((attempt.now() + VOTE_LEAD_MS) / 1000);
    const plan = { ...attempt.plan, votingOffset: votesAt % VOTING_INTERVAL_S };
    await writeTorrcs(attempt, plan, false);
    await authority.command(`SETCONF TestingV3AuthVotingStartOffset=${plan.votingOffset}`);
    const missedAt = votesAt * 1000 + VOTE_GRACE_MS;
    const came = await watch.until("a consensus", async () => {
      if (await listsAll()) return "yes";
      return attempt.now() > missedAt ? "no" : undefined;
    });
    if (came === "no") continue;
    await savePlan(attempt.dir, plan);
    return plan;
  }
}

async function startTors(attempt: Attempt): Promise<void> {
  const { dir, plan, parts, spawn, tor, tors } = attempt;
  await writeFile(join(dir, "resolv.conf"), RESOLV_CONF);
  await writeTorrcs(attempt, plan, false);
  for (const { name } of tors) {
    const paths = torPaths(dir, name);
    // A cookie from before would let us in nowhere; without it we wait for the new one.
    await Promise.all([rm(paths.control, { force: true }), rm(paths.cookie, { force: true })]);
    await writeFile(paths.defaults, "");
    parts.set(name, spawn(name, [tor, "-f", paths.torrc, "--defaults-torrc", paths.defaults, "--quiet"]));
  }
}

async function writeTorrcs(attempt: Attempt, plan: Plan, networkOn: boolean): Promise<void> {
  const { dir, onions } = attempt;
  const ownerPid = process.pid;
  const known = await knownOptions(attempt.tor);
  await Promise.all(
    attempt.tors.map((tor) =>
      writeFile(torPaths(dir, tor.name).torrc, torrc({ dir, plan, tor, networkOn, ownerPid, known, onions })),
    ),
  );
}

async function knownOptions(program: string): Promise<ReadonlySet<string>> {
  const { stdout } = await promisify(execFile)(program, ["--list-torrc-options"]);
  return new Set(stdout.split("\n"));
}

/** Waits until each of them has bootstrapped to `percent`; tells it as progress between `from` and `to`. */
async function bootstrapped(tors: Control[], percent: number, watch: Watch, from: number, to: number) {
  await watch.until("the network to be usable", async () => {
    const reached = await Promise.all(tors.map(bootstrapPercent));
    const least = Math.min(...reached);
    watch.progress(from + Math.floor(((to - from) * Math.min(least, percent)) / percent));
    watch.alive(reached.reduce((sum, each) => sum + each, 0));
    return least >= percent || undefined;
  });
}

async function bootstrapPercent(control: Control): Promise<number> {
  return Number(/PROGRESS=(\d+)/.exec(await control.getInfo("status/bootstrap-phase"))?.[1] ?? 0);
}

async function countDescriptors(control: Control): Promise<number> {
  return ((await control.getInfo("desc/all-recent")).match(/^router /gm) ?? []).length;
}

async function countRunning(control: Control): Promise<number> {
  return ((await control.getInfo("ns/all")).match(/^s .*\bRunning\b/gm) ?? []).length;
}

interface Watch {
  /** Reports progress when it is more than before. */
  progress(percent: number): void;
  /** Counts as progress when `measure` is more than ever, without a report. */
  alive(measure: number): void;
  /** Looks again and again until `look` gives something. */
  until<Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found>;
}

/** Notices when an attempt does not get on any more: a tor has exited, or time passes in vain. */
function makeWatch(attempt: Attempt, signal: AbortSignal): Watch {
  let best = -1;
  let bestMeasure = -1;
  let movedAt = performance.now();
  const watched = new Map<string, Promise<void>>();
  let exited: string | undefined;

  function check(what: string): void {
    signal.throwIfAborted();
    for (const [name, part] of attempt.parts) {
      if (watched.has(name)) continue;
      watched.set(
        name,
        part.exited.then(() => void (exited ??= name)),
      );
    }
    if (exited !== undefined) throw stalled(attempt.dir, `${exited} exited`, exited);
    if (performance.now() - movedAt > STALL_MS) {
      throw stalled(attempt.dir, `waited ${STALL_MS / 1000} s for ${what}`, "authority");
    }
  }

  return {
    progress(percent) {
      if (percent <= best) return;
      best = percent;
      movedAt = performance.now();
      attempt.progress(percent);
    },
    alive(measure) {
      if (measure <= bestMeasure) return;
      bestMeasure = measure;
      movedAt = performance.now();
    },
    async until(what, look) {
      for (;;) {
        check(what);
        const found = await look().catch((error: unknown) => {
          check(what);
          throw error;
        });
        if (found !== undefined) return found;
        await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    },
  };
}

function stalled(dir: string, what: string, name: string): OnionhookError {
  return new OnionhookError("ERR_TOR_NETWORK", what, {
    hint: `Read ${torPaths(dir, name).log}.`,
    retryable: true,
  });
}

/** A control connection, or nothing while the tor is not ready for one. */
async function tryControl(dir: string, name: string): Promise<Control | undefined> {
  return connectControl({ path: torPaths(dir, name).control }).catch((error: unknown) => {
    if (error instanceof OnionhookError && error.retryable) return undefined;
    throw error;
  });
}

/**
 * Ends tors of this folder that outlived their owner (they notice within 15 s; a new start is earlier).
 * Only a tor that knows the cookie in its folder is one of ours.
 */
export async function haltLeftovers(dir: string, tors: readonly PlannedTor[]): Promise<void> {
  await Promise.all(
    tors.map(async ({ name }) => {
      const control = await tryControl(dir, name).catch(() => undefined);
      if (control === undefined) return;
      await control.command("SIGNAL HALT").catch(() => undefined);
      await control.closed;
    }),
  );
}
