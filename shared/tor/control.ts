/**
 * A connection to Tor's control port. Commands are answered in order; events come in between.
 * No command text ever gets into an error: ADD_ONION and AUTHENTICATE carry secrets.
 * Source: Tor's control-spec.
 */
import { randomBytes } from "node:crypto";
import type net from "node:net";
import { OnionhookError, errnoCode } from "../errors.ts";
import { NONCE_BYTES, answerChallenge, cookiePath, readCookie } from "./control-auth.ts";
import { EVENT_CODE, NO_REPLY, readReplies, type Reply, type ReplyState } from "./control-reply.ts";
import { stopReason, withDeadline, type Limit } from "./deadline.ts";
import { connectLocal, localAddressText, type LocalAddress } from "./local-socket.ts";

export interface Control {
  /**
   * Sends one command line, of printable ASCII, and waits for its reply. Commands may be sent without waiting.
   * @throws OnionhookError `ERR_TOR_CONTROL` when Tor refuses it (4xx, 5xx), naming the command's
   *   first word and the code only; `ERR_TOR_CONTROL_CLOSED` when the connection ends first;
   *   `ERR_TOR_CONTROL_TIMEOUT` when no answer came in {@link ANSWER_TIMEOUT_MS}, which ends the connection
   */
  command(line: string): Promise<Reply>;
  /** The value of one GETINFO key. */
  getInfo(key: string): Promise<string>;
  /**
   * Waits for an event. The subscription is sent before this returns, so that an event which a later
   * command causes cannot be missed.
   * @param name e.g. `HS_DESC`
   * @param matches is given the event's first line after its name
   * @param late makes what is thrown when the time is over; Tor itself did answer
   * @throws OnionhookError `ERR_TOR_CONTROL_TIMEOUT`, `ERR_TOR_CONTROL_CLOSED`
   */
  waitFor(
    name: string,
    matches: (text: string) => boolean,
    limit: Limit,
    late?: () => OnionhookError,
  ): Promise<string>;
  /**
   * Has `listener` called with the first line, after its name, of every event of that name, until the connection
   * ends. Resolves when Tor has agreed; events may come before.
   */
  subscribe(name: string, listener: (text: string) => void): Promise<void>;
  /** Resolves when the connection has ended, however it ended. */
  readonly closed: Promise<void>;
  /** Ends the connection; onion services that belong to it end with it. */
  close(): void;
}

/** Milliseconds to connect and authenticate; on one machine it takes a few. */
const CONNECT_TIMEOUT_MS = 5000;

/** Milliseconds for a command's answer: tor answers within one turn of its loop, which may be a busy one. */
const ANSWER_TIMEOUT_MS = 30_000;

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
  const cookie = await readCookie(cookiePath(await control.command("PROTOCOLINFO 1")));
  const nonce = randomBytes(NONCE_BYTES);
  const challenge = await control.command(`AUTHCHALLENGE SAFECOOKIE ${nonce.toString("hex")}`);
  await control.command(`AUTHENTICATE ${answerChallenge(cookie, nonce, challenge)}`);
}

interface Pending {
  resolve(reply: Reply): void;
  reject(error: Error): void;
  /** The command's first word, e.g. `GETINFO`. */
  verb: string;
  timer: NodeJS.Timeout;
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
      for (const waiting of pending.splice(0)) {
        clearTimeout(waiting.timer);
        waiting.reject(ended);
      }
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
      end(error instanceof OnionhookError ? error : undefined);
    }
  });

  function end(reason?: OnionhookError): void {
    ended ??= reason;
    socket.destroy();
  }

  function receive(reply: Reply): void {
    if (reply[0].code === EVENT_CODE) {
      const [, name = "", text = ""] = /^(\S+) ?(.*)$/s.exec(reply[0].text) ?? [];
      for (const listener of listeners) listener(name, text);
      return;
    }
    const asked = pending.shift();
    // Whose answer any later reply is would be a guess.
    if (asked === undefined) return end(unasked());
    clearTimeout(asked.timer);
    const { code } = reply.at(-1) ?? reply[0];
    if (code >= 400) asked.reject(refused(asked.verb, code));
    else asked.resolve(reply);
  }

  function command(line: string): Promise<Reply> {
    // Of any other character the low byte alone would be sent, which may be the end of a line.
    if (!/^[\x20-\x7e]+$/.test(line))
      return Promise.reject(new RangeError("command: one line of printable ASCII"));
    if (ended !== undefined) return Promise.reject(ended);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => end(timedOut()), ANSWER_TIMEOUT_MS);
      pending.push({ resolve, reject, verb: line.split(" ", 1)[0] ?? "", timer });
      socket.write(`${line}\r\n`, "latin1");
    });
  }

  /** Nothing to do when Tor already sends them. */
  async function askFor(name: string): Promise<void> {
    if (subscribed.has(name)) return;
    subscribed.add(name);
    try {
      // Each SETEVENTS replaces the one before.
      await command(`SETEVENTS ${[...subscribed].join(" ")}`);
    } catch (error) {
      subscribed.delete(name);
      throw error;
    }
  }

  return {
    command,
    closed,
    close: () => end(),
    async getInfo(key) {
      const lines = await command(`GETINFO ${key}`);
      const line = lines.find(({ text }) => text.startsWith(`${key}=`));
      if (line === undefined) throw refused("GETINFO", lines[0].code);
      return line.data ?? line.text.slice(key.length + "=".length);
    },
    async subscribe(wanted, listener) {
      listeners.add((name, text) => {
        if (name === wanted) listener(text);
      });
      await askFor(wanted);
    },
    waitFor: (wanted, matches, limit, late = timedOut) =>
      withDeadline(limit, late, async (stop) => {
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
          const [text] = await Promise.all([event, askFor(wanted)]);
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

function unasked(): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_PROTOCOL", "Tor's control port answered what was not asked", {
    hint: "Check the address of Tor's ControlPort or ControlSocket.",
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
