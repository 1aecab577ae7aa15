/**
 * What a private Tor network consists of, as it stands on disk in `net.json`: its processes, their
 * ports, and the authority's fingerprints. A start with a usable plan is warm.
 *
 * Accepted race: a free port may be taken between our look and tor's bind; that tor then exits, and
 * the start begins anew with other ports.
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import * as v from "valibot";
import { OnionhookError } from "../errors.ts";
import { makeAuthorityKeys } from "./authority-keys.ts";
import { isPort } from "./local-socket.ts";

export type Role = "authority" | "relay" | "client" | "service";

export interface PlannedTor {
  readonly name: string;
  readonly role: Role;
}

/**
 * Four relays beside the authority's own: three are the least with which onion services work, with four
 * a circuit can still be built while one is down.
 */
const RELAYING: readonly PlannedTor[] = [
  { name: "authority", role: "authority" },
  ...[1, 2, 3, 4].map((n) => ({ name: `relay${n}`, role: "relay" as const })),
];

/** The processes of a network with these clients. */
export function makeTors(clients: readonly string[]): readonly PlannedTor[] {
  const clientTors = clients.map((name) => ({ name, role: "client" as const }));
  return [...RELAYING, ...clientTors, { name: "service", role: "service" }];
}

/** How many of them relay: the authority does too. */
export const RELAYS = RELAYING.length;

const Port = v.pipe(v.number(), v.check(isPort));
const Fingerprint = v.pipe(v.string(), v.regex(/^[0-9A-F]{40}$/));
const StoredPlan = v.object({
  /** ORPort by name, of the authority and the relays. */
  orPorts: v.pipe(
    v.record(v.string(), Port),
    v.check((ports) => RELAYING.every(({ name }) => name in ports)),
  ),
  /** The authority's DirPort. */
  dirPort: Port,
  /** SocksPort by name, of the clients. */
  socksPorts: v.record(v.string(), Port),
  /** `AuthorityKeys.v3Ident` and `.fingerprint`. */
  v3Ident: Fingerprint,
  fingerprint: Fingerprint,
  /** Seconds by which the authority's votes come after the 300 s grid that begins at midnight, UTC. */
  votingOffset: v.pipe(v.number(), v.integer(), v.minValue(0)),
});

export type Plan = Readonly<v.InferOutput<typeof StoredPlan>>;

/** Every address is this one. */
export const LOOPBACK = "127.0.0.1";

/**
 * Bytes of a unix socket's path, without the NUL: 103 on macOS, 107 on Linux (unix(7)).
 */
const SOCKET_PATH_BYTES = 103;

/** Milliseconds that a stored consensus must still be valid for a warm start: a vote comes every 300 s. */
const CONSENSUS_MARGIN_MS = 600_000;

/** Paths of one tor. Short, because of {@link SOCKET_PATH_BYTES}. */
export function torPaths(dir: string, name: string) {
  const own = join(dir, name);
  return {
    dir: own,
    keys: join(own, "keys"),
    torrc: join(own, "torrc"),
    defaults: join(own, "defaults"),
    log: join(own, "log"),
    pid: join(own, "pid"),
    control: join(own, "control"),
    cookie: join(own, "control_auth_cookie"),
    socks: join(own, "socks"),
    clientAuth: join(own, "onion-auth"),
  };
}

/** @throws OnionhookError `ERR_TOR_PATH_TOO_LONG` when the folder's path leaves no room for a socket's */
export function checkDir(dir: string, tors: readonly PlannedTor[]): void {
  const longest = Math.max(...tors.map(({ name }) => Buffer.byteLength(torPaths(dir, name).control)));
  if (longest <= SOCKET_PATH_BYTES) return;
  const most = SOCKET_PATH_BYTES - (longest - Buffer.byteLength(dir));
  throw new OnionhookError(
    "ERR_TOR_PATH_TOO_LONG",
    `the folder of the private Tor network has a path of ${Buffer.byteLength(dir)} bytes; unix sockets allow ${most}`,
    { hint: "Choose a data directory with a shorter path." },
  );
}

/**
 * The stored plan, when a warm start can be made of it: complete, of the same processes, every port free,
 * and the authority's consensus still valid at `now` (milliseconds since 1970).
 */
export async function loadPlan(
  dir: string,
  now: number,
  tors: readonly PlannedTor[],
): Promise<Plan | undefined> {
  const plan = readPlan(await readText(join(dir, "net.json")));
  if (plan === undefined || !clientsOf(tors).every((name) => name in plan.socksPorts)) return undefined;
  const consensus = await readText(join(torPaths(dir, "authority").dir, "cached-consensus"));
  const until = /^valid-until (\S+) (\S+)$/m.exec(consensus);
  if (until === null || Date.parse(`${until[1]}T${until[2]}Z`) < now + CONSENSUS_MARGIN_MS) return undefined;
  const ports = [...Object.values(plan.orPorts), plan.dirPort, ...Object.values(plan.socksPorts)];
  const held = await Promise.all(ports.map((port) => hold(port).catch(() => undefined)));
  const free = held.filter((server) => server !== undefined);
  await Promise.all(free.map(release));
  return free.length === ports.length ? plan : undefined;
}

/** Removes what an earlier network left, and lays the ground for a new one: keys, ports, `net.json`. */
export async function makePlan(dir: string, now: number, tors: readonly PlannedTor[]): Promise<Plan> {
  await rm(join(dir, "net.json"), { force: true });
  await Promise.all(tors.map(({ name }) => rm(torPaths(dir, name).dir, { recursive: true, force: true })));
  for (const { name } of tors) await mkdir(torPaths(dir, name).keys, { recursive: true, mode: 0o700 });
  const clients = clientsOf(tors);
  const [keys, ports] = await Promise.all([makeAuthorityKeys(now), freePorts(RELAYS + 1 + clients.length)]);
  for (const [file, text] of Object.entries(keys.files)) {
    await writeFile(join(torPaths(dir, "authority").keys, file), text, { mode: 0o600 });
  }
  const [dirPort = 0, ...others] = ports;
  const plan: Plan = {
    orPorts: Object.fromEntries(RELAYING.map(({ name }, index) => [name, others[index] ?? 0])),
    dirPort,
    socksPorts: Object.fromEntries(clients.map((name, index) => [name, others[RELAYS + index] ?? 0])),
    v3Ident: keys.v3Ident,
    fingerprint: keys.fingerprint,
    votingOffset: 0,
  };
  await savePlan(dir, plan);
  return plan;
}

/** Writes `net.json` in one step: a reader finds the old or the new one, never half of it. */
export async function savePlan(dir: string, plan: Plan): Promise<void> {
  const path = join(dir, "net.json");
  await writeFile(`${path}.new`, JSON.stringify(plan), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

function clientsOf(tors: readonly PlannedTor[]): string[] {
  return tors.filter(({ role }) => role === "client").map(({ name }) => name);
}

function readPlan(text: string): Plan | undefined {
  const found = v.safeParse(v.pipe(v.string(), v.parseJson(), StoredPlan), text);
  return found.success ? found.output : undefined;
}

/** A file's text; empty when it is not there. */
async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

/** Different free TCP ports: all held at once, then all released. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => hold(0)));
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map(release));
  return ports;
}

function hold(port: number): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(port, LOOPBACK, () => resolve(server));
  });
}

function release(server: net.Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}
