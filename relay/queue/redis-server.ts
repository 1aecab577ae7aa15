/**
 * A Redis of the relay's own, on a unix socket in `<dataDir>/redis`, which only its owner can enter; it listens on no
 * port and has no password. It writes every event to disk before it answers (`appendfsync always`).
 *
 * It ends with the relay: told to when the relay ends, and by the kernel (PR_SET_PDEATHSIG, through `setpriv`) when the
 * relay is killed. Where there is no `setpriv`, one that was left behind is ended by the next relay on the folder, as is
 * one that is still busy ending: what answers on a socket in a folder that is ours alone is ours.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { delimiter, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OnionhookError } from "../../shared/errors.ts";
import { pauseMs } from "../../shared/host/backoff.ts";
import { isAlive, processStart } from "../../shared/host/process-start.ts";
import type { Report } from "../../shared/report.ts";

const PROGRAMS = ["redis-server", "valkey-server"];
/** Bytes of a unix socket's path, at most: `sun_path` has 108 with the zero at its end (unix(7)). */
const MAX_PATH_BYTES = 107;
/** Milliseconds to wait until it answers: it first reads what it holds, some 200 MB a second. */
const START_MS = 60_000;
/** Milliseconds between looks whether it answers, or has ended. */
const LOOK_MS = 20;
/** Milliseconds that an old one has to end: its last write and an fsync. */
const END_MS = 10_000;
/** Between starts of one that ends by itself. */
const PAUSES = { firstMs: 200, capMs: 10_000 };
/** Milliseconds after which one that ended is said to have ended again. */
const STEADY_MS = 30_000;
/** Bytes free on its disk below which that is why it ended. */
const LITTLE_ROOM = 16_777_216;

export interface LocalRedis {
  /** The path of its socket. */
  readonly socket: string;
  /** Ends it, and waits until it has ended. */
  close(): Promise<void>;
}

/**
 * Starts it, and starts it again when it ends by itself, which is reported. The data folder must be locked. Rejects with
 * `ERR_QUEUE_LOCAL_REDIS` when it is not installed, cannot be started, or the path of its socket is too long.
 */
export async function startLocalRedis(dataDir: string, report: Report): Promise<LocalRedis> {
  const folder = resolve(dataDir, "redis");
  const socket = join(folder, "socket");
  const tooLong = Buffer.byteLength(socket) - MAX_PATH_BYTES;
  if (tooLong > 0) {
    throw failure(
      `the path of its socket is ${tooLong} bytes longer than the system allows`,
      "Give data_dir a shorter path.",
    );
  }
  const program = PROGRAMS.map(inPath).find((path) => path !== undefined);
  if (program === undefined) {
    throw failure(
      "neither redis-server nor valkey-server is installed",
      'apt-get install redis-server, or set queue.url to "embedded".',
    );
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  await endOld(folder, socket);

  const closing = new AbortController();
  let server = await start(program, folder, socket);

  const keepUp = async (): Promise<void> => {
    let ends = 0;
    let startedAt = Date.now();
    while (!closing.signal.aborted) {
      await ended(server);
      if (closing.signal.aborted) return;
      if (Date.now() - startedAt > STEADY_MS) ends = 0;
      if (ends === 0) tellEnd(folder, report);
      await sleep(pauseMs(ends, PAUSES), undefined, { signal: closing.signal }).catch(() => {});
      ends += 1;
      if (closing.signal.aborted) return;
      startedAt = Date.now();
      server = spawnServer(program, folder, socket);
    }
  };
  const kept = keepUp();

  return {
    socket,
    async close() {
      closing.abort();
      server.kill("SIGTERM");
      await kept;
      await ended(server);
      rmSync(join(folder, "pid"), { force: true });
    },
  };
}

function tellEnd(folder: string, report: Report): void {
  const { bavail, bsize } = statfsSync(folder);
  const full = bavail * bsize < LITTLE_ROOM;
  report("error", {
    code: full ? "ERR_QUEUE_STORE" : "ERR_QUEUE_LOCAL_REDIS",
    message: full
      ? "the queue's store has no room, and ended"
      : "the relay's own Redis ended; it is started again",
    hint: full ? `Make room on the disk of ${folder}.` : `Read ${join(folder, "log")}.`,
  });
}

async function start(program: string, folder: string, socket: string): Promise<ChildProcess> {
  const server = spawnServer(program, folder, socket);
  const deadline = Date.now() + START_MS;
  while (Date.now() < deadline && !hasEnded(server)) {
    if ((await ask(socket, "PING"))?.startsWith("+PONG") === true) return server;
    await sleep(LOOK_MS);
  }
  server.kill("SIGTERM");
  throw failure("it cannot be started", `Read ${join(folder, "log")}.`);
}

/** Not in our process group: Ctrl-C is for the relay, which ends it when it has put everything back. */
function spawnServer(program: string, folder: string, socket: string): ChildProcess {
  const settings = [
    ["port", "0"],
    ["unixsocket", socket],
    ["unixsocketperm", "600"],
    ["dir", folder],
    ["logfile", join(folder, "log")],
    ["loglevel", "warning"],
    ["daemonize", "no"],
    ["save", ""],
    ["appendonly", "yes"],
    ["appendfsync", "always"],
    ["maxmemory-policy", "noeviction"],
  ].flatMap(([name, value = ""]) => [`--${name}`, value]);
  const setpriv = inPath("setpriv");
  const [command, args] =
    setpriv === undefined ? [program, settings] : [setpriv, ["--pdeathsig", "TERM", program, ...settings]];
  const server = spawn(command, args, { stdio: "ignore", detached: true, cwd: folder, env: {} });
  server.on("error", () => {}); // It has ended, then.
  const { pid } = server;
  if (pid !== undefined) {
    writeFileSync(join(folder, "pid"), `${pid} ${processStart(pid) ?? ""}`, { mode: 0o600 });
  }
  return server;
}

/** Ends the server of a relay that was killed. Rejects when it does not end. */
async function endOld(folder: string, socket: string): Promise<void> {
  const deadline = Date.now() + END_MS;
  for (;;) {
    const pid = oldServer(folder);
    if (pid === undefined && (await ask(socket, "SHUTDOWN")) === undefined) return;
    if (pid !== undefined) process.kill(pid, "SIGTERM");
    if (Date.now() > deadline)
      throw failure("the one of a relay before does not end", `Read ${join(folder, "log")}.`);
    await sleep(LOOK_MS * 5);
  }
}

/** The living process that a relay before wrote down. */
function oldServer(folder: string): number | undefined {
  try {
    const [pid, started] = readFileSync(join(folder, "pid"), "utf8").split(" ");
    const old = Number(pid);
    return old > 0 && isAlive(old) && processStart(old) === started ? old : undefined;
  } catch {
    return undefined;
  }
}

/** What is answered to a command; `""` when the connection ends without an answer, `undefined` when there is none. */
async function ask(socket: string, command: string): Promise<string | undefined> {
  const connection = connect(socket);
  try {
    await once(connection, "connect");
    connection.write(`${command}\r\n`);
    const [answer]: unknown[] = await Promise.race([once(connection, "data"), once(connection, "end")]);
    return answer instanceof Buffer ? answer.toString("latin1") : "";
  } catch {
    return undefined;
  } finally {
    connection.destroy();
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

async function ended(child: ChildProcess): Promise<void> {
  if (!hasEnded(child)) await once(child, "exit");
}

function inPath(program: string): string | undefined {
  const folders = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
  ];
  return folders.map((folder) => join(folder, program)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function failure(what: string, hint: string): OnionhookError {
  return new OnionhookError("ERR_QUEUE_LOCAL_REDIS", `the relay's own Redis: ${what}`, { hint });
}
