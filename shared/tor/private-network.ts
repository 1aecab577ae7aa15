/**
 * A private Tor network on loopback: one authority, four relays, a client and a service, all real tor
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
import { refreshClient } from "./private-network-refresh.ts";
import { bringUp, haltLeftovers, type PartHandle, type Spawn } from "./private-network-start.ts";
import { LOOPBACK, RELAYS, TORS, checkDir, loadPlan, makePlan, torPaths } from "./private-network-plan.ts";
import type { Plan } from "./private-network-plan.ts";

export type { PartHandle, Spawn } from "./private-network-start.ts";

export interface PrivateNetworkOptions {
  /** A folder of its own; kept between runs, it makes the next start warm. */
  dir: string;
  /** Path of the tor program. */
  tor: string;
  /** Starts a process; the caller may start it again whenever it dies. */
  spawn: Spawn;
  report: Report;
  /** Onion services that the client is authorised for, each with its x25519 secret (32 bytes). */
  clientAuth?: readonly { onion: string; secret: Uint8Array }[];
  /** Milliseconds since 1970. */
  now?: () => number;
}

export interface PrivateNetwork {
  /**
   * Resolves when client and service are bootstrapped: about 13 s cold, 3 s warm.
   * @throws OnionhookError `ERR_TOR_NETWORK` after three attempts
   */
  start(): Promise<void>;
  /** The client's SocksPorts: `host:port` (known once started) and the path of a unix socket. */
  readonly socks: { readonly tcp: string; readonly unix: string };
  /** Path of the control socket of the tor that serves onion services. */
  readonly serviceControl: string;
  /** Path of the client's control socket. */
  readonly clientControl: string;
  /**
   * To be called after the caller started a tor again, but not before `start()` is through. Resolves
   * within half a minute, when the client has been told to begin anew.
   * @throws OnionhookError `ERR_TOR_CONTROL_UNREACHABLE` when client or service stay away
   */
  restarted(name: string): Promise<void>;
  /** Stops every process. */
  close(): Promise<void>;
}

/** A stalled start is rare (about 1 in 25); three in a row mean that something else is wrong. */
const MAX_ATTEMPTS = 3;

/** @throws OnionhookError `ERR_TOR_PATH_TOO_LONG` */
export function makePrivateNetwork(options: PrivateNetworkOptions): PrivateNetwork {
  const { dir, report, now = Date.now } = options;
  checkDir(dir);
  const clientControl = torPaths(dir, "client").control;
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
    const warm = fresh ? undefined : await loadPlan(dir, now());
    plan = warm ?? (await makePlan(dir, now()));
    await writeClientAuth(dir, options.clientAuth ?? []);
    const progress = (percent: number): void => report("tor", { progress: percent, relays: RELAYS });
    plan = await bringUp(
      { ...options, plan, parts, warm: warm !== undefined, progress, now },
      closing.signal,
    );
  }

  async function start(): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chmod(dir, 0o700);
    await haltLeftovers(dir);
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

  return {
    start,
    socks: {
      get tcp() {
        if (plan === undefined) throw new Error("the private network has not been started");
        return `${LOOPBACK}:${plan.socksPort}`;
      },
      unix: torPaths(dir, "client").socks,
    },
    serviceControl,
    clientControl,
    async restarted(name) {
      if (name === "client" || closing.signal.aborted) return;
      await refreshClient(dir, name, closing.signal).catch((error: unknown) => {
        if (!closing.signal.aborted) throw error;
      });
    },
    async close() {
      closing.abort(new OnionhookError("ERR_TOR_NETWORK_CLOSED", "the private Tor network was closed"));
      await stopAll();
    },
  };
}

async function writeClientAuth(dir: string, clients: readonly { onion: string; secret: Uint8Array }[]) {
  const folder = torPaths(dir, "client").clientAuth;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const [index, { onion, secret }] of clients.entries()) {
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
    hint: `Read the logs: ${TORS.map(({ name }) => torPaths(dir, name).log)
      .slice(0, 1)
      .join()} and its siblings.`,
    retryable: true,
    cause,
  });
}
