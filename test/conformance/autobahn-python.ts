/** Autobahn|Python as a library of the suite: one process of test/peers/conformance.py, however many sessions. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../helpers/peers.ts";
import {
  payloadOf,
  seedHex,
  WampError,
  type Client,
  type Handler,
  type Library,
  type Payload,
  type Received,
} from "./client.ts";

type Fields = Readonly<Record<string, unknown>>;

/** What one session hears, by what it is about. */
interface Listeners {
  readonly events: Map<number, (event: Received) => void>;
  readonly handlers: Map<number, Handler>;
  readonly progress: Map<number, (payload: Payload) => void>;
  readonly interrupts: Map<number, () => void>;
  leftWith: string | undefined;
  closed: () => void;
}

interface Answer {
  readonly ok?: unknown;
  readonly error?: { readonly uri: string } & Payload;
}

export function startAutobahnPython(python: string): Library {
  const child = spawn(python, [join(ROOT, "test/peers/conformance.py")], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stderr = "";
  // Autobahn logs a lot; the end is enough to see why it died.
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-4000)));
  const waiting = new Map<number, (answer: Answer) => void>();
  const sessions = new Map<string, Listeners>();
  let commands = 0;
  let names = 0;
  let handles = 0;

  // Its end is told by `close`.
  child.stdin.on("error", () => {});
  child.once("close", () => {
    const error = { uri: "python.ended", ...payloadOf([stderr]) };
    for (const settle of waiting.values()) settle({ error });
    waiting.clear();
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const said = revive(JSON.parse(line)) as Fields & Answer;
    if (typeof said["id"] === "number") {
      waiting.get(said["id"])?.(said);
      waiting.delete(said["id"]);
    } else hear(String(said["session"]), String(said["event"]), said["fields"] as Fields);
  });

  function hear(session: string, event: string, fields: Fields): void {
    const listeners = sessions.get(session);
    if (listeners === undefined) return;
    const handle = Number(fields["handle"]);
    switch (event) {
      case "event":
        return listeners.events.get(handle)?.({ ...payloadIn(fields), ...(fields["details"] as Received) });
      case "invocation":
        return void invoke(session, listeners, fields);
      case "interrupted":
        return listeners.interrupts.get(Number(fields["number"]))?.();
      case "progress":
        return listeners.progress.get(handle)?.(payloadIn(fields));
      case "left":
        listeners.leftWith = String(fields["reason"]);
        return;
      case "closed":
        return listeners.closed();
    }
  }

  async function invoke(session: string, listeners: Listeners, fields: Fields): Promise<void> {
    const number = Number(fields["number"]);
    const details = fields["details"] as Fields;
    const handler = listeners.handlers.get(Number(fields["handle"]));
    if (handler === undefined) return;
    const { promise: interrupted, resolve } = Promise.withResolvers<void>();
    listeners.interrupts.set(number, resolve);
    const reply = (how: string, more: object) => order(session, "answer", { number, how, ...more });
    try {
      const payload = await handler({
        ...payloadIn(fields),
        procedure: String(details["procedure"]),
        ...(details["caller"] !== null && {
          caller: Number(details["caller"]),
          caller_authid: String(details["caller_authid"]),
          caller_authrole: String(details["caller_authrole"]),
        }),
        progress: details["progress"] === true ? (some) => reply("progress", some) : undefined,
        interrupted,
      });
      reply("result", payload);
    } catch (error) {
      if (error instanceof WampError) reply("error", { uri: error.uri, ...error.payload });
      else reply("exception", { args: [error instanceof Error ? error.message : "unknown"] });
    }
  }

  async function ask(session: string, what: string, fields: object): Promise<unknown> {
    const id = ++commands;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    waiting.set(id, resolve);
    child.stdin.write(`${JSON.stringify(plain({ id, session, do: what, ...fields }))}\n`);
    const { ok, error } = await promise;
    if (error !== undefined) throw new WampError(error.uri, payloadOf(error.args, error.kwargs));
    return ok;
  }

  /** For what has no answer that anybody waits for. */
  function order(session: string, what: string, fields: object = {}): void {
    ask(session, what, fields).catch(() => {});
  }

  return {
    name: "Autobahn|Python",
    stop: () => void child.kill("SIGKILL"),
    async join({ url, realm, authid, keys, serializer }) {
      const name = `session${++names}`;
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      const listeners: Listeners = {
        events: new Map(),
        handlers: new Map(),
        progress: new Map(),
        interrupts: new Map(),
        leftWith: undefined,
        closed: resolve,
      };
      sessions.set(name, listeners);
      const command = (what: string, fields: object = {}) => ask(name, what, fields);
      const joining = { url, realm, authid, serializer, seed: seedHex(keys) };
      const { id, welcome } = (await command("join", joining)) as Pick<Client, "id" | "welcome">;
      const subscribed = new WeakMap<object, number>();
      return {
        id,
        welcome,
        left: closed.then(() => listeners.leftWith),
        async publish(topic, payload = payloadOf(), options = {}) {
          const published = await command("publish", {
            topic,
            ...payload,
            options: { acknowledge: true, ...options },
          });
          return published === null ? undefined : Number(published);
        },
        async subscribe(topic, match = "exact") {
          const handle = ++handles;
          const events: Received[] = [];
          listeners.events.set(handle, (event) => events.push(event));
          const made = { id: Number(await command("subscribe", { topic, handle, match })), events };
          subscribed.set(made, handle);
          return made;
        },
        unsubscribe: async (subscription) =>
          void (await command("unsubscribe", { handle: subscribed.get(subscription) })),
        async register(procedure, handler, options = {}) {
          const handle = ++handles;
          listeners.handlers.set(handle, handler);
          const made = { id: Number(await command("register", { procedure, handle, options })) };
          subscribed.set(made, handle);
          return made;
        },
        unregister: async (registration) =>
          void (await command("unregister", { handle: subscribed.get(registration) })),
        call(procedure, payload = payloadOf(), { progress: wantsProgress = false } = {}) {
          const handle = ++handles;
          const progress: Payload[] = [];
          listeners.progress.set(handle, (some) => progress.push(some));
          const answer = command("call", { procedure, handle, ...payload, progress: wantsProgress });
          return {
            answer: answer.then((value) => payloadIn(value as Fields)),
            progress,
            cancel: () => order(name, "cancel", { handle }),
          };
        },
        leave: () => order(name, "leave"),
        drop: () => order(name, "drop"),
      };
    },
  };
}

function payloadIn(fields: Fields): Payload {
  return payloadOf(fields["args"] as unknown[], fields["kwargs"] as Fields);
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "object" && value !== null ? mapped(value, plain) : value;
}

function revive(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value !== "object" || value === null) return value;
  if ("$bytes" in value) return Buffer.from(String(value.$bytes), "base64");
  return mapped(value, revive);
}

function mapped(value: object, change: (each: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, change(each)]));
}
