/** Asks a running relay over its control socket. */
import { existsSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { errorAnswer } from "../relay/control/messages.ts";
import { errnoCode, OnionhookError } from "../shared/errors.ts";
import { checkConfig, readConfigFile } from "../shared/host/config-file.ts";
import { type Call, type Option, text } from "./command.ts";

/** What `npm start` writes. */
export const LOCAL_CONFIG = "./.onionhook/relay.json";
/** Where a relay's configuration is looked for: there, then where the systemd unit has it. */
const CONFIGS = [LOCAL_CONFIG, "/etc/onionhook/relay.json"];
/** Milliseconds for what the relay knows itself: its store lists ten thousand events in a second or two. */
const GET_MS = 15_000;
/** Milliseconds for what it does: the edge has 30 s to answer a replay, for each stream. */
const POST_MS = 120_000;
/** Every answer but that of `watch`; ten thousand listed events are 3 MB. */
const MAX_ANSWER_CHARACTERS = 64 * 1024 * 1024;

/** How a command says which relay it means. */
export const RELAY_OPTIONS: Readonly<Record<string, Option>> = {
  config: { type: "string", value: "FILE", help: `relay.json; by default ${CONFIGS.join(", else ")}` },
  socket: { type: "string", value: "PATH", help: "the relay's control socket, in place of --config" },
};

export interface ControlClient {
  /** @throws OnionhookError `ERR_NO_RELAY`, `ERR_RELAY_ANSWER`, and what the relay answers with. */
  get<Schema extends v.GenericSchema>(path: string, schema: Schema): Promise<v.InferOutput<Schema>>;
  /** @throws OnionhookError as {@link get}. */
  post<Schema extends v.GenericSchema>(
    path: string,
    body: object,
    schema: Schema,
  ): Promise<v.InferOutput<Schema>>;
  /** An answer that goes on. @throws OnionhookError as {@link get}. */
  stream(path: string, signal: AbortSignal): Promise<IncomingMessage>;
}

/** @throws OnionhookError `ERR_USAGE`, `ERR_CONFIG_FILE`, `ERR_CONFIG` */
export function makeControlClient(call: Call): ControlClient {
  const socket = controlSocket(call);
  return {
    async get(path, schema) {
      return read(await open(socket, "GET", path, AbortSignal.timeout(GET_MS)), schema);
    },
    async post(path, body, schema) {
      return read(await open(socket, "POST", path, AbortSignal.timeout(POST_MS), body), schema);
    },
    stream: (path, signal) => open(socket, "GET", path, signal),
  };
}

/** Of the configuration only what names the socket: keys are none of this command's business. */
const configuration = v.looseObject({
  data_dir: v.string(),
  control: v.optional(v.looseObject({ socket: v.optional(v.string()) })),
});

function controlSocket(call: Call): string {
  const named = text(call, "socket");
  if (named !== undefined) return resolve(named);
  const file = text(call, "config") ?? CONFIGS.find((path) => existsSync(path));
  if (file === undefined) {
    throw new OnionhookError("ERR_USAGE", `there is neither ${CONFIGS.join(" nor ")}`, {
      hint: "name the relay's configuration with --config FILE, or its socket with --socket PATH",
    });
  }
  const { json, folder } = readConfigFile(file);
  const { data_dir, control } = checkConfig("relay", configuration, json);
  return resolve(folder, control?.socket ?? join(data_dir, "control.sock"));
}

/** Resolves with an answer of success. */
async function open(
  socketPath: string,
  method: string,
  path: string,
  signal: AbortSignal,
  body?: object,
): Promise<IncomingMessage> {
  const answer = await new Promise<IncomingMessage>((resolveAnswer, reject) => {
    const headers = { host: "localhost", ...(body && { "content-type": "application/json" }) };
    const asked = request({ socketPath, method, path, headers, signal }, resolveAnswer);
    asked.once("error", (cause) => reject(unreachable(socketPath, cause)));
    asked.end(body && JSON.stringify(body));
  });
  if (answer.statusCode === 200) return answer;
  const { error } = await read(answer, errorAnswer);
  const code = error.code.startsWith("ERR_") ? error.code.slice("ERR_".length) : error.code;
  throw new OnionhookError(
    `ERR_${code}`,
    error.message,
    error.hint === undefined ? {} : { hint: error.hint },
  );
}

function unreachable(path: string, cause: unknown): OnionhookError {
  const code = errnoCode(cause);
  if (code === "EACCES" || code === "EPERM") {
    return new OnionhookError("ERR_NO_RELAY", `${path} may not be opened by this user`, {
      hint: "ask as the relay's own user: sudo -u onionhook npm run --silent onionhook -- status",
      cause,
    });
  }
  if (code === "ABORT_ERR" || (cause instanceof Error && cause.name === "AbortError")) {
    return new OnionhookError("ERR_NO_RELAY", `the relay on ${path} does not answer`, {
      hint: "it hangs, or was stopped (SIGSTOP): systemctl restart onionhook-relay",
      cause,
    });
  }
  return new OnionhookError("ERR_NO_RELAY", `no relay answers on ${path}`, {
    hint: "start it with: onionhook relay --config FILE; or name another with --config or --socket",
    cause,
  });
}

async function read<Schema extends v.GenericSchema>(
  answer: IncomingMessage,
  schema: Schema,
): Promise<v.InferOutput<Schema>> {
  let content = "";
  try {
    answer.setEncoding("utf8");
    for await (const chunk of answer) {
      content += String(chunk);
      if (content.length > MAX_ANSWER_CHARACTERS) throw new RangeError("the answer has no end");
    }
    return v.parse(schema, JSON.parse(content));
  } catch (cause) {
    throw new OnionhookError("ERR_RELAY_ANSWER", "the relay answered what this command does not understand", {
      hint: "is it of the same version, and is that socket a relay's?",
      cause,
    });
  }
}
