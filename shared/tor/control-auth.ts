/**
 * SAFECOOKIE authentication: both sides prove that they can read Tor's cookie file, and neither shows
 * it to the other. Source: Tor's control-spec, PROTOCOLINFO and AUTHCHALLENGE.
 *
 * Nothing less is taken. Without it we would not know that the other side is Tor, and what we send may be an onion
 * service's secret key.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { open } from "node:fs/promises";
import { OnionhookError, errnoCode } from "../errors.ts";
import type { Reply } from "./control-reply.ts";

/** Bytes of Tor's cookie file. */
const COOKIE_BYTES = 32;
/** Bytes of our nonce; the protocol leaves the length to us, Tor's own is 32. */
export const NONCE_BYTES = 32;

/** HMAC keys of the two directions, as the protocol names them. */
const SERVER_TO_CLIENT = "Tor safe cookie authentication server-to-controller hash";
const CLIENT_TO_SERVER = "Tor safe cookie authentication controller-to-server hash";

/**
 * The path of the cookie file in the answer to PROTOCOLINFO, as bytes: it need not be UTF-8.
 * @throws OnionhookError `ERR_TOR_CONTROL_AUTH` when Tor does not offer SAFECOOKIE
 */
export function cookiePath(protocolInfo: Reply): Buffer {
  const auth = protocolInfo.find((line) => line.text.startsWith("AUTH "))?.text ?? "";
  const found = /^AUTH METHODS=(?<methods>[^\s"]+)(?: COOKIEFILE="(?<file>(?:[^"\\]|\\.)*)")?/s.exec(auth);
  const methods = found?.groups?.["methods"]?.split(",") ?? [];
  const quoted = found?.groups?.["file"];
  if (!methods.includes("SAFECOOKIE") || quoted === undefined) throw notOffered(methods);
  const path = unquote(quoted);
  // A path that is not absolute would be one of ours, not Tor's.
  if (path?.[0] !== "/".charCodeAt(0) || path.includes(0)) throw badCookie("its path is not an absolute one");
  return path;
}

function notOffered(methods: readonly string[]): OnionhookError {
  const isOpen = methods.includes("NULL");
  return new OnionhookError(
    "ERR_TOR_CONTROL_AUTH",
    isOpen
      ? "Tor's control port lets anybody in, and so proves nothing"
      : "Tor's control port does not offer cookie authentication",
    { hint: "Set CookieAuthentication 1 in torrc, and reload Tor." },
  );
}

/** C-style escapes of a QuotedString: `\"`, `\\`, `\n`, `\t`, `\r` and octal. Undefined when one is no byte. */
function unquote(text: string): Buffer | undefined {
  const named: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };
  const latin1 = text.replace(/\\([0-7]{1,3}|.)/gs, (_, escape: string) =>
    /^[0-7]/.test(escape) ? String.fromCharCode(Number.parseInt(escape, 8)) : (named[escape] ?? escape),
  );
  const bytes = Buffer.from(latin1, "latin1");
  return bytes.toString("latin1") === latin1 ? bytes : undefined;
}

/**
 * Reads the cookie. Whoever answered named the path: it may lead to a pipe, a device or a file without end.
 * @throws OnionhookError `ERR_TOR_CONTROL_AUTH`, retryable
 */
export async function readCookie(path: Buffer): Promise<Buffer> {
  const opening = open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const file = await opening.catch((cause: unknown) => {
    throw badCookie(errnoCode(cause) ?? "unknown error", cause);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw badCookie("it is no file");
    if (!isKeptFromStrangers(stat))
      throw badCookie("everybody may read it, or it is of another user and group");
    if (stat.size !== COOKIE_BYTES) throw badCookie(`${stat.size} bytes instead of ${COOKIE_BYTES}`);
    return (await file.read(Buffer.alloc(COOKIE_BYTES), 0, COOKIE_BYTES, 0)).buffer;
  } finally {
    await file.close();
  }
}

/**
 * Tor shows its cookie to its own user and at most to its group, never to everybody. Whoever listens at Tor's port while
 * Tor is away names the file, and would pass for Tor with any whose bytes it knows, or has written itself. Who is in
 * this user's groups still can.
 */
function isKeptFromStrangers({ mode, uid, gid }: Stats): boolean {
  const isOpen = (mode & constants.S_IRWXO) !== 0;
  const isOurs =
    uid === process.geteuid?.() || gid === process.getegid?.() || process.getgroups?.().includes(gid);
  return !isOpen && isOurs === true;
}

function badCookie(what: string, cause?: unknown): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_AUTH", `Tor's cookie file cannot be used: ${what}`, {
    hint: "This user must be able to read Tor's CookieAuthFile: CookieAuthFileGroupReadable 1 in torrc, and this user in Tor's group.",
    // A Tor that is just starting writes it a moment after it listens.
    retryable: true,
    cause,
  });
}

/**
 * Checks Tor's half of the exchange and computes ours.
 * @returns the argument of AUTHENTICATE, hexadecimal
 * @throws OnionhookError `ERR_TOR_CONTROL_AUTH` when the other side does not know the cookie: it is
 *   not the Tor that wrote it
 */
export function answerChallenge(cookie: Uint8Array, clientNonce: Uint8Array, challenge: Reply): string {
  const match = /^AUTHCHALLENGE SERVERHASH=([0-9A-F]{64}) SERVERNONCE=((?:[0-9A-F]{2})+)$/i.exec(
    challenge[0].text,
  );
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
