/**
 * Dialling through Tor. Fail closed: names go to Tor as names, and when Tor is not there nothing is
 * dialled at all.
 */
import type net from "node:net";
import { SocksClient, type SocksClientOptions } from "socks";
import { OnionhookError, errnoCode } from "../errors.ts";
import { stopReason, withDeadline } from "./deadline.ts";
import { connectLocal, isLocalAddress, isPort, localAddressText, parseLocalAddress } from "./local-socket.ts";
import type { LocalAddress } from "./local-socket.ts";
import { METHOD_NONE, looksLikeSocks, readSocksAnswer, socksError } from "./socks-reply.ts";

/** Tor's SocksPort. */
export type SocksProxy = LocalAddress;

export interface DialOptions {
  /** A purpose: the same one shares a circuit, another gets its own. 1 to 255 bytes. */
  isolation?: string;
  /** Who is dialled, for errors: never an address. Default "the peer". */
  peer?: string;
  /** Milliseconds for the whole of it. Default {@link DIAL_TIMEOUT_MS}. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

/** Milliseconds: our torrc has Tor give up after 30 s or less (`SocksTimeout`), and Tor then says why. */
const DIAL_TIMEOUT_MS = 35_000;

/** Bytes of a host name, and of a password, in SOCKS5: their lengths are one byte (RFC 1928, 1929). */
const FIELD_BYTES = 255;

/**
 * SOCKS user name of every dial; the purpose is the password. It keeps our purposes from beginning
 * with `<torS0X>`, which Tor reserves for its own extensions (socks-extensions, "Stream isolation").
 */
const ISOLATION_USER = "onionhook";

/**
 * Reads the setting `tor`: `127.0.0.1:9050` or `unix:/run/tor/socks`.
 * @throws OnionhookError `ERR_TOR_ADDRESS`
 */
export function parseSocksProxy(text: string): SocksProxy {
  return parseLocalAddress(text, "tor", "socks");
}

/**
 * A stream through Tor to `host:port`. The socket has noDelay set and no listeners; bytes that came
 * with the proxy's answer are still in it. Attach listeners (or hand it to `ws`, `tls`) at once.
 *
 * @throws OnionhookError a code of the table in socks-reply.ts; `ERR_TOR_UNREACHABLE` when there is no
 *   Tor; `ERR_TOR_TIMEOUT`; `ERR_TOR_PROXY` when something other than Tor answers. When `signal`
 *   aborts, its reason is thrown.
 */
export async function dial(
  proxy: SocksProxy,
  host: string,
  port: number,
  options: DialOptions = {},
): Promise<net.Socket> {
  checkTarget(proxy, host, port, options.isolation);
  const { peer = "the peer" } = options;
  const limit = { timeoutMs: options.timeoutMs ?? DIAL_TIMEOUT_MS, signal: options.signal };
  const answer: Answer = { received: Buffer.alloc(0) };
  const late = () => (answer.received.length === 0 ? silent() : timedOut(peer));
  return withDeadline(limit, late, async (stop) => {
    const socket = await connectLocal(proxy, stop).catch((error: unknown) => {
      throw stop.aborted ? error : unreachable(proxy, error);
    });
    socket.setNoDelay(true);
    // The package's own time limit must not come first: its error says nothing.
    const request = { ...requestFor(proxy, host, port, options.isolation), timeout: 2 * limit.timeoutMs };
    await handshake(socket, { request, answer, peer, stop });
    return socket;
  });
}

function checkTarget(proxy: SocksProxy, host: string, port: number, isolation: string | undefined): void {
  if (!isLocalAddress(proxy)) throw new RangeError("proxy: expected an IP address with a port, or a path");
  if (host === "" || Buffer.byteLength(host) > FIELD_BYTES) throw new RangeError("host: 1 to 255 bytes");
  if (!isPort(port)) throw new RangeError("port: 1 to 65535");
  if (isolation !== undefined && (isolation === "" || Buffer.byteLength(isolation) > FIELD_BYTES)) {
    throw new RangeError("isolation: 1 to 255 bytes");
  }
}

/** The npm package wants a proxy's address even when the socket to it is given; it does not use it. */
function requestFor(proxy: SocksProxy, host: string, port: number, isolation?: string): SocksClientOptions {
  const where = "path" in proxy ? { host: "127.0.0.1", port: 1 } : proxy;
  const credential = isolation === undefined ? {} : { userId: ISOLATION_USER, password: isolation };
  return { command: "connect", destination: { host, port }, proxy: { type: 5, ...where, ...credential } };
}

/** What the proxy said so far. */
interface Answer {
  received: Buffer;
}

interface Handshake {
  request: SocksClientOptions;
  answer: Answer;
  peer: string;
  stop: AbortSignal;
}

/**
 * Lets SocksClient do the talking and reads the answer beside it, because SocksClient reports every
 * code of Tor's as the same error and, after success, emits and resumes the stream before anybody
 * listens to it. Destroys the socket when it fails.
 */
async function handshake(socket: net.Socket, { request, answer, peer, stop }: Handshake): Promise<void> {
  const onData = (chunk: Buffer): void => {
    answer.received = Buffer.concat([answer.received, chunk]);
  };
  const client = new SocksClient(request);
  try {
    await new Promise<void>((resolve, reject) => {
      // Before SocksClient's own listener, so that the answer is read when it reports anything.
      socket.on("data", onData);
      stop.addEventListener("abort", () => reject(stopReason(stop)), { once: true });
      client.on("error", () => reject(refusal(answer.received, peer)));
      client.connect(socket);
      // SocksClient's own listener here would emit and resume; we put the bytes back instead.
      client.removeAllListeners("established");
      client.once("established", () => {
        socket.off("data", onData);
        handOver(socket, answer.received);
        resolve();
      });
    });
    const { method, rest } = readSocksAnswer(answer.received);
    // SocksClient takes an address of any type, and then does not know where it ends.
    if (rest === undefined) throw notSocks();
    if (request.proxy.password !== undefined && method === METHOD_NONE) throw notIsolated();
  } catch (error) {
    // A late 'error' has nobody to go to once the socket is given up.
    socket.on("error", () => undefined);
    socket.destroy();
    throw error;
  } finally {
    client.removeAllListeners();
    client.on("error", () => undefined);
  }
}

/**
 * Puts back what came after the reply, and makes the stream neither paused nor flowing: a paused one
 * would never start under `ws`, a flowing one would lose bytes. Removing a 'readable' listener is
 * Node's way back to that state (nodejs.org/api/stream.html, "Three states"), provided that every
 * 'data' listener was removed by `off` before: `removeAllListeners` leaves a mark (Node 24.21).
 */
function handOver(socket: net.Socket, received: Buffer): void {
  const { rest } = readSocksAnswer(received);
  if (rest !== undefined && rest.length > 0) socket.unshift(rest);
  const nobody = (): void => undefined;
  socket.on("readable", nobody);
  socket.off("readable", nobody);
}

/** Why the handshake ended without a stream. */
function refusal(received: Buffer, peer: string): OnionhookError {
  const { code } = readSocksAnswer(received);
  if (code !== undefined && code !== 0) return socksError(code, peer);
  if (looksLikeSocks(received)) {
    return new OnionhookError("ERR_TOR_UNREACHABLE", "Tor closed the connection without an answer", {
      retryable: true,
      hint: "Is Tor shutting down or starting?",
    });
  }
  return notSocks();
}

function notSocks(): OnionhookError {
  return new OnionhookError("ERR_TOR_PROXY", "what answered does not speak SOCKS5 as Tor does", {
    hint: "Is this address really Tor's SocksPort?",
  });
}

function unreachable(proxy: SocksProxy, cause: unknown): OnionhookError {
  const where = `${localAddressText(proxy)} (${errnoCode(cause) ?? "unknown error"})`;
  return new OnionhookError("ERR_TOR_UNREACHABLE", `Tor's SOCKS proxy cannot be reached at ${where}`, {
    retryable: true,
    hint: "Is tor running, with a SocksPort at that address?",
    cause,
  });
}

/** Tor chooses a method at once; what it then needs time for is the circuit. */
function silent(): OnionhookError {
  return new OnionhookError("ERR_TOR_SILENT", "Tor's SOCKS proxy takes connections and says nothing", {
    retryable: true,
    hint: "Is this address really Tor's SocksPort? If so, tor hangs: restart it.",
  });
}

function timedOut(peer: string): OnionhookError {
  return new OnionhookError("ERR_TOR_TIMEOUT", `Tor gave no word about ${peer} in time`, {
    retryable: true,
    hint: "Is Tor's host online? Its log says how far it got.",
  });
}

function notIsolated(): OnionhookError {
  return new OnionhookError("ERR_TOR_PROXY", "the SOCKS proxy ignored the isolation credential", {
    hint: "Remove PreferSOCKSNoAuth from Tor's SocksPort: circuits would be shared between purposes.",
  });
}
