/**
 * WebSockets through Tor, for the drain and for WAMP. Fail closed: without a SOCKS proxy only loopback
 * and unix sockets are dialled, and only when the configuration says `"tor": "none"`.
 */
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { OnionhookError } from "../errors.ts";
import { dial, type SocksProxy } from "../tor/socks.ts";

export interface WebSocketTarget {
  url: string;
  /** Subprotocols, the preferred one first; the server must choose one. */
  protocols: string[];
  /** Tor's SOCKS port; `none` is the spoken choice to dial directly, on loopback only. */
  tor: SocksProxy | "none";
  /** Connections with the same name may share a Tor circuit; others never do. */
  isolation: string;
  /** Largest message taken, in bytes. */
  maxMessageBytes: number;
  signal: AbortSignal;
}

/** From the first byte to the upgrade's end; a new circuit to an onion service takes seconds at worst. */
const HANDSHAKE_MS = 30_000;
/** A silent peer is noticed after at most two of these. Pings do not wake a hibernating edge. */
const PING_MS = 10_000;

/**
 * Resolves with an open WebSocket that is kept alive by pings and ended when they stay unanswered. It is
 * paused, since a server may speak first: attach listeners, then `resume()`.
 * @throws OnionhookError of shared/tor/socks.ts; `ERR_NOT_LOOPBACK`; `ERR_PLAIN_WEBSOCKET`; `ERR_UPGRADE` with the HTTP status
 * when the server answered something else than an upgrade; `ERR_UNREACHABLE`.
 */
export async function openWebSocket(target: WebSocketTarget): Promise<WebSocket> {
  const { url, protocols, maxMessageBytes, signal } = target;
  signal.throwIfAborted();
  const through = await dialFor(target);
  const { protocol, hostname } = new URL(url);
  const stream = protocol === "wss:" ? connectTls({ socket: through, servername: hostname }) : through;
  const socket = new WebSocket(url, protocols, {
    createConnection: () => stream,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    followRedirects: false,
  });
  await opened(socket, signal);
  keepAlive(socket, () => through.bytesRead);
  return socket;
}

/** The stream below TLS and WebSocket: through Tor, or, where that is the choice, to this machine only. */
async function dialFor({ url, tor, isolation, signal }: WebSocketTarget): Promise<Socket> {
  const { protocol, hostname, port, pathname } = new URL(url);
  // ws's form of a unix socket is ws+unix:PATH:/REQUEST.
  if (protocol === "ws+unix:") return connect({ path: pathname.split(":")[0] ?? "" });
  const secure = protocol === "wss:";
  const portNumber = Number(port) || (secure ? 443 : 80);
  const local = isLoopback(hostname);
  if (tor === "none" && !local) {
    throw new OnionhookError("ERR_NOT_LOOPBACK", "without Tor only loopback addresses are dialled", {
      hint: "name Tor's SOCKS port in the configuration's key tor",
    });
  }
  if (!secure && !local && !hostname.endsWith(".onion")) {
    throw new OnionhookError("ERR_PLAIN_WEBSOCKET", "ws:// is for onion services and loopback only", {
      hint: "use wss://: an exit of Tor sees everything that is not encrypted",
    });
  }
  if (tor !== "none") return dial(tor, hostname, portNumber, { isolation, signal });
  return connect({ host: hostname.replace(/^\[|\]$/g, ""), port: portNumber, noDelay: true });
}

function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "[::1]") return true;
  return isIP(hostname) === 4 && hostname.startsWith("127.");
}

function opened(socket: WebSocket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: OnionhookError) => {
      finish();
      socket.on("error", () => {});
      socket.terminate();
      reject(error);
    };
    const onAbort = () =>
      fail(new OnionhookError("ERR_STOPPED", "stopped while connecting", { retryable: true }));
    const timer = setTimeout(
      () =>
        fail(
          new OnionhookError("ERR_UNREACHABLE", "the server did not answer the upgrade in time", {
            retryable: true,
          }),
        ),
      HANDSHAKE_MS,
    );
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
    };
    signal.addEventListener("abort", onAbort);
    socket.once("open", () => {
      finish();
      socket.pause();
      // Closing follows an error by itself, and `close` is what owners listen to.
      socket.on("error", () => {});
      resolve();
    });
    socket.once("unexpected-response", (_request, response) => {
      const status = response.statusCode ?? 0;
      fail(
        new OnionhookError("ERR_UPGRADE", `the server answered ${status} instead of a WebSocket`, {
          hint: "check the URL, and that nothing in between blocks WebSockets",
          retryable: true,
        }),
      );
    });
    socket.once("error", (cause) => {
      fail(
        new OnionhookError("ERR_UNREACHABLE", "the WebSocket could not be opened", {
          retryable: true,
          cause,
        }),
      );
    });
  });
}

/** A peer lives while it sends anything, or takes what we send: a pong may wait behind both. */
function keepAlive(socket: WebSocket, bytesRead: () => number): void {
  let read = bytesRead();
  let unsent = 0;
  let pinged = false;
  const timer = setInterval(() => {
    const alive = bytesRead() > read || socket.bufferedAmount < unsent;
    if (pinged && !alive) return socket.terminate();
    read = bytesRead();
    unsent = socket.bufferedAmount;
    pinged = true;
    socket.ping();
  }, PING_MS);
  socket.once("close", () => clearInterval(timer));
}
