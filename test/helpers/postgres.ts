import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";
import { findPeer } from "./peers.ts";
import { endProcess, freePort, untilListening } from "./server-process.ts";

/** A real PostgreSQL server on loopback, with fsync on. */
export interface PostgresServer {
  /** Makes an empty database and returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** Ends the server at once (immediate shutdown); its data stays. */
  kill(): Promise<void>;
  /** Starts a killed server again, on the same port. */
  restart(): Promise<void>;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
}

export async function startPostgres(): Promise<PostgresServer> {
  const dir = mkdtempSync(join(tmpdir(), "onionhook-postgres-"));
  const port = await freePort();
  const [uid, gid] = owner();
  if (uid !== process.getuid?.()) chownSync(dir, uid, gid);
  run("initdb", ["-D", join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
  let server = await spawnPostgres(dir, port);
  const kill = async (): Promise<void> => endProcess(server, "SIGQUIT");
  return {
    async createDatabase(name) {
      const client = new Client({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres` });
      await client.connect();
      await client.query(`CREATE DATABASE "${name}"`);
      await client.end();
      return `postgres://postgres@127.0.0.1:${port}/${name}`;
    },
    kill,
    async restart() {
      server = await spawnPostgres(dir, port);
    },
    async stop() {
      await kill();
      rmSync(dir, { recursive: true });
    },
  };
}

async function spawnPostgres(dir: string, port: number): Promise<ChildProcess> {
  const settings = [`listen_addresses=127.0.0.1`, `port=${port}`, `unix_socket_directories=${dir}`];
  const args = ["-D", join(dir, "data"), ...settings.flatMap((setting) => ["-c", setting])];
  const [command, prefix] = asOwner("postgres");
  const server = spawn(command, [...prefix, ...args], { stdio: "ignore", cwd: dir });
  await untilListening(port);
  await untilReady(port);
  return server;
}

/** It listens before it has recovered. */
async function untilReady(port: number): Promise<void> {
  for (;;) {
    const client = new Client({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres` });
    client.on("error", () => {});
    const ready = await client.connect().then(
      () => true,
      () => false,
    );
    await client.end().catch(() => {});
    if (ready) return;
  }
}

function run(program: string, args: string[]): void {
  const [command, prefix] = asOwner(program);
  execFileSync(command, [...prefix, ...args], { stdio: "ignore", cwd: "/" });
}

/** How to run a program of Postgres, which refuses to run as root. */
function asOwner(program: string): [command: string, prefix: string[]] {
  const path = join(dirname(findPeer("postgres") ?? ""), program);
  const [uid, gid] = owner();
  if (uid === process.getuid?.()) return [path, []];
  return ["setpriv", [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", path]];
}

/** Ourselves; in root's place `postgres`, or else `nobody`. */
function owner(): [uid: number, gid: number] {
  const own = process.getuid?.() ?? 0;
  if (own !== 0) return [own, process.getgid?.() ?? own];
  const name = spawnSync("id", ["-u", "postgres"]).status === 0 ? "postgres" : "nobody";
  const ask = (flag: string): number => Number(execFileSync("id", [flag, name], { encoding: "utf8" }));
  return [ask("-u"), ask("-g")];
}
