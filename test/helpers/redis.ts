import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { endProcess, freePort, untilListening } from "./server-process.ts";

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

/** @param settings more of its settings, as on its command line. */
export async function startRedis(settings: readonly string[] = []): Promise<RedisServer> {
  const dir = mkdtempSync(join(tmpdir(), "onionhook-redis-"));
  const port = await freePort();
  const all = ["--databases", "1000", ...settings];
  let server = await spawnRedis(dir, port, all);
  const kill = async (): Promise<void> => endProcess(server, "SIGKILL");
  return {
    url: (index) => `redis://127.0.0.1:${port}/${index}`,
    kill,
    async restart() {
      server = await spawnRedis(dir, port, all);
    },
    async stop() {
      await kill();
      rmSync(dir, { recursive: true });
    },
  };
}

/** A cluster of three real `redis-server`s without replicas. */
export interface RedisCluster extends Pick<RedisServer, "kill" | "restart" | "stop"> {
  readonly url: string;
  /** Removes all keys. */
  empty(): Promise<void>;
}

/** The slots of each node: all 16,384 together. */
const SLOTS = [
  [0, 5460],
  [5461, 10_922],
  [10_923, 16_383],
] as const;

export async function startRedisCluster(): Promise<RedisCluster> {
  const dir = mkdtempSync(join(tmpdir(), "onionhook-cluster-"));
  const nodes: { port: number; folder: string; args: string[] }[] = [];
  // All at once: one that was given back may be given again.
  const ports = await Promise.all(Array.from({ length: 2 * SLOTS.length }, freePort));
  for (const [index] of SLOTS.entries()) {
    const folder = join(dir, `${index}`);
    mkdirSync(folder);
    const [port = 0, bus = 0] = ports.slice(2 * index);
    const settings = { "cluster-enabled": "yes", "cluster-port": `${bus}`, "cluster-node-timeout": "2000" };
    nodes.push({
      port,
      folder,
      args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    });
  }
  const startAll = () => Promise.all(nodes.map(({ port, folder, args }) => spawnRedis(folder, port, args)));
  let servers = await startAll();
  const clients = nodes.map(({ port }) => new Redis(port, "127.0.0.1"));
  for (const client of clients) client.on("error", () => {});
  const untilUp = async (): Promise<void> => {
    for (const client of clients) {
      while (!(await client.cluster("INFO").catch(() => "")).includes("cluster_state:ok")) await sleep(50);
    }
  };
  for (const [index, client] of clients.entries()) {
    const [first, last] = SLOTS[index] ?? [0, 0];
    await client.call("CLUSTER", "ADDSLOTSRANGE", first, last);
    const bus = nodes[index]?.args[3] ?? "";
    await clients[0]?.call("CLUSTER", "MEET", "127.0.0.1", nodes[index]?.port ?? 0, bus);
  }
  await untilUp();
  const kill = async (): Promise<void> => {
    await Promise.all(servers.map((server) => endProcess(server, "SIGKILL")));
  };
  return {
    url: `redis-cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
    async empty() {
      await Promise.all(clients.map((client) => client.flushall()));
    },
    kill,
    async restart() {
      servers = await startAll();
      await untilUp();
    },
    async stop() {
      for (const client of clients) client.disconnect();
      await kill();
      rmSync(dir, { recursive: true });
    },
  };
}

/** As durable as a relay needs it. */
async function spawnRedis(dir: string, port: number, settings: readonly string[]): Promise<ChildProcess> {
  const place = ["--bind", "127.0.0.1", "--port", `${port}`, "--dir", dir, "--save", ""];
  const durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
  const server = spawn("redis-server", [...place, ...durable, ...settings], { stdio: "ignore" });
  await untilListening(port);
  return server;
}
