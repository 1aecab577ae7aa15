/**
 * What a SOCKS5 proxy answered: where its reply ends, and what Tor means by each reply code.
 *
 * Sources: RFC 1928 (frames, codes 01–08), RFC 1929 (password), Tor's proposal 304 (codes F0–F7,
 * given only on a SocksPort with `ExtendedErrors`), tor(1).
 */
import { OnionhookError } from "../errors.ts";

/** What the bytes received so far say. A field is absent while its byte has not come. */
export interface SocksAnswer {
  /** The authentication method that the proxy chose. */
  method?: number;
  /** The reply code of CONNECT; 0 is success. */
  code?: number;
  /** What followed the reply: the first bytes of the stream itself. */
  rest?: Buffer;
}

/** Method 0: the proxy wants no user name, and so sees no isolation credential. */
export const METHOD_NONE = 0;
/** Method 2: user name and password; its answer is two more bytes before the reply. */
const METHOD_PASSWORD = 2;
const VERSION = 5;
/** Bytes of the method choice, and of the answer to a password. */
const CHOICE_BYTES = 2;
/** Bytes of a reply before its address (version, code, reserved, ATYP), and of the port after it. */
const HEAD_BYTES = 4;
const PORT_BYTES = 2;

/**
 * Reads everything a proxy sent since the connection began: method choice, answer to a password if
 * that was chosen, reply. Pure; called again with more bytes until `rest` is there.
 *
 * Tor answers with ATYP 1 on a TCP SocksPort and with ATYP 4 on a unix one, so the reply has no
 * fixed length.
 */
export function readSocksAnswer(bytes: Buffer): SocksAnswer {
  const method = bytes[1];
  if (bytes[0] !== VERSION || method === undefined) return {};
  const reply = bytes.subarray(method === METHOD_PASSWORD ? 2 * CHOICE_BYTES : CHOICE_BYTES);
  const code = reply[1];
  if (code === undefined) return { method };
  const end = replyBytes(reply);
  if (end === undefined || reply.length < end) return { method, code };
  return { method, code, rest: reply.subarray(end) };
}

/** Whether the bytes so far could be the beginning of an answer of Tor's. */
export function looksLikeSocks(bytes: Buffer): boolean {
  const [version = VERSION, method = METHOD_NONE, , passwordStatus = 0] = bytes;
  if (version !== VERSION) return false;
  return method === METHOD_NONE || (method === METHOD_PASSWORD && passwordStatus === 0);
}

/** The length of a reply, told by its ATYP: IPv4, name (after a length byte), IPv6. */
function replyBytes(reply: Buffer): number | undefined {
  const type = reply[3];
  const nameLength = reply[4];
  if (type === 1) return HEAD_BYTES + 4 + PORT_BYTES;
  if (type === 4) return HEAD_BYTES + 16 + PORT_BYTES;
  if (type === 3 && nameLength !== undefined) return HEAD_BYTES + 1 + nameLength + PORT_BYTES;
  return undefined;
}

interface Meaning {
  code: `ERR_TOR_${string}`;
  /** `peer`: who was to be reached, e.g. "the router". */
  message: (peer: string) => string;
  retryable: boolean;
  hint: string;
}

const WAIT = "Tried again by itself; if it stays, look at Tor's log.";
const NOT_TOR = "Is this address really Tor's SocksPort?";

/** Every reply code that Tor gives, and what it means for us. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  // Also what Tor says when it has no better word: an exit that is full, a circuit that broke.
  0x01: {
    code: "ERR_TOR_REFUSED",
    message: (peer) => `the connection to ${peer} failed, on its way or at its far end`,
    retryable: true,
    hint: "Is the program behind the onion service (or at that address) running?",
  },
  0x02: {
    code: "ERR_TOR_NOT_ALLOWED",
    message: (peer) => `no exit of this Tor network allows the address of ${peer}`,
    retryable: false,
    hint: "Check host and port, and the exit policies.",
  },
  0x03: {
    code: "ERR_TOR_HOST_UNREACHABLE",
    message: (peer) => `the network of ${peer} cannot be reached`,
    retryable: true,
    hint: WAIT,
  },
  0x04: {
    code: "ERR_TOR_HOST_UNREACHABLE",
    message: (peer) => `the host of ${peer} cannot be found or reached`,
    retryable: true,
    hint: "Check the host's name; for an onion service, ExtendedErrors on Tor's SocksPort tells more.",
  },
  0x05: {
    code: "ERR_TOR_REFUSED",
    message: (peer) => `the connection to ${peer} was refused: closed port`,
    retryable: true,
    hint: "Does the onion service have that virtual port, and is its program running?",
  },
  0x06: {
    code: "ERR_TOR_TIMEOUT",
    message: (peer) => `Tor found no circuit to ${peer} in time`,
    retryable: true,
    hint: "Is Tor's host online? Its log says how far it got.",
  },
  0x07: {
    code: "ERR_TOR_PROXY",
    message: () => "the SOCKS proxy does not support CONNECT",
    retryable: false,
    hint: NOT_TOR,
  },
  0x08: {
    code: "ERR_TOR_PROXY",
    message: () => "the SOCKS proxy does not support this kind of address",
    retryable: false,
    hint: NOT_TOR,
  },
  0xf0: {
    code: "ERR_TOR_ONION_NOT_FOUND",
    message: (peer) => `the onion service of ${peer} has no descriptor`,
    retryable: true,
    hint: "Is the onion service up? A new one takes some seconds; a mistyped but well-formed address looks the same.",
  },
  0xf1: {
    code: "ERR_TOR_ONION_DESCRIPTOR",
    message: (peer) => `the descriptor of the onion service of ${peer} is invalid`,
    retryable: true,
    hint: "Restart the onion service, so that it publishes a new one.",
  },
  0xf2: {
    code: "ERR_TOR_ONION_INTRO",
    message: (peer) => `the onion service of ${peer} could not be introduced to`,
    retryable: true,
    hint: "It was there a moment ago: is its host up?",
  },
  0xf3: {
    code: "ERR_TOR_ONION_RENDEZVOUS",
    message: (peer) => `the rendezvous with the onion service of ${peer} failed`,
    retryable: true,
    hint: WAIT,
  },
  0xf4: {
    code: "ERR_TOR_CLIENT_AUTH_MISSING",
    message: (peer) => `the onion service of ${peer} wants client authorisation and Tor has no key for it`,
    retryable: false,
    hint: "Put this client's .auth_private file into Tor's ClientOnionAuthDir and reload Tor.",
  },
  0xf5: {
    code: "ERR_TOR_CLIENT_AUTH_WRONG",
    message: (peer) => `the onion service of ${peer} does not know this client's authorisation key`,
    retryable: false,
    hint: "Add this client's public key to the onion service, or correct its .auth_private file.",
  },
  0xf6: {
    code: "ERR_TOR_ONION_ADDRESS",
    message: (peer) => `the onion address of ${peer} is not valid`,
    retryable: false,
    hint: "Copy the address again: 56 letters and digits before .onion.",
  },
  0xf7: {
    code: "ERR_TOR_ONION_TIMEOUT",
    message: (peer) => `every introduction to the onion service of ${peer} timed out`,
    retryable: true,
    hint: "Is its host up and online?",
  },
};

/** The reply codes that {@link socksError} knows. */
export const SOCKS_CODES: readonly number[] = Object.keys(MEANINGS).map(Number);

/** The error for a CONNECT to `peer` that was answered with `code`, which is not 0. */
export function socksError(code: number, peer: string): OnionhookError {
  const meaning = MEANINGS[code];
  if (meaning === undefined) {
    const hex = code.toString(16).padStart(2, "0").toUpperCase();
    return new OnionhookError("ERR_TOR_PROXY", `the SOCKS proxy answered with the unknown code ${hex}`, {
      hint: NOT_TOR,
    });
  }
  const { hint, retryable } = meaning;
  return new OnionhookError(meaning.code, meaning.message(peer), { hint, retryable });
}
