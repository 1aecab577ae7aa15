/**
 * The two routers of the permission matrix: ours and the real Crossbar.io, with the same configuration,
 * deploy/crossbar.json with keys put in, one more role that may do nothing, and one more realm of nobody.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { startRouter } from "../../router/router.ts";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { startCrossbar } from "../helpers/crossbar.ts";
import { describeWith } from "../helpers/peers.ts";
import { newKeyPair, RawClient } from "./raw-client.ts";
import { deployJson, type Json } from "./testbed.ts";

/** Names of the principals; each has a role of its own. */
export const AUTHIDS = ["relay", "builder", "visitor"] as const;
export type Authid = (typeof AUTHIDS)[number];
/** A realm that there is, and that is nobody's. */
export const EMPTY_REALM = "empty";
const ROLES = { relay: "github", builder: "builder", visitor: "visitor" } as const;

export const SERIALIZERS: readonly SerializerId[] = ["json", "msgpack", "cbor"];

export const keys = { relay: newKeyPair(), builder: newKeyPair(), visitor: newKeyPair() };

/** What is to be seen: the same on both, or not, for a reason that docs/crossbar.md gives. */
export type Expected = string | { readonly ours: string; readonly crossbar: string };

export interface MatrixRouter {
  readonly dial: (serializer?: SerializerId) => Promise<RawClient>;
  readonly join: (authid: Authid, serializer: SerializerId) => Promise<RawClient>;
  /** Path of its unix socket. */
  readonly socket: () => string;
  readonly which: "ours" | "crossbar";
  readonly expected: (expected: Expected) => string;
}

interface Running {
  readonly socket: string;
  stop(): Promise<void>;
}

const SOCKET = "router.sock";

/** Runs the same tests against both, each started once. */
export function describeRouters(title: string, tests: (router: MatrixRouter) => void): void {
  describe(`${title}: our router`, () => tests(started(startOurs, "ours")));
  describeWith("crossbar", `${title}: Crossbar.io`, () => tests(started(startReal, "crossbar")));
}

function started(start: () => Promise<Running>, which: "ours" | "crossbar"): MatrixRouter {
  let running: Running | undefined;
  const clients = new Set<RawClient>();
  beforeAll(async () => void (running = await start()), 150_000);
  afterAll(async () => {
    for (const client of clients) client.end();
    await running?.stop();
  }, 60_000);
  const socket = (): string => {
    if (running === undefined) throw new Error("the router does not run");
    return running.socket;
  };
  const keep = (client: RawClient): RawClient => {
    clients.add(client);
    void client.closed.then(() => clients.delete(client));
    return client;
  };
  return {
    socket,
    which,
    dial: async (serializer) => keep(await RawClient.dial({ path: socket() }, serializer)),
    join: async (authid, serializer) =>
      keep(await RawClient.join({ path: socket() }, authid, keys[authid], serializer)),
    expected: (expected) => (typeof expected === "string" ? expected : expected[which]),
  };
}

async function startOurs(): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), "oh-matrix-"));
  const router = await startRouter({ config: parseRouterConfig(matrixJson(), folder), report: () => {} });
  return {
    socket: join(folder, SOCKET),
    async stop() {
      await router.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function startReal(): Promise<Running> {
  const crossbar = await startCrossbar(matrixJson());
  return { socket: join(crossbar.folder, SOCKET), stop: () => crossbar.stop() };
}

function matrixJson(): Json {
  const json = deployJson();
  const [worker] = json["workers"] as [{ realms: [{ roles: Json[] }, ...Json[]]; transports: Json[] }];
  const visitor = { name: ROLES.visitor, permissions: [] };
  worker.realms[0].roles.push(visitor);
  worker.realms.push({ name: EMPTY_REALM, roles: [visitor] });
  const principals = AUTHIDS.map((authid) => [
    authid,
    { realm: "onionhook", role: ROLES[authid], authorized_keys: [keys[authid].publicHex] },
  ]);
  worker.transports = worker.transports.slice(0, 1).map((transport) => ({
    ...transport,
    endpoint: { type: "unix", path: SOCKET },
    auth: { cryptosign: { type: "static", principals: Object.fromEntries(principals) } },
  }));
  return json;
}

/** Far more than either needs on a busy machine. */
const CLOSING_MS = 20_000;

/** What a router said, and with which code it closed the connection, if it did. */
export interface Answer {
  readonly messages: unknown[][];
  readonly closed: number | undefined;
}

/**
 * Does something, and gives all that comes of it: a router that has answered two pings has said all.
 * One that is expected to close the connection is not pinged before it does: bytes that it leaves unread
 * reset the connection, at times before its close code is read.
 */
export async function answerTo(client: RawClient, act: () => void, expected = ""): Promise<Answer> {
  const messages: unknown[][] = [];
  const listen = (data: Buffer): void => void messages.push(client.serializer.parse(data));
  client.ws.on("message", listen);
  act();
  if (expected.includes("closed"))
    await Promise.race([client.closed, sleep(CLOSING_MS, undefined, { ref: false })]);
  const closed = await Promise.race([client.closed, answersPings(client)]);
  client.ws.off("message", listen);
  return { messages, closed };
}

async function answersPings({ ws }: RawClient): Promise<undefined> {
  for (let pings = 0; pings < 2; pings += 1) {
    const pong = new Promise<void>((resolve) => ws.once("pong", () => resolve()));
    if (ws.readyState === ws.OPEN) ws.ping();
    // oxlint-disable-next-line no-await-in-loop
    await pong;
  }
}

const NAMES: Readonly<Record<number, string>> = {
  2: "WELCOME",
  4: "CHALLENGE",
  17: "PUBLISHED",
  33: "SUBSCRIBED",
  36: "EVENT",
  50: "RESULT",
  65: "REGISTERED",
};

/**
 * An answer in words, such as `PUBLISHED`, `wamp.error.not_authorized`, `closed 1002` or `nothing`. Our
 * router says ABORT `wamp.error.protocol_violation` before it closes, as the specification asks.
 */
export function inWords({ messages, closed }: Answer): string {
  const words = messages.map(toWord).filter((word) => word !== "ABORT wamp.error.protocol_violation");
  if (closed !== undefined) words.push(`closed ${closed}`);
  return words.join(", ") || "nothing";
}

function toWord(message: unknown[]): string {
  const [type] = message;
  if (type === 8) return String(message[4]);
  if (type === 3) return `ABORT ${String(message[2])}`;
  if (type === 6) return `GOODBYE ${String(message[2])}`;
  return NAMES[Number(type)] ?? `message ${String(type)}`;
}
