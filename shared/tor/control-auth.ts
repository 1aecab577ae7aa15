/**
 * SAFECOOKIE authentication: both sides prove that they can read Tor's cookie file, and neither shows
 * it to the other. Source: Tor's control-spec, AUTHCHALLENGE.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { OnionhookError } from "../errors.ts";
import type { Reply } from "./control-reply.ts";

/** Bytes of Tor's cookie file. */
export const COOKIE_BYTES = 32;
/** Bytes of our nonce; the protocol leaves the length to us, Tor's own is 32. */
export const NONCE_BYTES = 32;

/** HMAC keys of the two directions, as the protocol names them. */
const SERVER_TO_CLIENT = "Tor safe cookie authentication server-to-controller hash";
const CLIENT_TO_SERVER = "Tor safe cookie authentication controller-to-server hash";

/**
 * The path of the cookie file in the answer to PROTOCOLINFO.
 * @throws OnionhookError `ERR_TOR_CONTROL_AUTH` when Tor does not offer SAFECOOKIE
 */
export function cookiePath(protocolInfo: Reply): string {
  const auth = protocolInfo.find((line) => line.text.startsWith("AUTH "))?.text ?? "";
  const methods = /METHODS=(\S+)/.exec(auth)?.[1]?.split(",") ?? [];
  const quoted = /COOKIEFILE="((?:[^"\\]|\\.)*)"/.exec(auth)?.[1];
  if (!methods.includes("SAFECOOKIE") || quoted === undefined) {
    throw new OnionhookError(
      "ERR_TOR_CONTROL_AUTH",
      "Tor's control port does not offer cookie authentication",
      {
        hint: "Set CookieAuthentication 1 in torrc.",
      },
    );
  }
  return unquote(quoted);
}

/** C-style escapes of a QuotedString: `\"`, `\\`, `\n`, `\t`, `\r` and octal; the bytes are UTF-8. */
function unquote(text: string): string {
  const named: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };
  const latin1 = text.replace(/\\([0-7]{1,3}|.)/gs, (_, escape: string) =>
    /^[0-7]/.test(escape) ? String.fromCharCode(Number.parseInt(escape, 8)) : (named[escape] ?? escape),
  );
  return Buffer.from(latin1, "latin1").toString("utf8");
}

/**
 * Checks Tor's half of the exchange and computes ours.
 * @returns the argument of AUTHENTICATE, hexadecimal
 * @throws OnionhookError `ERR_TOR_CONTROL_AUTH` when the other side does not know the cookie: it is
 *   not the Tor that wrote it
 */
export function answerChallenge(cookie: Uint8Array, clientNonce: Uint8Array, challenge: Reply): string {
  const match = /SERVERHASH=([0-9A-F]{64}) SERVERNONCE=((?:[0-9A-F]{2})+)/i.exec(challenge[0].text);
  const serverHash = Buffer.from(match?.[1] ?? "", "hex");
  const message = Buffer.concat([cookie, clientNonce, Buffer.from(match?.[2] ?? "", "hex")]);
  const expected = createHmac("sha256", SERVER_TO_CLIENT).update(message).digest();
  if (serverHash.length !== expected.length || !timingSafeEqual(serverHash, expected)) {
    throw new OnionhookError("ERR_TOR_CONTROL_AUTH", "the control port does not know Tor's cookie", {
      hint: "Is another program listening there? If Tor just started, try again.",
      retryable: true,
    });
  }
  return createHmac("sha256", CLIENT_TO_SERVER).update(message).digest("hex");
}
