import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import { dirname } from "node:path";
import { WebSocketServer, type ServerOptions } from "ws";
import { errnoCode, OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { serializerFor, type Serializer } from "../shared/wamp/serializers.ts";
import type { Backlogs } from "./backlog.ts";
import type { Clock } from "./clock.ts";
import type { EndpointConfig, TransportConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import type { Principals } from "./principals.ts";
import type { Realm } from "./realm.ts";
import { clearStaleSocket, restrictSocket } from "./unix-socket.ts";

/** Milliseconds from a client's connecting to its WELCOME: circuits are built by then, keys are at hand. */
const JOIN_DEADLINE = 10_000;

/** Milliseconds for a client to answer our close frame, through a slow circuit too. */
const CLOSE_DEADLINE = 5_000;

/**
 * Pieces of one message. Each may keep in memory what came beside it, 64 KiB: 128 MiB in all. Those of the largest
 * message may be 32 KiB.
 */
const MOST_FRAGMENTS = 2_048;

/** Milliseconds that leaving clients get when the router itself goes away. */
const SHUTDOWN_GRACE = 1_000;

export type Endpoint = { readonly host: string; readonly port: number } | { readonly path: string };

type UnixEndpoint = Extract<EndpointConfig, { type: "unix" }>;
type TcpEndpoint = Extract<EndpointConfig, { type: "tcp" }>;

export interface ListenerParts {
  readonly transport: TransportConfig;
  readonly realms: ReadonlyMap<string, Realm>;
  readonly backlogs: Backlogs;
  readonly clock: Clock;
  readonly report: Report;
}

export interface Listener {
  readonly endpoint: Endpoint;
  /** From now on these may join, and nobody else stays. */
  setPrincipals(principals: Principals): void;
  close(): Promise<void>;
}

/**
 * Listens on one endpoint and serves WAMP over WebSocket there, on any path.
 *
 * @throws OnionhookError `ERR_ROUTER_ENDPOINT` when it cannot listen there.
 */
export async function startListener(parts: ListenerParts): Promise<Listener> {
  const { transport, realms, backlogs, clock, report } = parts;
  const server = createServer((_request, response) => {
    response
      .writeHead(426, { "content-type": "text/plain", upgrade: "websocket" })
      .end("WAMP over WebSocket\n");
  });
  // `closeTimeout` is in ws 8.19 and later, not yet in its types.
  const options: ServerOptions & { closeTimeout: number } = {
    server,
    maxPayload: transport.maxMessageBytes,
    maxFragments: MOST_FRAGMENTS,
    // Compressed next to secret, sizes tell about content; and sealed bytes do not compress.
    perMessageDeflate: false,
    closeTimeout: CLOSE_DEADLINE,
    handleProtocols: (offered) => chooseSerializer([...offered], transport)?.protocol ?? false,
    verifyClient: ({ req }, answer) => {
      if (chooseSerializer(offeredProtocols(req), transport) === undefined) answer(false, 400);
      else answer(true);
    },
  };
  const wss = new WebSocketServer(options);
  // It repeats the server's errors, which `listen` already answers; unheard they would end the process.
  wss.on("error", () => {});
  const connections = new Set<Connection>();
  let { principals } = transport;
  const deadlines = startJoinDeadlines(server, clock);
  if (transport.maxConnections !== undefined) server.maxConnections = transport.maxConnections;

  wss.on("connection", (ws, { socket }) => {
    const serializer = serializerFor(ws.protocol);
    if (serializer === undefined) return ws.terminate();
    const connection = new Connection({
      ws,
      socket,
      serializer,
      transport,
      principals: () => principals,
      realms,
      backlogs,
      clock,
      report,
      joined: () => deadlines.met(socket),
    });
    connections.add(connection);
    ws.once("close", () => connections.delete(connection));
  });

  const endpoint = await listen(server, transport.endpoint);
  return {
    endpoint,
    setPrincipals(changed) {
      principals = changed;
      for (const connection of connections) connection.recheck();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of connections) connection.shutDown();
      const cancel = clock.after(SHUTDOWN_GRACE, () => deadlines.destroyAll());
      server.closeIdleConnections();
      await closed;
      cancel();
    },
  };
}

function chooseSerializer(
  offered: readonly string[],
  { serializers }: TransportConfig,
): { protocol: string; serializer: Serializer } | undefined {
  for (const protocol of offered) {
    const serializer = serializerFor(protocol);
    if (serializer !== undefined && serializers.includes(serializer.id)) return { protocol, serializer };
  }
  return undefined;
}

function offeredProtocols({ headers }: IncomingMessage): string[] {
  return (headers["sec-websocket-protocol"] ?? "").split(",").map((protocol) => protocol.trim());
}

/** Ends every connection that has not joined in time, whatever it was doing. */
function startJoinDeadlines(server: Server, clock: Clock) {
  const sockets = new Map<Socket, () => void>();
  server.on("connection", (socket: Socket) => {
    sockets.set(
      socket,
      clock.after(JOIN_DEADLINE, () => socket.destroy()),
    );
    socket.once("close", () => {
      sockets.get(socket)?.();
      sockets.delete(socket);
    });
  });
  return {
    met: (socket: Socket) => sockets.get(socket)?.(),
    destroyAll: () => {
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}

async function listen(server: Server, endpoint: EndpointConfig): Promise<Endpoint> {
  try {
    return endpoint.type === "unix"
      ? await listenOnPath(server, endpoint)
      : await listenOnPort(server, endpoint);
  } catch (error) {
    server.close();
    throw error instanceof OnionhookError ? error : cannotListen(error, endpoint);
  }
}

async function listenOnPath(server: Server, { path }: UnixEndpoint): Promise<Endpoint> {
  await clearStaleSocket(path);
  server.listen(path);
  await once(server, "listening");
  await restrictSocket(path);
  return { path };
}

async function listenOnPort(server: Server, { host, port }: TcpEndpoint): Promise<Endpoint> {
  server.listen(port, host);
  await once(server, "listening");
  const address = server.address();
  return { host, port: typeof address === "object" && address !== null ? address.port : port };
}

function cannotListen(error: unknown, endpoint: EndpointConfig): OnionhookError {
  const where = endpoint.type === "unix" ? endpoint.path : `${endpoint.host} port ${endpoint.port}`;
  // libuv says EACCES for it.
  if (endpoint.type === "unix" && !existsSync(dirname(endpoint.path))) {
    return new OnionhookError(
      "ERR_ROUTER_ENDPOINT",
      `the router cannot listen on ${where}: the folder ${dirname(endpoint.path)} does not exist`,
      { hint: "Make it: docs/onion.md, step 1 of the service.", cause: error },
    );
  }
  const code = errnoCode(error) ?? "unknown error";
  return new OnionhookError("ERR_ROUTER_ENDPOINT", `the router cannot listen on ${where}: ${code}`, {
    hint:
      endpoint.type === "unix"
        ? "Let this user write in the socket's folder, or choose another path in the router's configuration."
        : "Choose another endpoint in the router's configuration, or end the process that has this one.",
    cause: error,
  });
}
