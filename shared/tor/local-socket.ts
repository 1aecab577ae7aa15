/**
 * Sockets to a Tor process beside us: a unix socket or an address. Nothing else is ever connected to
 * directly from this folder; names are refused, so that no name is ever looked up here.
 */
import net from "node:net";
import { OnionhookError } from "../errors.ts";
import { stopReason } from "./deadline.ts";

/** Where a local port of Tor listens: an IP address and TCP port, or the path of a unix socket. */
export type LocalAddress = { host: string; port: number } | { path: string };

const EXPECTED = {
  socks: 'Write an IP address and a port such as "127.0.0.1:9050", or "unix:/run/tor/socks".',
  control: 'Write an IP address and a port such as "127.0.0.1:9051", or "unix:/run/tor/control".',
};

/**
 * Reads `127.0.0.1:9050`, `[::1]:9050`, `localhost:9050` or `unix:/run/tor/socks`.
 * @param field names the value in the error: the setting that it came from
 * @param port which of Tor's it is, for the example in the error
 * @throws OnionhookError `ERR_TOR_ADDRESS` with what was found and what was expected
 */
export function parseLocalAddress(text: string, field: string, port: keyof typeof EXPECTED): LocalAddress {
  if (text.startsWith("unix:/")) return { path: text.slice("unix:".length) };
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^:]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = match?.v6 ?? (match?.v4 === "localhost" ? "127.0.0.1" : match?.v4) ?? "";
  const address = { host, port: Number(match?.port) };
  if (!isLocalAddress(address)) {
    throw new OnionhookError("ERR_TOR_ADDRESS", `${field} is ${JSON.stringify(text)}`, {
      hint: EXPECTED[port],
    });
  }
  return address;
}

/** Whether the address can be connected to without looking up a name. */
export function isLocalAddress(address: LocalAddress): boolean {
  if ("path" in address) return address.path.startsWith("/");
  return net.isIP(address.host) !== 0 && isPort(address.port);
}

/** Whether it is a TCP port that can be connected to: 1 to 65535. */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/** The address as {@link parseLocalAddress} reads it. */
export function localAddressText(address: LocalAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  return net.isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/**
 * A connected socket with no listeners on it. Rejects with Node's own system error, or with
 * `stop.reason`.
 */
export function connectLocal(address: LocalAddress, stop: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = "path" in address ? net.connect(address.path) : net.connect(address);
    const settle = (finish: () => void): void => {
      socket.removeAllListeners();
      stop.removeEventListener("abort", onAbort);
      finish();
    };
    const onAbort = (): void => {
      settle(() => reject(stopReason(stop)));
      socket.destroy();
    };
    socket.once("connect", () => settle(() => resolve(socket)));
    socket.once("error", (error) => settle(() => reject(error)));
    if (stop.aborted) onAbort();
    else stop.addEventListener("abort", onAbort, { once: true });
  });
}
