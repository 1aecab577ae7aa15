import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { errnoCode, OnionhookError } from "../shared/errors.ts";
import { readSecretFile } from "../shared/host/key-file.ts";
import { type Command, EXIT, required, text } from "./command.ts";
import { examplePayload } from "./example-payload.ts";

/** That of `npm start`. */
export const DEFAULT_WEBHOOK = "http://127.0.0.1:8787/webhook/github";
/** GitHub gives a receiver as long to answer. */
const ANSWER_MS = 10_000;

export interface Sent {
  delivery: string;
  status: number;
  /** The edge's answer, parsed. */
  answer: unknown;
  /** From the first byte to the answer. */
  ms: number;
}

/**
 * Signs and posts a payload with the headers that GitHub sends. The delivery's id is new unless given.
 * @throws OnionhookError `ERR_EDGE_UNREACHABLE`
 */
export async function post(
  url: string,
  secret: string,
  event: string,
  body: Uint8Array,
  delivery: string = randomUUID(),
): Promise<Sent> {
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const started = performance.now();
  try {
    const response = await fetch(url, {
      method: "POST",
      body: new Uint8Array(body),
      redirect: "error",
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: {
        Accept: "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/onionhook",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "1",
        "X-GitHub-Hook-Installation-Target-ID": "1",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature-256": `sha256=${signature}`,
      },
    });
    const answer: unknown = await response.json().catch(() => undefined);
    return { delivery, status: response.status, answer, ms: performance.now() - started };
  } catch (cause) {
    throw new OnionhookError("ERR_EDGE_UNREACHABLE", `${url} does not answer`, {
      hint: "is the edge running? npm start starts one on this machine",
      cause,
    });
  }
}

export const send: Command = {
  name: "send",
  summary: "signs a payload and posts it as GitHub does",
  usage: `send [--event E] [--file F] [--url U] --secret-file S

  An example gets one more member, sent_at, so that no two bodies are the same: the edge takes the
  same body twice for a duplicate. The bytes of --file are sent as they are.`,
  options: {
    event: { type: "string", value: "EVENT", help: "GitHub's event name", default: "push" },
    file: {
      type: "string",
      value: "FILE",
      help: "the payload, sent as it is; by default GitHub's own example of the event",
    },
    url: {
      type: "string",
      value: "URL",
      help: "the webhook",
      default: DEFAULT_WEBHOOK,
    },
    "secret-file": { type: "string", value: "FILE", help: "holds the webhook's secret, 0600" },
    delivery: { type: "string", value: "GUID", help: "the delivery's id; by default a new one" },
  },
  async run(call) {
    const event = required(call, "event");
    const file = text(call, "file");
    const body = file === undefined ? examplePayload(event) : readPayload(file);
    const secret = readSecretFile(required(call, "secret-file"));
    const sent = await post(required(call, "url"), secret, event, body, text(call, "delivery"));
    const taken = sent.status === 202;
    call.output.result(
      { ...sent, event },
      `${event} ${sent.delivery} ${sent.status} ${sent.ms.toFixed(1)} ms${isDuplicate(sent.answer) ? "   duplicate: this body is stored already" : ""}`,
    );
    if (!taken) call.output.say(JSON.stringify(sent.answer));
    return taken ? EXIT.ok : EXIT.failed;
  },
};

function isDuplicate(answer: unknown): boolean {
  return typeof answer === "object" && answer !== null && "duplicate" in answer && answer.duplicate === true;
}

function readPayload(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new OnionhookError(
      "ERR_PAYLOAD_FILE",
      `${path} cannot be read (${errnoCode(cause) ?? "unknown"})`,
      { cause },
    );
  }
}
