/** Does a fault to a running pipeline, and undoes it. */
import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../../shared/errors.ts";
import type { Chronicle } from "./chronicle.ts";
import type { Clocks } from "./clocks.ts";
import type { Cut } from "./connections.ts";
import type { SmallDisk } from "./disk.ts";
import type { RedisVictim } from "./redis.ts";
import type { Disk, Fault, Victim } from "./schedule.ts";

export interface Scene {
  chronicle: Chronicle;
  redis: RedisVictim | undefined;
  /** What is undefined cannot be done on this machine. */
  clocks: Clocks | undefined;
  cut: Cut | undefined;
  disks: Readonly<Record<Disk, SmallDisk | undefined>>;
  /** Begin and end of each time that the journal's disk was full, in `performance.now()`. */
  journalFull: [number, number][];
  signal: AbortSignal;
}

/** `missed`: it could be done here, but there was nothing to do it to. */
export type Outcome = { is: "done" } | { is: "skipped" | "missed"; why: string };

/** For a victim that is just being started again. */
const VICTIM_MS = 10_000;
const LOOK_MS = 20;
const DONE: Outcome = { is: "done" };

/** Resolves when the fault is over. What was done is undone also when the signal aborts. */
export async function inflict(fault: Fault, scene: Scene): Promise<Outcome> {
  switch (fault.kind) {
    case "kill":
      return onVictim(fault.victim, scene, async (pid) => {
        if (fault.victim !== "redis") return send(pid, "SIGKILL");
        scene.redis?.kill(fault.forMs);
        await sleep(fault.forMs, undefined, { signal: scene.signal });
      });
    case "stop":
      return onVictim(fault.victim, scene, async (pid) => {
        send(pid, "SIGSTOP");
        await during(fault.forMs, scene, () => isStill(fault.victim, pid, scene) && send(pid, "SIGCONT"));
      });
    case "redeploy":
      return onVictim(fault.victim, scene, async (pid) => {
        send(pid, "SIGTERM");
        await during(fault.forMs, scene, () => isStill(fault.victim, pid, scene) && send(pid, "SIGKILL"));
      });
    case "cut": {
      const { cut } = scene;
      if (cut === undefined) return { is: "skipped", why: "sockets cannot be cut here: ss, as root" };
      try {
        const count = await cut(fault.victim, fault.what);
        return count > 0 ? DONE : { is: "missed", why: "it was not connected" };
      } catch (error) {
        return { is: "missed", why: describeError(error).message };
      }
    }
    case "clock": {
      const { clocks } = scene;
      if (clocks === undefined) return { is: "skipped", why: "no libfaketime: apt-get install faketime" };
      clocks.set(fault.victim, fault.byS);
      await during(fault.forMs, scene, () => clocks.set(fault.victim, 0));
      return DONE;
    }
    case "disk":
  }
  const disk = scene.disks[fault.victim];
  if (disk === undefined) return { is: "skipped", why: "mounting is refused: root" };
  const begun = performance.now();
  disk.fill();
  await during(fault.forMs, scene, () => disk.free());
  if (fault.victim === "journal") scene.journalFull.push([begun, performance.now()]);
  return DONE;
}

async function onVictim(
  victim: Victim,
  scene: Scene,
  work: (pid: number) => Promise<unknown> | void,
): Promise<Outcome> {
  const end = performance.now() + VICTIM_MS;
  let pid = pidOf(victim, scene);
  while (pid === undefined && performance.now() < end) {
    await sleep(LOOK_MS, undefined, { signal: scene.signal });
    pid = pidOf(victim, scene);
  }
  if (pid === undefined) return { is: "missed", why: "it is not running" };
  await work(pid);
  return DONE;
}

function pidOf(victim: Victim, { chronicle, redis }: Scene): number | undefined {
  return victim === "redis" ? redis?.pid() : chronicle.pidOf(victim);
}

function isStill(victim: Victim, pid: number, scene: Scene): boolean {
  return pidOf(victim, scene) === pid;
}

async function during(ms: number, { signal }: Scene, undo: () => void): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } finally {
    undo();
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ESRCH: it ended before we heard of it.
  }
}
