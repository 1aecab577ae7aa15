/**
 * WebSockets through Tor, for the drain and for WAMP. Fail closed: without a SOCKS proxy only this machine is
 * dialled, and only when the configuration says `"tor": "none"`. A unix socket is this machine, with or without Tor.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { errnoCode, OnionhookError } from "../errors.ts";
import { dial, type SocksProxy } from "../tor/socks.ts";
import { SLOW_CIRCUIT, watchUpload } from "./upload.ts";
import { checkUrl } from "./websocket-url.ts";

export interface WebSocketTarget {
  url: string;
  /** Who is reached there, for errors: "the edge", "the router". */
  peer: string;
  /** Subprotocols, the preferred one first; the server must choose one. */
  protocols: string[];
  /** Tor's SOCKS port; `none` is the spoken choice to dial directly, on loopback only. */
  tor: SocksProxy | "none";
  /** Connections with the same name may share a Tor circuit; others never do. */
  isolation: string;
  /** Largest message taken, in bytes. */
  maxMessageBytes: number;
  /** HTTP headers of the upgrade beside WebSocket's own. */
  headers?: Readonly<Record<string, string>>;
  /** How the peer is asked whether it lives. Default {@link PINGS}. */
  heartbeat?: Heartbeat;
  signal: AbortSignal;
}

export interface Heartbeat {
  /** The text frame to send; a protocol ping when left out. */
  text?: string;
  /** Milliseconds from one to the next, and to the first; at least `answerMs`. */
  everyMs: number;
  /**
   * Milliseconds in which the peer must send a whole frame, or {@link LEAST_BYTES} of one: else the socket is ended.
   * They end no earlier than that long after a circuit of `leastBytesPerS` would have carried what we sent.
   */
  answerMs: number;
  /** Default {@link SLOW_CIRCUIT}. */
  leastBytesPerS?: number;
}

/** An HTTP answer that is not an upgrade. */
export interface HttpAnswer {
  status: number;
  headers: Readonly<IncomingHttpHeaders>;
  /** Its first bytes, at most {@link ANSWER_BYTES}: to be classified, never to be shown. */
  body: string;
}

/** `ERR_UPGRADE`. The message has nothing of the answer but its status. */
export class UpgradeRefused extends OnionhookError {
  /** Private, so that printing the error does not print the body. */
  readonly #answer: HttpAnswer;

  constructor(peer: string, answer: HttpAnswer) {
    super("ERR_UPGRADE", `${peer} answered ${answer.status} instead of a WebSocket`, {
      hint: "check the URL, and that nothing in between blocks WebSockets",
      retryable: true,
    });
    this.#answer = answer;
  }

  get answer(): HttpAnswer {
    return this.#answer;
  }
}

/** From the first byte to the upgrade's end; a new circuit to an onion service takes seconds at worst. */
const HANDSHAKE_MS = 30_000;
/** A silent peer is noticed within 20 s. Pings do not wake a hibernating edge. */
const PINGS: Heartbeat = { everyMs: 10_000, answerMs: 10_000 };
/** Bytes a heartbeat. The slowest circuit that is of any use carries ten times as many; what only trickles is dead. */
const LEAST_BYTES = 1024;
/** Bytes: an error page names its code near its beginning. */
const ANSWER_BYTES = 4096;
const UNREACHABLE_HINT = "check that it runs, and the host and port of its URL";
/** Milliseconds for these bytes after the headers; what has come by then is enough. */
const ANSWER_MS = 2000;

/**
 * Resolves with an open WebSocket that is kept alive by its heartbeat and ended when that stays unanswered. It
 * is paused, since a server may speak first: attach listeners, then `resume()`.
 * @throws OnionhookError of shared/tor/socks.ts; of websocket-url.ts; {@link UpgradeRefused}
 * when the server answered something else than an upgrade; `ERR_CERTIFICATE` when it did not prove its name;
 * `ERR_TLS` when it speaks no TLS that we take; `ERR_UNREACHABLE`.
 */
export async function openWebSocket(target: WebSocketTarget): Promise<WebSocket> {
  const { url, peer, protocols, maxMessageBytes, headers, heartbeat = PINGS, signal } = target;
  signal.throwIfAborted();
  const through = await dialFor(target);
  const { protocol, hostname } = new URL(url);
  const stream = protocol === "wss:" ? connectTls({ socket: through, servername: hostname }) : through;
  const socket = new WebSocket(url, protocols, {
    createConnection: () => stream,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    followRedirects: false,
    ...(headers && { headers }),
  });
  await opened(socket, stream, peer, signal);
  const carriedBy = watchUpload(stream, heartbeat.leastBytesPerS ?? SLOW_CIRCUIT);
  keepAlive(socket, { bytesRead: () => through.bytesRead, carriedBy }, heartbeat);
  return socket;
}

/** The stream below TLS and WebSocket: through Tor, or, where that is the choice, to this machine only. */
async function dialFor({ url, peer, tor, isolation, signal }: WebSocketTarget): Promise<Socket> {
  checkUrl(url, tor !== "none", peer);
  const { protocol, hostname, port, pathname } = new URL(url);
  // ws's form of a unix socket is ws+unix:PATH:/REQUEST.
  if (protocol === "ws+unix:") return connect({ path: pathname.split(":")[0] ?? "" });
  const portNumber = Number(port) || (protocol === "wss:" ? 443 : 80);
  if (tor !== "none") return dial(tor, hostname, portNumber, { peer, isolation, signal });
  // No name is looked up, not even this one.
  const host = hostname === "localhost" ? "127.0.0.1" : hostname.replace(/^\[|\]$/g, "");
  return connect({ host, port: portNumber, noDelay: true });
}

function opened(socket: WebSocket, stream: Socket, peer: string, signal: AbortSignal): Promise<void> {
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
          new OnionhookError("ERR_UNREACHABLE", `${peer} did not answer the upgrade in time`, {
            hint: UNREACHABLE_HINT,
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
      void beginning(response).then((body) => {
        fail(new UpgradeRefused(peer, { status: response.statusCode ?? 0, headers: response.headers, body }));
      });
    });
    socket.once("error", (cause) => fail(connectionError(stream, peer, cause)));
  });
}

/** What has come of the body when there is enough, or no more, or no more time. Never rejects. */
function beginning(response: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    let received = Buffer.alloc(0);
    const finish = () => {
      clearTimeout(timer);
      resolve(received.subarray(0, ANSWER_BYTES).toString("utf8"));
    };
    const timer = setTimeout(finish, ANSWER_MS);
    response.on("data", (chunk: Buffer) => {
      if (received.length < ANSWER_BYTES) received = Buffer.concat([received, chunk]);
      if (received.length >= ANSWER_BYTES) finish();
    });
    response.on("error", finish);
    response.on("close", finish);
  });
}

/** Why there was no HTTP answer at all. */
function connectionError(stream: Socket, peer: string, cause: unknown): OnionhookError {
  const code = errnoCode(cause) ?? "unknown";
  // Set by Node when the certificate did not hold (nodejs.org/api/tls.html, tlsSocket.authorizationError).
  if (stream instanceof TLSSocket && stream.authorizationError) {
    return new OnionhookError("ERR_CERTIFICATE", `${peer} did not prove its name (${code})`, {
      hint: "if it stays on other circuits of Tor, check the URL's host, its certificate, and this machine's clock; else an exit was lying",
      retryable: true,
      cause,
    });
  }
  if (code === "EPROTO" || code.startsWith("ERR_SSL_")) {
    return new OnionhookError("ERR_TLS", `${peer} and we could not agree on TLS (${code})`, {
      hint: "check the URL's host and port; an exit of Tor that meddles ends so, too",
      retryable: true,
      cause,
    });
  }
  return new OnionhookError("ERR_UNREACHABLE", `the WebSocket to ${peer} could not be opened (${code})`, {
    hint: UNREACHABLE_HINT,
    retryable: true,
    cause,
  });
}

/** A peer lives while it sends; its answer may wait behind what it sends, and behind what we do. */
function keepAlive(
  socket: WebSocket,
  { bytesRead, carriedBy }: { bytesRead: () => number; carriedBy: () => number },
  heartbeat: Heartbeat,
): void {
  const { text, everyMs, answerMs } = heartbeat;
  let frames = 0;
  const onFrame = () => void (frames += 1);
  for (const event of ["message", "ping", "pong"]) socket.on(event, onFrame);
  const beat = () => {
    const before = { frames, read: bytesRead() };
    if (text === undefined) socket.ping();
    else socket.send(text);
    const judge = () => {
      const hasSent = frames > before.frames || bytesRead() - before.read >= LEAST_BYTES;
      const leftMs = carriedBy() + answerMs - performance.now();
      if (!hasSent && leftMs <= 0) return socket.terminate();
      timer = hasSent ? setTimeout(beat, everyMs - answerMs) : setTimeout(judge, leftMs);
    };
    timer = setTimeout(judge, answerMs);
  };
  let timer = setTimeout(beat, everyMs);
  socket.once("close", () => clearTimeout(timer));
}
