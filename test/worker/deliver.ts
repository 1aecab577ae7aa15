/** GitHub's part: POSTs deliveries to the edge, signed as GitHub signs them. */
import { exports } from "cloudflare:workers";
import { encodeHex, encodeUtf8 } from "../../shared/bytes.ts";
import { WEBHOOK_SECRET } from "./parties.ts";

export const EDGE = "https://edge.example";

export interface Delivery {
  body?: string | Uint8Array<ArrayBuffer>;
  /** Set over the headers that GitHub sends; null leaves one out. */
  headers?: Record<string, string | null>;
  method?: string;
}

export interface Answer {
  status: number;
  headers: Headers;
  json: {
    delivery: string;
    duplicate: boolean;
    stored: { stream: string; seq: number; duplicate: boolean }[];
    /** Of `GET /health`. */
    status?: string;
    refused?: Record<string, number>;
    error?: { code: string; message: string; hint: string };
  };
}

export async function signatureOf(body: string | Uint8Array<ArrayBuffer>, secret = WEBHOOK_SECRET) {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encodeUtf8(secret), algorithm, false, ["sign"]);
  const bytes = typeof body === "string" ? encodeUtf8(body) : body;
  return `sha256=${encodeHex(new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes)))}`;
}

/** An event whose body may be anything: GitHub's own have members that are checked. */
export const EVENT = "example";

/** A request as GitHub makes it, apart from what `delivery` changes: each of another body. */
export async function webhookRequest({
  body = `{"n":"${crypto.randomUUID()}"}`,
  headers = {},
  method = "POST",
}: Delivery = {}) {
  const all = new Headers({
    "Content-Type": "application/json",
    "User-Agent": "GitHub-Hookshot/044aadd",
    "X-GitHub-Delivery": crypto.randomUUID(),
    "X-GitHub-Event": EVENT,
    "X-GitHub-Hook-ID": "292430182",
    "X-Hub-Signature-256": await signatureOf(body),
  });
  for (const [name, value] of Object.entries(headers)) {
    if (value === null) all.delete(name);
    else all.set(name, value);
  }
  const bodyless = method === "GET" || method === "HEAD";
  return new Request(`${EDGE}/webhook/github`, { method, headers: all, body: bodyless ? null : body });
}

export async function deliver(delivery?: Delivery): Promise<Answer> {
  return answerOf(await exports.default.fetch(await webhookRequest(delivery)));
}

export async function answerOf(response: Response): Promise<Answer> {
  return { status: response.status, headers: response.headers, json: await response.json<Answer["json"]>() };
}
