/**
 * The few endpoints of GitHub's REST API that reconciliation needs, for one hook:
 * https://docs.github.com/en/rest/repos/webhooks and https://docs.github.com/en/rest/orgs/webhooks
 */
import * as v from "valibot";
import { DELIVERY_ID } from "../../shared/delivery.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { HookPath } from "./config.ts";

/** One attempt at a delivery. */
export interface Attempt {
  /** Decimal digits: an id may be above 2^53. */
  id: string;
  guid: string;
  /** Milliseconds since 1970. */
  deliveredAt: number;
  /** False for the first attempt of a GUID. */
  redelivery: boolean;
  /** `pending` while GitHub names no status. */
  outcome: "succeeded" | "failed" | "pending";
}

export interface Page {
  /** Newest first. */
  attempts: Attempt[];
  /** Cursor of the next, older page; undefined on the last one. */
  next: string | undefined;
}

export interface HookApi {
  /** A page of attempts from `cursor` on, or the newest. */
  list(cursor: string | undefined): Promise<Page>;
  /** Asks for another attempt at the delivery that this attempt was one of. */
  redeliver(attemptId: string): Promise<void>;
}

export interface HookApiParts {
  apiUrl: string;
  token: string;
  hook: HookPath;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** GitHub's primary or secondary limit: nothing may be asked of the API for a while. */
export class RateLimited extends OnionhookError {
  /** When the limit ends, in milliseconds since 1970, if GitHub said it. */
  readonly until: number | undefined;

  constructor(until: number | undefined) {
    super("ERR_GITHUB_RATE_LIMIT", "GitHub's rate limit is reached", {
      hint: "nothing to do: reconciliation goes on when it is over",
      retryable: true,
    });
    this.until = until;
  }
}

/** For one request with its whole answer; GitHub ends requests that take over 10 s itself. */
const REQUEST_MS = 10_000;
/** A page of 100 attempts has about 40 KB. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** GitHub's have about 20 characters. */
const MAX_CURSOR_LENGTH = 512;

const TOKEN_HINT =
  "wrangler secret put GITHUB_TOKEN; fine-grained: Webhooks, read and write; classic: admin:repo_hook or admin:org_hook";

const deliveries = v.array(
  v.object({
    id: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
    guid: v.pipe(v.string(), v.regex(DELIVERY_ID)),
    delivered_at: v.pipe(v.string(), v.transform(Date.parse), v.number()),
    redelivery: v.boolean(),
    status: v.nullish(v.string()),
    status_code: v.nullish(v.number()),
  }),
);

/**
 * Every call throws `RateLimited`, or OnionhookError `ERR_GITHUB_TOKEN` (refused or without permission),
 * `ERR_GITHUB_HOOK` (not there), `ERR_GITHUB_REFUSED` (another 3xx or 4xx), `ERR_GITHUB_UNAVAILABLE` (5xx, time is up,
 * no connection; retryable) or `ERR_GITHUB_ANSWER` (not of the documented form). None holds the token or GitHub's text.
 */
export function makeHookApi({ apiUrl, token, hook, fetch, now }: HookApiParts): HookApi {
  const deliveriesUrl = `${apiUrl}${hook}/deliveries`;
  let spentUntil: number | undefined;

  async function request(method: "GET" | "POST", url: string): Promise<{ headers: Headers; text: string }> {
    if (spentUntil !== undefined) throw new RateLimited(spentUntil);
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method,
        headers: {
          Accept: "application/vnd.github+json",
          Authorization: `Bearer ${token}`,
          "User-Agent": "onionhook",
          "X-GitHub-Api-Version": "2022-11-28",
        },
        // The token goes nowhere but to the API's own origin.
        redirect: "manual",
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      text = await readText(response);
    } catch (error) {
      if (error instanceof OnionhookError) throw error;
      throw unavailable("no answer in time, or no connection");
    }
    const reset = Number(response.headers.get("x-ratelimit-reset")) * 1000;
    const isSpent = response.headers.get("x-ratelimit-remaining") === "0" && reset > 0;
    if (response.ok) {
      if (isSpent) spentUntil = reset;
      return { headers: response.headers, text };
    }
    const retryAfter = Number(response.headers.get("retry-after") ?? "no");
    throw failure(response.status, text, {
      until: retryAfter >= 0 ? now() + retryAfter * 1000 : isSpent ? reset : undefined,
    });
  }

  return {
    async list(cursor) {
      const query = new URLSearchParams({ per_page: "100", ...(cursor !== undefined && { cursor }) });
      const { headers, text } = await request("GET", `${deliveriesUrl}?${query.toString()}`);
      const next = nextCursor(headers.get("link"), new URL(apiUrl));
      if (next !== undefined && next === cursor) throw malformed("its next page is the same page");
      return { attempts: parseAttempts(text), next };
    },
    async redeliver(attemptId) {
      await request("POST", `${deliveriesUrl}/${attemptId}/attempts`);
    },
  };
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body?.values() ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw malformed("it is over 1 MiB");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parseAttempts(text: string): Attempt[] {
  let json: unknown;
  try {
    json = JSON.parse(text, exactId);
  } catch {
    throw malformed("it is not JSON");
  }
  const parsed = v.safeParse(deliveries, json);
  if (!parsed.success) throw malformed(`${v.getDotPath(parsed.issues[0]) ?? "it"} is not of its form`);
  return parsed.output.map(({ id, guid, delivered_at, redelivery, status, status_code }) => ({
    id,
    guid,
    deliveredAt: delivered_at,
    redelivery,
    outcome: outcomeOf(status, status_code),
  }));
}

/** An id as it is written: as a number it would lose digits above 2^53. */
function exactId(key: string, value: unknown, context?: { source?: string }): unknown {
  return key === "id" && typeof value === "number" ? context?.source : value;
}

function outcomeOf(status: string | null | undefined, code: number | null | undefined): Attempt["outcome"] {
  if (typeof code === "number" && code >= 200 && code <= 299) return "succeeded";
  return typeof code !== "number" || !status || status.toLowerCase() === "pending" ? "pending" : "failed";
}

/**
 * Only the cursor is taken from a link; the path may be another than what was asked for
 * (`/repositories/ID/…` for `/repos/OWNER/NAME/…`).
 */
function nextCursor(link: string | null, api: URL): string | undefined {
  const target = /<([^<>]*)>[^,<]*;\s*rel="?next\b/.exec(link ?? "")?.[1];
  if (target === undefined) return undefined;
  const url = URL.parse(target, api);
  const cursor = url?.origin === api.origin ? url.searchParams.get("cursor") : null;
  // To take it for the last page would skip what is behind it.
  if (!cursor || cursor.length > MAX_CURSOR_LENGTH)
    throw malformed("its link to the next page is not its own");
  return cursor;
}

function failure(status: number, text: string, { until }: { until: number | undefined }): OnionhookError {
  const limited = until !== undefined || status === 429 || /rate limit/i.test(text);
  if ((status === 403 || status === 429) && limited) return new RateLimited(until);
  if (status === 401 || status === 403) {
    const what = status === 401 ? "GitHub refused the token" : "the token lacks a permission";
    return new OnionhookError("ERR_GITHUB_TOKEN", what, { hint: TOKEN_HINT });
  }
  if (status === 404) {
    return new OnionhookError("ERR_GITHUB_HOOK", "GitHub shows no such hook or delivery to this token", {
      hint: `check RECONCILE in wrangler.toml, and the token: ${TOKEN_HINT}`,
    });
  }
  if (status >= 500) return unavailable(`status ${status}`);
  return new OnionhookError("ERR_GITHUB_REFUSED", `GitHub's API answered with status ${status}`, {
    hint: status < 400 ? "was it renamed? Write its new name into RECONCILE" : "see docs/reconciliation.md",
  });
}

function unavailable(why: string): OnionhookError {
  return new OnionhookError("ERR_GITHUB_UNAVAILABLE", `GitHub's API is unavailable: ${why}`, {
    hint: "nothing to do: the next run tries again",
    retryable: true,
  });
}

function malformed(why: string): OnionhookError {
  return new OnionhookError("ERR_GITHUB_ANSWER", `GitHub's API gave an answer that cannot be used: ${why}`, {
    hint: "is GITHUB_API_URL the API's address?",
  });
}
