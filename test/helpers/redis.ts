import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A real `redis-server` on loopback, as durable as a relay needs it. */
export interface RedisServer {
  /** The URL of database `index`, which is empty at first; there are 1000. */
  url(index: number): string;
  /** Kills the server with SIGKILL; its data stays. */
  kill(): Promise<void>;
  /** Starts a killed server again, on the same port. */
  restart(): Promise<void>;
  /** Kills the server and removes its data. */
  stop(): Promise<void>;
}

export async function startRedis(): Promise<RedisServer> {
  const dir = mkdtempSync(join(tmpdir(), "onionhook-redis-"));
  const port = await freePort();
  let server = await spawnRedis(dir, port);
  const kill = async (): Promise<void> => endProcess(server, "SIGKILL");
  return {
    url: (index) => `redis://127.0.0.1:${port}/${index}`,
    kill,
    async restart() {
      server = await spawnRedis(dir, port);
    },
    async stop() {
      await kill();
      rmSync(dir, { recursive: true });
    },
  };
}

async function spawnRedis(dir: string, port: number): Promise<ChildProcess> {
  const options = [
    "--bind",
    "127.0.0.1",
    "--port",
    `${port}`,
    "--dir",
    dir,
    "--databases",
    "1000",
    "--save",
    "",
  ];
  const durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
  const server = spawn("redis-server", [...options, ...durable], { stdio: "ignore" });
  await untilListening(port);
  return server;
}

/** A TCP port on loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new TypeError("expected a TCP address");
  return address.port;
}

/** Resolves when something accepts connections on loopback; rejects after 20 s. */
export async function untilListening(port: number): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    const socket = connect(port, "127.0.0.1");
    const open = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    await sleep(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** Ends a process that a test started, and waits until it is gone. */
export async function endProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}
