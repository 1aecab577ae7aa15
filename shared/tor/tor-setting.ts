/** The keys `tor` and `tor_control` of relay.json and builder.json. */
import { OnionhookError } from "../errors.ts";
import { type LocalAddress, parseLocalAddress } from "./local-socket.ts";
import { parseSocksProxy, type SocksProxy } from "./socks.ts";

export interface TorSetting {
  /** `none`: loopback addresses only, dialled directly. */
  tor: SocksProxy | "none";
  /** That Tor's control port, if it may be asked how it fares. */
  torControl: LocalAddress | undefined;
}

/** @throws OnionhookError `ERR_TOR_ADDRESS`; `ERR_CONFIG` for the control port of a Tor that is not used */
export function parseTorSetting(tor: string, torControl: string | undefined): TorSetting {
  if (tor === "none" && torControl !== undefined) {
    throw new OnionhookError(
      "ERR_CONFIG",
      'tor_control: found the control port of a Tor, but with "tor": "none" none is used',
      { hint: "leave tor_control out, or name that Tor's SOCKS port in the key tor" },
    );
  }
  return {
    tor: tor === "none" ? "none" : parseSocksProxy(tor),
    torControl:
      torControl === undefined ? undefined : parseLocalAddress(torControl, "tor_control", "control"),
  };
}
