/** What a run of `dev` has said so far: who runs, what is done, and waiting for more of it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Dev, DevEvent } from "../helpers/dev.ts";
import { eventName } from "./ledger.ts";

export interface Told {
  event: DevEvent;
  /** When it came, on our own clock: `performance.now()`. */
  cameAt: number;
}

export interface Chronicle {
  /** Everything, in the order in which it came. */
  readonly told: readonly Told[];
  /** Deliveries with an event of this name. */
  deliveries(event: "opened" | "built" | "done"): ReadonlySet<string>;
  /** The process that a part runs in; undefined while it is not running. */
  pidOf(part: string): number | undefined;
  deathsOf(part: string): number;
  /** Every process that there was. */
  pids(): number[];
  /**
   * Waits until `condition` holds. Rejects when nothing more has become done or built for `stallMs`, when
   * `dev` ends, or at the signal.
   */
  until(what: string, condition: () => boolean, stallMs: number): Promise<void>;
  stop(): void;
}

/** Milliseconds between looks at what came. */
const LOOK_MS = 20;

export function openChronicle(dev: Dev, signal: AbortSignal): Chronicle {
  const told: Told[] = [];
  const seen = { opened: new Set<string>(), built: new Set<string>(), done: new Set<string>() };
  const pids = new Map<string, number>();
  const deaths = new Map<string, number>();
  let progressAt = performance.now();
  let events = 0;
  let ended: string | undefined;
  void dev.exited.then(({ code }) => (ended = `dev ended with ${code}\n${dev.stderr()}`));

  function note(event: DevEvent): void {
    const part = String(event["part"]);
    switch (event.event) {
      case "started":
        pids.set(part, Number(event["pid"]));
        break;
      case "exited":
        if (pids.get(part) === event["pid"]) pids.delete(part);
        deaths.set(part, (deaths.get(part) ?? 0) + 1);
        break;
      case "built":
      case "done":
        progressAt = performance.now();
        seen[event.event].add(String(event["delivery"]));
        break;
      case "opened":
        seen.opened.add(String(event["delivery"]));
        break;
    }
  }

  function look(): void {
    const cameAt = performance.now();
    for (const event of dev.events.slice(events)) {
      told.push({ event, cameAt });
      note(event);
    }
    events = dev.events.length;
  }

  look();
  const timer = setInterval(look, LOOK_MS);
  return {
    told,
    deliveries: (event) => seen[event],
    pidOf: (part) => pids.get(part),
    pids: () => told.flatMap(({ event }) => (event.event === "started" ? [Number(event["pid"])] : [])),
    deathsOf: (part) => deaths.get(part) ?? 0,
    async until(what, condition, stallMs) {
      const began = performance.now();
      for (;;) {
        signal.throwIfAborted();
        if (condition()) return;
        if (ended !== undefined) throw new Error(`${what}: ${ended}`);
        if (performance.now() - Math.max(began, progressAt) > stallMs) {
          throw new Error(`${what}: nothing was done or built for ${stallMs / 1000} s`);
        }
        await sleep(LOOK_MS, undefined, { signal });
      }
    },
    stop: () => clearInterval(timer),
  };
}

/**
 * Events whose `built` came while one of `windows` lasted, in `performance.now()` of begin and end, or soon
 * after it.
 */
export function builtWithin(told: readonly Told[], windows: readonly [number, number][]): Set<string> {
  const isWithin = (at: number) => windows.some(([from, to]) => at >= from && at <= to + BUILT_LATER_MS);
  return new Set(
    told.flatMap(({ event, cameAt }) =>
      event.event === "built" && isWithin(cameAt) ? [eventName(event)] : [],
    ),
  );
}

/** A builder that was killed or stopped meanwhile tells its builds when it is back. */
const BUILT_LATER_MS = 30_000;
