/** An edge behind a front door that answers by the SOCKS credential of a connection, and speaks the drain's beginning. */
import { once } from "node:events";
import { createServer, type IncomingMessage, STATUS_CODES } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type net from "node:net";
import type { Duplex } from "node:stream";
import nacl from "tweetnacl";
import { type WebSocket, WebSocketServer } from "ws";
import {
  DRAIN_SUBPROTOCOL,
  drainProof,
  HEARTBEAT,
  HEARTBEAT_ANSWER,
  parseToEdge,
  type ToEdge,
  type ToRelay,
} from "../../../shared/drain.ts";
import { selfSigned } from "../../shared/host/self-signed.ts";
import type { ExitProxy } from "./exit-proxy.ts";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

export interface Asked {
  credential: string | undefined;
  /** Path and query. */
  url: string;
  accept: string | undefined;
}

export interface FrontDoorParts {
  exit: ExitProxy;
  /** What to answer; undefined lets the relay in. */
  answer?: (asked: Asked) => Answer | undefined;
  /** The stream that the challenge names. */
  streamOf?: (asked: Asked) => string;
  /** What the relay sent, and a way to answer it. */
  onMessage?: (message: ToEdge, socket: WebSocket, asked: Asked) => void;
  /** Speaks TLS, with a certificate that proves nothing. */
  tls?: boolean;
  /** Of the welcome. */
  receipts?: boolean;
  may?: string[];
}

export interface FrontDoor {
  port: number;
  /** Every upgrade that was asked for, in order. */
  asked: Asked[];
  /** Every message of every relay, in order. */
  messages: ToEdge[];
  /** TCP connections, whether anything was asked on them or not. */
  connections(): number;
  sockets: Set<WebSocket>;
  close(): Promise<void>;
}

const challenge = Buffer.alloc(32, 7);

export function sendTo(socket: WebSocket, message: ToRelay): void {
  socket.send(JSON.stringify(message));
}

export async function startFrontDoor(parts: FrontDoorParts): Promise<FrontDoor> {
  const server = parts.tls === true ? createTlsServer(selfSigned) : createServer();
  const webSockets = new WebSocketServer({ noServer: true, handleProtocols: () => DRAIN_SUBPROTOCOL });
  const asked: Asked[] = [];
  const messages: ToEdge[] = [];
  let connections = 0;
  server.on("connection", () => (connections += 1));
  server.on("tlsClientError", () => undefined);
  server.on("upgrade", (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    stream.on("error", () => undefined);
    const one: Asked = {
      credential: parts.exit.credentialOf(request.socket.remotePort),
      url: request.url ?? "",
      accept: request.headers.accept,
    };
    asked.push(one);
    const answer = parts.answer?.(one);
    if (answer !== undefined) {
      stream.end(httpText(answer));
      return;
    }
    webSockets.handleUpgrade(request, stream, head, (socket) => {
      socket.on("message", (data: Buffer) => {
        if (data.toString() === HEARTBEAT) return socket.send(HEARTBEAT_ANSWER);
        const message = parseToEdge(data.toString());
        messages.push(message);
        if (message.type === "hello")
          sendTo(socket, { type: "welcome", receipts: parts.receipts ?? true, may: parts.may ?? [] });
        parts.onMessage?.(message, socket, one);
      });
      const name = parts.streamOf?.(one) ?? "builder";
      sendTo(socket, { type: "challenge", stream: name, challenge: challenge.toString("base64") });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    asked,
    messages,
    connections: () => connections,
    sockets: webSockets.clients,
    async close() {
      for (const socket of webSockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Whether the hello proves, for this host and stream, that the relay has the key of `seed`. */
export function proves(hello: ToEdge, seed: Uint8Array, host: string, stream: string): boolean {
  if (hello.type !== "hello") return false;
  const { publicKey } = nacl.sign.keyPair.fromSeed(seed);
  const signature = Buffer.from(hello.signature, "base64");
  return nacl.sign.detached.verify(drainProof(host, stream, challenge), signature, publicKey);
}

function httpText({ status, headers = {}, body = "" }: Answer): string {
  const all = { "content-length": String(Buffer.byteLength(body)), connection: "close", ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}`, ...lines, "", body].join("\r\n");
}
