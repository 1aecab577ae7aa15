import { isIP } from "node:net";
import { OnionhookError } from "../errors.ts";
import { isOnionAddress } from "../tor/onion-keys.ts";
import { socksError } from "../tor/socks-reply.ts";

/** Tor's reply for an onion address that is none: the words are the same when we find it ourselves. */
const BAD_ONION_ADDRESS = 0xf6;

/**
 * What may be dialled, as far as URL and configuration alone decide it: asked at the start, and again before each dial.
 * @param isThroughTor false where the configuration's `tor` is `none`
 * @param name what has this URL, for errors: a setting, or "the edge"
 * @throws OnionhookError `ERR_NOT_LOOPBACK`; `ERR_PLAIN_WEBSOCKET`; `ERR_TOR_ONION_ADDRESS`
 */
export function checkUrl(url: string, isThroughTor: boolean, name: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === "ws+unix:" || isLoopback(hostname)) return;
  if (!isThroughTor) {
    throw new OnionhookError(
      "ERR_NOT_LOOPBACK",
      `without Tor only loopback addresses are dialled, and ${name} is elsewhere`,
      { hint: "name Tor's SOCKS port in the configuration's key tor" },
    );
  }
  if (hostname.endsWith(".onion")) {
    if (!isOnionAddress(hostname)) throw socksError(BAD_ONION_ADDRESS, name);
  } else if (protocol !== "wss:") {
    throw new OnionhookError(
      "ERR_PLAIN_WEBSOCKET",
      `ws:// is for onion services and loopback only, and ${name} is elsewhere`,
      { hint: "use wss://: an exit of Tor sees everything that is not encrypted" },
    );
  }
}

function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "[::1]") return true;
  return isIP(hostname) === 4 && hostname.startsWith("127.");
}
