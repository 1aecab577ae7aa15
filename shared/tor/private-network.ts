/**
 * A private Tor network on loopback: one authority, four relays, clients and a service, all real tor
 * processes. Nothing of it leaves the machine. Its processes belong to the caller, who may start any
 * of them again with the same arguments.
 *
 * | state    | on                              | next                                              |
 * |----------|---------------------------------|---------------------------------------------------|
 * | idle     | start()                         | warm when the stored plan is usable, else cold    |
 * | warm     | bootstrapped                    | up                                                |
 * | warm     | a tor exits, no progress        | stop all, cold                                    |
 * | cold     | bootstrapped                    | up                                                |
 * | cold     | a tor exits, no progress        | stop all, cold; after three attempts: failed      |
 * | up       | a tor was started again         | up; new circuits where old ones would linger      |
 * | any      | close()                         | stop all, closed                                  |
 */
import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OnionhookError, describeError } from "../errors.ts";
import type { Report } from "../report.ts";
import { clientAuthFile } from "./onion-keys.ts";
import { refreshClients } from "./private-network-refresh.ts";
import { bringUp, haltLeftovers, type PartHandle, type Spawn } from "./private-network-start.ts";
import {
  LOOPBACK,
  RELAYS,
  checkDir,
  loadPlan,
  makePlan,
  makeTors,
  torPaths,
} from "./private-network-plan.ts";
import type { Plan } from "./private-network-plan.ts";
import type { HiddenService } from "./private-network-torrc.ts";

export type { PartHandle, Spawn } from "./private-network-start.ts";

export interface PrivateNetworkOptions {
  /** A folder of its own; kept between runs, it makes the next start warm. */
  dir: string;
  /** Path of the tor program. */
  tor: string;
  /** Starts a process; the caller may start it again whenever it dies. */
  spawn: Spawn;
  report: Report;
  /** Names of the clients, each a tor of its own. One, `client`, when left out. */
  clients?: readonly string[];
  /** Onion services that clients are authorised for, by x25519 secret (32 bytes); the first client unless named. */
  clientAuth?: readonly { onion: string; secret: Uint8Array; client?: string }[];
  /** Onion services that stand in the service's torrc. */
  onions?: readonly HiddenService[];
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** `host:port` (known once started) and the path of a unix socket. */
export interface SocksPorts {
  readonly tcp: string;
  readonly unix: string;
}

export interface PrivateNetwork {
  /**
   * Resolves when clients and service are bootstrapped: about 13 s cold, 3 s warm.
   * @throws OnionhookError `ERR_TOR_NETWORK` after three attempts
   */
  start(): Promise<void>;
  /** The first client's SocksPorts. */
  readonly socks: SocksPorts;
  socksOf(client: string): SocksPorts;
  /** Path of the control socket of the tor that serves onion services. */
  readonly serviceControl: string;
  /** Path of the first client's control socket. */
  readonly clientControl: string;
  controlOf(client: string): string;
  /**
   * To be called after the caller started a tor again, but not before `start()` is through. Resolves
   * within half a minute, when the clients have been told to begin anew.
   * @throws OnionhookError `ERR_TOR_CONTROL_UNREACHABLE` when a client or the service stays away
   */
  restarted(name: string): Promise<void>;
  /** Stops every process. */
  close(): Promise<void>;
}

/** A stalled start is rare (about 1 in 25); three in a row mean that something else is wrong. */
const MAX_ATTEMPTS = 3;

/** @throws OnionhookError `ERR_TOR_PATH_TOO_LONG` */
export function makePrivateNetwork(options: PrivateNetworkOptions): PrivateNetwork {
  const { dir, report, now = Date.now, clients = ["client"], clientAuth = [], onions = [] } = options;
  const tors = makeTors(clients);
  const [firstClient = ""] = clients;
  checkDir(dir, tors);
  const serviceControl = torPaths(dir, "service").control;
  const closing = new AbortController();
  const parts = new Map<string, PartHandle>();
  let plan: Plan | undefined;

  async function stopAll(): Promise<void> {
    const stopping = [...parts.values()].map((part) => part.stop());
    parts.clear();
    await Promise.all(stopping);
  }

  async function attempt(fresh: boolean): Promise<void> {
    const warm = fresh ? undefined : await loadPlan(dir, now(), tors);
    plan = warm ?? (await makePlan(dir, now(), tors));
    await Promise.all(
      clients.map((name) =>
        writeClientAuth(
          torPaths(dir, name).clientAuth,
          clientAuth.filter(({ client = firstClient }) => client === name),
        ),
      ),
    );
    const progress = (percent: number): void => report("tor", { progress: percent, relays: RELAYS });
    plan = await bringUp(
      { ...options, plan, tors, onions, parts, warm: warm !== undefined, progress, now },
      closing.signal,
    );
  }

  async function start(): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chmod(dir, 0o700);
    await haltLeftovers(dir, tors);
    for (let attempts = 1; ; attempts += 1) {
      closing.signal.throwIfAborted();
      try {
        return await attempt(attempts > 1);
      } catch (error) {
        await stopAll();
        if (closing.signal.aborted || !isWorthRetrying(error)) throw error;
        if (attempts >= MAX_ATTEMPTS) throw gaveUp(dir, error);
        report("tor", {
          progress: 0,
          relays: RELAYS,
          attempt: attempts + 1,
          reason: describeError(error).message,
        });
      }
    }
  }

  const socksOf = (client: string): SocksPorts => ({
    get tcp() {
      const port = plan?.socksPorts[client];
      if (port === undefined) throw new Error(`the private network has not been started with ${client}`);
      return `${LOOPBACK}:${port}`;
    },
    unix: torPaths(dir, client).socks,
  });
  const controlOf = (client: string): string => torPaths(dir, client).control;

  return {
    start,
    socks: socksOf(firstClient),
    socksOf,
    serviceControl,
    clientControl: controlOf(firstClient),
    controlOf,
    async restarted(name) {
      if (clients.includes(name) || closing.signal.aborted) return;
      await refreshClients(dir, clients, name, closing.signal).catch((error: unknown) => {
        if (!closing.signal.aborted) throw error;
      });
    },
    async close() {
      closing.abort(new OnionhookError("ERR_TOR_NETWORK_CLOSED", "the private Tor network was closed"));
      await stopAll();
    },
  };
}

async function writeClientAuth(folder: string, services: readonly { onion: string; secret: Uint8Array }[]) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const [index, { onion, secret }] of services.entries()) {
    const file = join(folder, `${index}.auth_private`);
    await writeFile(file, clientAuthFile(onion, secret), { mode: 0o600 });
  }
}

/** Only what a new network may mend; a missing tor program stays missing. */
function isWorthRetrying(error: unknown): boolean {
  return error instanceof OnionhookError && error.retryable;
}

function gaveUp(dir: string, cause: unknown): OnionhookError {
  const { message } = describeError(cause);
  return new OnionhookError("ERR_TOR_NETWORK", `the private Tor network did not start: ${message}`, {
    hint: `Read the logs: ${torPaths(dir, "authority").log} and its siblings.`,
    retryable: true,
    cause,
  });
}
