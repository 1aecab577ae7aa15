/** A router, ours or Crossbar.io, behind a recorder of all that goes over the wire, and those who speak through it. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, onTestFinished } from "vitest";
import { type WebSocket, WebSocket as Client, WebSocketServer } from "ws";
import { parseRouterConfig } from "../../../router/config.ts";
import { startRouter } from "../../../router/router.ts";
import { joinWamp, type WampSession } from "../../../shared/wamp/session.ts";
import { type SerializerId, serializers } from "../../../shared/wamp/serializers.ts";
import { startCrossbar } from "../../helpers/crossbar.ts";
import { describeWith } from "../../helpers/peers.ts";
import { freePort } from "../../helpers/server-process.ts";
import { configJson, EVERYTHING, type Json, PRINCIPALS, TRANSPORT } from "../../router/testbed.ts";
import { type KeyPair, newKeyPair, RawClient, serializerOf } from "../../router/raw-client.ts";

export type RouterName = "our router" | "Crossbar.io";

export interface World {
  /** Of the recorder. */
  readonly url: string;
  readonly seed: Uint8Array;
  /** Whether these characters stood in any message, of anybody, since `forget`. */
  readonly wasSeen: (text: string) => boolean;
  readonly messages: () => readonly Message[];
  readonly forget: () => void;
  readonly join: (serializer: SerializerId) => Promise<WampSession>;
  /** Not recorded: what it sends is the test's own. */
  readonly joinRaw: (serializer: SerializerId) => Promise<RawClient>;
  readonly end: () => Promise<void>;
}

export interface Message {
  readonly from: "client" | "router";
  readonly list: readonly unknown[];
}

/** Milliseconds for a router or a peer on a busy machine. */
export const START_MS = 150_000;

/** Runs the same tests through both routers, each started once, on every serializer. */
export function describeWorlds(tests: (world: () => World, serializer: SerializerId) => void): void {
  describeThrough("our router", tests);
  describeWith("crossbar", "at the real Crossbar.io", () => describeThrough("Crossbar.io", tests));
}

function describeThrough(router: RouterName, tests: Parameters<typeof describeWorlds>[0]): void {
  describe(`through ${router}`, () => {
    let world: World;
    beforeAll(async () => {
      world = await startWorld(router);
    }, START_MS);
    afterAll(() => world.end(), START_MS);

    describe.each(serializers.map(({ id }) => id))("on %s", (serializer) => tests(() => world, serializer));
  });
}

/** Everybody joins as `relay`, who may do everything here. */
export async function startWorld(name: RouterName): Promise<World> {
  const keys = newKeyPair();
  // Crossbar.io does not tell which port it was given.
  const port = name === "our router" ? 0 : await freePort();
  const json = configJson(
    [`${TRANSPORT}.endpoint.port`, port],
    [`${PRINCIPALS}.relay.authorized_keys`, [keys.publicHex]],
    EVERYTHING,
  );
  const router = name === "our router" ? await startOurs(json) : await startTheirs(json, port);
  const recorder = await startRecorder(`ws://127.0.0.1:${router.port}/`);
  const seed = new Uint8Array(Buffer.from(keys.privateKey.export({ format: "jwk" }).d ?? "", "base64url"));
  return {
    url: recorder.url,
    seed,
    wasSeen: recorder.wasSeen,
    messages: recorder.messages,
    forget: recorder.forget,
    async join(serializer) {
      const session = await joinWamp({
        url: recorder.url,
        realm: "onionhook",
        authid: "relay",
        seed,
        tor: "none",
        isolation: "test",
        signal: new AbortController().signal,
        serializers: [serializerOf(serializer)],
      });
      onTestFinished(() => session.close());
      return session;
    },
    joinRaw: (serializer) => joinRaw(router.port, keys, serializer),
    async end() {
      await recorder.end();
      await router.end();
    },
  };
}

async function joinRaw(port: number, keys: KeyPair, serializer: SerializerId): Promise<RawClient> {
  const client = await RawClient.join({ host: "127.0.0.1", port }, "relay", keys, serializer);
  onTestFinished(() => client.end());
  return client;
}

async function startOurs(json: Json): Promise<{ port: number; end: () => Promise<void> }> {
  const router = await startRouter({ config: parseRouterConfig(json, "/nowhere"), report: () => {} });
  const [endpoint] = router.endpoints;
  if (!endpoint || !("port" in endpoint)) throw new TypeError("it listens on TCP");
  return { port: endpoint.port, end: () => router.close() };
}

async function startTheirs(json: Json, port: number): Promise<{ port: number; end: () => Promise<void> }> {
  const crossbar = await startCrossbar(json);
  return { port, end: () => crossbar.stop() };
}

/** Passes on every message, in order, and keeps it. */
async function startRecorder(target: string) {
  let frames: { from: Message["from"]; data: Buffer; protocol: string }[] = [];
  const server = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    handleProtocols: ([first]) => first ?? false,
  });
  await once(server, "listening");
  const upstreams = new Set<WebSocket>();
  server.on("connection", (client) => {
    const { protocol } = client;
    const upstream = new Client(target, protocol, { perMessageDeflate: false });
    upstreams.add(upstream);
    const opened = once(upstream, "open").catch(() => {});
    const pipe = (from: Message["from"], source: WebSocket, sink: WebSocket) => {
      source.on("message", (data: Buffer, binary) => {
        frames.push({ from, data, protocol });
        void opened.then(() => sink.send(data, { binary }));
      });
      source.on("error", () => {});
      source.on("close", () => sink.close());
    };
    pipe("client", client, upstream);
    pipe("router", upstream, client);
  });
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    url: `ws://127.0.0.1:${port}/`,
    wasSeen: (text: string) => frames.some(({ data }) => data.includes(text)),
    messages: () =>
      frames.map(({ from, data, protocol }) => ({
        from,
        list: serializerOf(protocol.slice("wamp.2.".length) as SerializerId).parse(data),
      })),
    forget: () => {
      frames = [];
    },
    async end() {
      for (const socket of [...upstreams, ...server.clients]) socket.terminate();
      server.close();
      await once(server, "close");
    },
  };
}
