/** A real Redis on loopback that is a victim: whoever kills it, it is started again, as a service would be. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { freePort, untilListening } from "../helpers/server-process.ts";

export interface RedisVictim {
  url: string;
  /** Undefined while it is down. */
  pid(): number | undefined;
  /** SIGKILL; nobody starts it again for so long. */
  kill(downMs: number): void;
  stop(): Promise<void>;
}

/** Also when it ends by itself: it does when it cannot write, and its disk may still be full. */
const PAUSE_MS = 300;

/** As durable as a relay needs it, with its data in `folder`. */
export async function startRedisVictim(folder: string): Promise<RedisVictim> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const port = await freePort();
  let server: ChildProcess | undefined;
  let pauseMs = PAUSE_MS;
  let timer: NodeJS.Timeout | undefined;
  let isWanted = true;

  function launch(): void {
    pauseMs = PAUSE_MS;
    const launched = spawn("redis-server", settings(folder, port), { stdio: "ignore" });
    server = launched;
    launched.once("exit", () => {
      server = undefined;
      if (isWanted) timer = setTimeout(launch, pauseMs);
    });
  }

  launch();
  await untilListening(port);
  return {
    url: `redis://127.0.0.1:${port}/0`,
    pid: () => server?.pid,
    kill(downMs) {
      pauseMs = downMs;
      server?.kill("SIGKILL");
    },
    async stop() {
      isWanted = false;
      clearTimeout(timer);
      if (server === undefined) return;
      const exited = once(server, "exit");
      server.kill("SIGKILL");
      await exited;
    },
  };
}

function settings(folder: string, port: number): string[] {
  const listen = ["--bind", "127.0.0.1", "--port", `${port}`, "--dir", folder];
  const durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
  return [...listen, "--save", "", ...durable];
}
