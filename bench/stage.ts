/** The pipeline as real processes, set up to be measured: with no rule, so that no build is in the figures. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readSecretFile } from "../shared/host/key-file.ts";
import { dataFolder, type DevEvent, type Ready, startDev } from "../test/helpers/dev.ts";
import { line } from "./lines.ts";
import { cpuOf, residentOf } from "./proc.ts";

/** A topic that only benches use, allowed in their own copy of the router's configuration. */
export const BARE_TOPIC = "bench.bare";

export interface Stage {
  readonly ready: Ready;
  readonly secret: string;
  /** The data folder. */
  readonly data: string;
  /** Parts that run, or did. */
  readonly parts: readonly string[];
  /** The process that a part, or `dev`, runs in now. */
  pidOf(part: string): number;
  /** Hears every event of the run from now on; returns how to stop that. */
  hear(listener: (event: DevEvent) => void): () => void;
}

/** Nothing but errors for so long: a measurement is stuck. A silent peer is noticed within 30 s, a backlog moves always. */
const STALL_MS = 180_000;
const root = fileURLToPath(new URL("..", import.meta.url));

/** Runs `work` over a pipeline of its own, which is gone afterwards. Rejects when the pipeline ends or gets stuck. */
export async function onStage<Result>(
  args: readonly string[],
  work: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  const data = dataFolder();
  writeFileSync(join(data.path, "rules.json"), "[]");
  const setting = [
    "--no-sample",
    "--port",
    "0",
    "--data-dir",
    data.path,
    "--router",
    benchCrossbar(data.path),
  ];
  const dev = startDev([...setting, ...args]);
  let watchdog: NodeJS.Timeout | undefined;
  try {
    const ready = await dev.ready();
    const pids = new Map([["dev", dev.process.pid ?? 0]]);
    const listeners = new Set<(event: DevEvent) => void>();
    const { promise: stuck, reject: fail } = Promise.withResolvers<never>();
    let heardAt = performance.now();
    let lastError: DevEvent | undefined;
    const note = (event: DevEvent) => {
      if (event.event === "started") pids.set(String(event["part"]), Number(event["pid"]));
      if (event.event === "error") lastError = event;
      else heardAt = performance.now();
      for (const listener of listeners) listener(event);
    };
    // Taken out at once: a hundred thousand deliveries' events are not to be kept here.
    const hearAll = () => {
      for (const event of dev.events.splice(0)) note(event);
    };
    dev.process.stdout?.on("data", hearAll);
    hearAll();
    void dev.exited.then(({ code }) => fail(new Error(`dev ended with ${code}\n${dev.stderr()}`)));
    watchdog = setInterval(() => {
      if (performance.now() - heardAt > STALL_MS)
        fail(new Error(`nothing moves any more; the last error: ${JSON.stringify(lastError)}`));
    }, 1000);
    const stage: Stage = {
      ready,
      secret: readSecretFile(ready.secret_file),
      data: data.path,
      get parts() {
        return [...pids.keys()];
      },
      pidOf(part) {
        const pid = pids.get(part);
        if (pid === undefined) throw new Error(`${part} has not started`);
        return pid;
      },
      hear(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    };
    return await Promise.race([work(stage), stuck]);
  } finally {
    clearInterval(watchdog);
    await dev.stop();
    data.remove();
  }
}

/** `deploy/crossbar.json`, with {@link BARE_TOPIC} allowed to both roles. */
function benchCrossbar(folder: string): string {
  const config = JSON.parse(readFileSync(join(root, "deploy", "crossbar.json"), "utf8"));
  for (const role of config.workers[0].realms[0].roles) {
    role.permissions.push({ uri: BARE_TOPIC, match: "exact", allow: { publish: true, subscribe: true } });
  }
  const path = join(folder, "crossbar-bench.json");
  writeFileSync(path, JSON.stringify(config));
  return path;
}

/** Begins to measure what the parts, `dev` and this process use; returns how to print it, for each of `count` events. */
export function startCpu(stage: Stage): (what: string, count: number) => void {
  const processes = [
    ...stage.parts.map((part) => [part, stage.pidOf(part)] as const),
    ["bench", process.pid] as const,
  ];
  const before = processes.map(([, pid]) => cpuOf(pid));
  return (what, count) => {
    const used = processes.map(([name, pid], index) => {
      const ms = (cpuOf(pid) - (before[index] ?? NaN)) / count;
      return `${name} ${ms.toFixed(2)}`;
    });
    line(what, used.join("  "));
  };
}

export function printMemory(stage: Stage): void {
  const sizes = stage.parts.map((part) => `${part} ${residentOf(stage.pidOf(part)).toFixed(0)}`);
  line("resident memory, MiB", sizes.join("  "));
}
