/**
 * What is done to the pipeline, and when: a pure function of the seed. Faults come in strikes: each begins when
 * the edge has taken so many deliveries, and its faults overlap.
 */
import { makeRandom, type Random } from "./random.ts";

export type Queue = "embedded" | "redis";

/** Processes that are killed and stopped: those of `onionhook dev`, by their names there, and Redis. */
export type Victim =
  | "worker"
  | "relay"
  | "router"
  | "builder"
  | "tor:relay-client"
  | "tor:builder-client"
  | "tor:service"
  | "tor:authority"
  | "tor:relay1"
  | "tor:relay2"
  | "tor:relay3"
  | "tor:relay4"
  | "redis";

/** Connections that are cut: the drain, and the WAMP sessions of relay and builder. */
export type Connection = "drain" | "relay-session" | "builder-session";

/** Parts whose clocks are set. Not the edge's: workerd does not run under libfaketime. */
export const CLOCKS = ["relay", "router", "builder"] as const;
export type Clock = (typeof CLOCKS)[number];
/** Whose disk is full. */
export type Disk = "queue" | "journal";

export type Fault =
  /** `forMs`: how long nobody starts it again. Only Redis; the others are started again by `dev`, at once. */
  | { kind: "kill"; victim: Victim; forMs: number }
  /** SIGSTOP, and SIGCONT after `forMs`. */
  | { kind: "stop"; victim: Victim; forMs: number }
  /** SIGTERM of the edge; after `forMs` SIGKILL if it has not ended. */
  | { kind: "redeploy"; victim: "worker"; forMs: number }
  /** `circuit`: the stream's circuit too. */
  | { kind: "cut"; victim: Connection; what: "stream" | "circuit"; forMs: 0 }
  | { kind: "clock"; victim: Clock; byS: number; forMs: number }
  | { kind: "disk"; victim: Disk; forMs: number };

export type FaultKind = Fault["kind"];

export interface Strike {
  /** Deliveries that the edge has taken when it begins. */
  afterTaken: number;
  /** `atMs`: since the strike began. */
  faults: readonly { atMs: number; fault: Fault }[];
}

export interface ScheduleOptions {
  deliveries: number;
  tor: boolean;
  queue: Queue;
}

/** Deliveries between two strikes, on average. */
const EVERY = 50;
/** No strike in the last part of a run: what follows it must show that the pipeline is well again. */
const LAST_STRIKE = 0.9;
/** The second and later faults of a strike come while the first still lasts, or just after it. */
const OVERLAP_MS = 6000;

const KINDS = { kill: 8, stop: 6, cut: 5, redeploy: 2, clock: 2, disk: 2 } as const;
const FAULTS_IN_STRIKE = { "1": 6, "2": 3, "3": 1 } as const;

const PARTS = { worker: 3, relay: 4, router: 3, builder: 4 } as const;
const TORS = {
  "tor:relay-client": 2,
  "tor:builder-client": 2,
  "tor:service": 2,
  "tor:authority": 1,
  "tor:relay1": 1,
  "tor:relay2": 1,
  "tor:relay3": 1,
  "tor:relay4": 1,
} as const;

/** The store that a seed stands for when none was chosen. */
export function queueOf(seed: number): Queue {
  return makeRandom(seed, "queue").pick(["embedded", "redis"]);
}

/** The same arguments give the same strikes, in order. */
export function makeSchedule(seed: number, options: ScheduleOptions): Strike[] {
  const random = makeRandom(seed, "faults");
  const strikes: Strike[] = [];
  let afterTaken = random.int(10, EVERY);
  while (afterTaken <= options.deliveries * LAST_STRIKE) {
    const count = Number(random.weighted(FAULTS_IN_STRIKE));
    const faults = Array.from({ length: count }, (_, index) => ({
      atMs: index === 0 ? 0 : random.int(0, OVERLAP_MS),
      fault: makeFault(random, options),
    }));
    strikes.push({ afterTaken, faults: faults.toSorted((a, b) => a.atMs - b.atMs) });
    afterTaken += random.int(EVERY / 5, EVERY * 2 - EVERY / 5);
  }
  return strikes;
}

function makeFault(random: Random, options: ScheduleOptions): Fault {
  const kind = random.weighted(KINDS);
  switch (kind) {
    case "kill": {
      const victim = pickVictim(random, options);
      return { kind, victim, forMs: victim === "redis" ? random.int(0, 5000) : 0 };
    }
    case "stop": {
      const victim = pickVictim(random, options);
      // Without its authority for longer, the network may miss a vote, and the next is 300 s away.
      return { kind, victim, forMs: random.int(1000, victim === "tor:authority" ? 4000 : 15_000) };
    }
    case "redeploy":
      return { kind, victim: "worker", forMs: random.int(500, 5000) };
    case "cut": {
      const victim = random.pick(["drain", "relay-session", "builder-session"] as const);
      return { kind, victim, what: random.pick(["stream", "circuit"] as const), forMs: 0 };
    }
    case "clock":
      return {
        kind,
        victim: random.pick(CLOCKS),
        byS: clockJump(random),
        forMs: random.int(2000, 15_000),
      };
    case "disk":
  }
  return { kind, victim: random.pick(["queue", "journal"] as const), forMs: random.int(1000, 8000) };
}

function pickVictim(random: Random, { tor, queue }: ScheduleOptions): Victim {
  return random.weighted<Victim>({
    ...PARTS,
    ...(tor ? TORS : {}),
    ...(queue === "redis" ? { redis: 4 } : {}),
  });
}

/** Seconds: a minute to eight hours, forth or back. */
function clockJump(random: Random): number {
  const minutes = random.pick([random.int(1, 59), 60 * random.int(1, 8)]);
  return random.pick([-60, 60]) * minutes;
}

/** Milliseconds from the begin of a strike to the end of its last fault, as planned. */
export function durationOf({ faults }: Strike): number {
  return Math.max(...faults.map(({ atMs, fault }) => atMs + fault.forMs));
}

/** What a fault is, for people. */
export function describeFault(fault: Fault): string {
  const about =
    fault.kind === "clock" ? ` by ${fault.byS} s` : fault.kind === "cut" ? ` (${fault.what})` : "";
  const lasts = fault.forMs > 0 ? `  ${(fault.forMs / 1000).toFixed(1)} s` : "";
  return `${fault.kind.padEnd(8)} ${fault.victim}${about}${lasts}`;
}
