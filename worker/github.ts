import { DELIVERY_ID, SIGNATURE } from "../shared/delivery.ts";
import { OnionhookError } from "../shared/errors.ts";
import { topicOf } from "../shared/topic.ts";
import { MAX_BODY_BYTES, scanBody } from "../shared/webhook-body.ts";
import { Refusal } from "./refusal.ts";
import { verifySignature } from "./signature.ts";

/** A delivery whose signature and form have been checked, ready to be sealed. */
export interface Webhook {
  id: string;
  event: string;
  topic: string;
  hookId: number | null;
  signature: string;
  rawBody: Uint8Array<ArrayBuffer>;
  /** Where `rawBody` has string values that begin with an escaped U+0000. */
  leadingNul: number[];
}

/**
 * Checks a POST of GitHub's in the order of docs/protocol.md §1: method, content type, size, headers,
 * signature, body. Only what is signed is looked into.
 * @throws Refusal naming what was wrong.
 */
export async function readWebhook(request: Request, secret: string): Promise<Webhook> {
  if (request.method !== "POST") throw new Refusal("ERR_METHOD");
  if (!/^application\/json\s*(;|$)/i.test(request.headers.get("content-type") ?? "")) {
    throw new Refusal("ERR_CONTENT_TYPE");
  }
  if (declaredLength(request) > MAX_BODY_BYTES) throw new Refusal("ERR_BODY_TOO_LARGE");

  const id = header(request, "X-GitHub-Delivery", DELIVERY_ID);
  const event = header(request, "X-GitHub-Event", /^[A-Za-z]\w{0,99}$/).toLowerCase();
  const signature = header(request, "X-Hub-Signature-256", SIGNATURE);
  const hookId = request.headers.has("x-github-hook-id")
    ? Number(header(request, "X-GitHub-Hook-ID", /^\d{1,15}$/))
    : null;

  const rawBody = await readBody(request);
  if (!(await verifySignature(secret, rawBody, signature))) throw new Refusal("ERR_SIGNATURE");
  const scan = scanBody(rawBody);
  if (!scan.ok) throw new Refusal("ERR_BODY", scan.fault);
  return { id, event, topic: topic(event), hookId, signature, rawBody, leadingNul: scan.leadingNul };
}

function header(request: Request, name: string, form: RegExp): string {
  const value = request.headers.get(name);
  if (value === null) throw new Refusal("ERR_HEADER", `the header ${name} is missing`);
  if (!form.test(value)) throw new Refusal("ERR_HEADER", `the header ${name} is malformed`);
  return value;
}

function topic(event: string): string {
  try {
    return topicOf(event);
  } catch (error) {
    if (error instanceof OnionhookError) throw new Refusal("ERR_HEADER", error.message);
    throw error;
  }
}

/** Most payloads fit: GitHub's own examples have 0.9 to 27 KB. */
const FIRST_BUFFER_BYTES = 64 * 1024;

/** Reads no further than the cap, whatever the sender said the length was. */
async function readBody(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  // Grown as bytes come, whatever was declared: a promise of 25 MiB costs its sender nothing.
  let body = new Uint8Array(Math.min(FIRST_BUFFER_BYTES, declaredLength(request)));
  let length = 0;
  for await (const chunk of request.body?.values({ preventCancel: true }) ?? []) {
    const end = length + chunk.length;
    if (end > MAX_BODY_BYTES) throw new Refusal("ERR_BODY_TOO_LARGE");
    if (end > body.length) {
      const grown = new Uint8Array(Math.min(MAX_BODY_BYTES, Math.max(end, body.length * 2)));
      grown.set(body.subarray(0, length));
      body = grown;
    }
    body.set(chunk, length);
    length = end;
  }
  return length === body.length ? body : body.slice(0, length);
}

/** 0 when no length was declared, as for a chunked body, or none that is a number of bytes. */
function declaredLength(request: Request): number {
  const text = request.headers.get("content-length") ?? "";
  return /^\d+$/.test(text) ? Number(text) : 0;
}

/** More than GitHub ever sends; a sender of more is not waited for. */
const MAX_DISCARDED_BYTES = 32 * 1024 * 1024;
/** For what is on its way already; a sender that stalls gets its answer then. */
const DISCARD_MS = 2000;

/**
 * Reads what is left of a refused request and forgets it: a sender that is cut off while it writes may
 * never see the answer.
 */
export async function discardBody(request: Request): Promise<void> {
  const reader = request.body?.getReader();
  if (!reader) return;
  // What is cancelled reads as ended.
  const timer = setTimeout(() => void reader.cancel().catch(() => {}), DISCARD_MS);
  try {
    let discarded = 0;
    while (discarded <= MAX_DISCARDED_BYTES) {
      const { done, value } = await reader.read();
      if (done) return;
      discarded += value.length;
    }
  } catch {
    // The sender is gone, and with it whoever would read the answer.
  } finally {
    clearTimeout(timer);
    reader.releaseLock();
  }
}
