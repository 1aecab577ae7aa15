/**
 * A connection to Tor's control port. Commands are answered in order; events come in between.
 * No command text ever gets into an error: ADD_ONION and AUTHENTICATE carry secrets.
 * Source: Tor's control-spec.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type net from "node:net";
import { OnionhookError, errnoCode } from "../errors.ts";
import { COOKIE_BYTES, NONCE_BYTES, answerChallenge, cookiePath } from "./control-auth.ts";
import { NO_REPLY, readReplies, type Reply, type ReplyState } from "./control-reply.ts";
import { stopReason, withDeadline, type Limit } from "./deadline.ts";
import { connectLocal, localAddressText, type LocalAddress } from "./local-socket.ts";

export interface Control {
  /**
   * Sends one command line and waits for its reply. Commands may be sent without waiting.
   * @throws OnionhookError `ERR_TOR_CONTROL` when Tor refuses it (4xx, 5xx), naming the command's
   *   first word and the code only; `ERR_TOR_CONTROL_CLOSED` when the connection ends first
   */
  command(line: string): Promise<Reply>;
  /** The value of one GETINFO key. */
  getInfo(key: string): Promise<string>;
  /**
   * Waits for an event. The subscription is sent before this returns, so that an event which a later
   * command causes cannot be missed.
   * @param name e.g. `HS_DESC`
   * @param matches is given the event's first line after its name
   * @throws OnionhookError `ERR_TOR_CONTROL_TIMEOUT`, `ERR_TOR_CONTROL_CLOSED`
   */
  waitFor(name: string, matches: (text: string) => boolean, limit: Limit): Promise<string>;
  /** Resolves when the connection has ended, however it ended. */
  readonly closed: Promise<void>;
  /** Ends the connection; onion services that belong to it end with it. */
  close(): void;
}

/** Milliseconds to connect and authenticate; on one machine it takes a few. */
const CONNECT_TIMEOUT_MS = 5000;

/** The code of an event (control-spec, "Asynchronous events"). */
const EVENT_CODE = 650;

/**
 * Connects and authenticates with Tor's cookie.
 * @throws OnionhookError `ERR_TOR_CONTROL_UNREACHABLE`, `ERR_TOR_CONTROL_AUTH`,
 *   `ERR_TOR_CONTROL_TIMEOUT`; `signal`'s reason when it aborts
 */
export async function connectControl(address: LocalAddress, limit: Partial<Limit> = {}): Promise<Control> {
  const bounded = { timeoutMs: CONNECT_TIMEOUT_MS, ...limit };
  return withDeadline(bounded, timedOut, async (stop) => {
    const socket = await connectLocal(address, stop).catch((error: unknown) => {
      throw stop.aborted ? error : unreachable(address, error);
    });
    const control = makeControl(socket);
    const onAbort = (): void => control.close();
    stop.addEventListener("abort", onAbort, { once: true });
    try {
      await authenticate(control);
    } catch (error) {
      control.close();
      throw stop.aborted ? stopReason(stop) : error;
    } finally {
      stop.removeEventListener("abort", onAbort);
    }
    return control;
  });
}

async function authenticate(control: Control): Promise<void> {
  const path = cookiePath(await control.command("PROTOCOLINFO 1"));
  const cookie = await readFile(path).catch((cause: unknown) => {
    throw badCookie(errnoCode(cause) ?? "unknown error", cause);
  });
  if (cookie.length !== COOKIE_BYTES) throw badCookie(`${cookie.length} bytes instead of ${COOKIE_BYTES}`);
  const nonce = randomBytes(NONCE_BYTES);
  const challenge = await control.command(`AUTHCHALLENGE SAFECOOKIE ${nonce.toString("hex")}`);
  await control.command(`AUTHENTICATE ${answerChallenge(cookie, nonce, challenge)}`);
}

interface Pending {
  resolve(reply: Reply): void;
  reject(error: Error): void;
  /** The command's first word, e.g. `GETINFO`. */
  verb: string;
}

/** The protocol over a connected socket, before authentication. */
function makeControl(socket: net.Socket): Control {
  const pending: Pending[] = [];
  const listeners = new Set<(name: string, text: string) => void>();
  const subscribed = new Set<string>();
  let state: ReplyState = NO_REPLY;
  let ended: OnionhookError | undefined;

  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => {
      ended ??= connectionEnded();
      for (const waiting of pending.splice(0)) waiting.reject(ended);
      resolve();
    });
  });
  // What went wrong is of no use to anybody: 'close' follows and tells all who wait.
  socket.on("error", () => undefined);
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => {
    try {
      const [next, replies] = readReplies(state, chunk);
      state = next;
      for (const reply of replies) receive(reply);
    } catch (error) {
      if (error instanceof OnionhookError) ended = error;
      socket.destroy();
    }
  });

  function receive(reply: Reply): void {
    if (reply[0].code === EVENT_CODE) {
      const [, name = "", text = ""] = /^(\S+) ?(.*)$/s.exec(reply[0].text) ?? [];
      for (const listener of listeners) listener(name, text);
      return;
    }
    const asked = pending.shift();
    const { code } = reply.at(-1) ?? reply[0];
    if (code >= 400) asked?.reject(refused(asked.verb, code));
    else asked?.resolve(reply);
  }

  function command(line: string): Promise<Reply> {
    if (/[\r\n]/.test(line)) return Promise.reject(new RangeError("command: one line"));
    if (ended !== undefined) return Promise.reject(ended);
    return new Promise((resolve, reject) => {
      pending.push({ resolve, reject, verb: line.split(" ", 1)[0] ?? "" });
      socket.write(`${line}\r\n`, "latin1");
    });
  }

  return {
    command,
    closed,
    close: () => void socket.destroy(),
    async getInfo(key) {
      const [line] = await command(`GETINFO ${key}`);
      return line.data ?? line.text.slice(key.length + "=".length);
    },
    waitFor: (wanted, matches, limit) =>
      withDeadline(limit, timedOut, async (stop) => {
        let listener: ((name: string, text: string) => void) | undefined;
        const event = new Promise<string>((resolve, reject) => {
          listener = (name, text) => {
            if (name === wanted && matches(text)) resolve(text);
          };
          listeners.add(listener);
          stop.addEventListener("abort", () => reject(stopReason(stop)), { once: true });
          void closed.then(() => reject(ended ?? connectionEnded()));
        });
        try {
          const isNew = !subscribed.has(wanted);
          subscribed.add(wanted);
          const asked = isNew ? command(`SETEVENTS ${[...subscribed].join(" ")}`) : undefined;
          const [text] = await Promise.all([event, asked]);
          return text;
        } finally {
          if (listener !== undefined) listeners.delete(listener);
        }
      }),
  };
}

function refused(verb: string, code: number): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL", `Tor answered ${code} to ${verb}`, {
    hint: "Tor's log tells why.",
    retryable: code < 500,
  });
}

function badCookie(what: string, cause?: unknown): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_AUTH", `Tor's cookie file cannot be used: ${what}`, {
    hint: "This user must be able to read Tor's CookieAuthFile.",
    // A Tor that is just starting writes it a moment after it listens.
    retryable: true,
    cause,
  });
}

function connectionEnded(): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_CLOSED", "the control connection ended", {
    hint: "Is tor running?",
    retryable: true,
  });
}

function timedOut(): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_TIMEOUT", "Tor's control port did not answer in time", {
    hint: "Tor's log tells what it is doing.",
    retryable: true,
  });
}

function unreachable(address: LocalAddress, cause: unknown): OnionhookError {
  const where = `${localAddressText(address)} (${errnoCode(cause) ?? "unknown error"})`;
  return new OnionhookError(
    "ERR_TOR_CONTROL_UNREACHABLE",
    `Tor's control port cannot be reached at ${where}`,
    {
      hint: "Is tor running, with a ControlSocket or ControlPort there, in a folder that only its user may enter?",
      retryable: true,
      cause,
    },
  );
}
