/**
 * GitHub's API for one hook's deliveries as its documentation says it behaves, on any runtime: `handle` answers
 * requests, with a clock of its own. https://docs.github.com/en/rest/repos/webhooks
 */
export interface Attempt {
  id: bigint;
  guid: string;
  /** Milliseconds since 1970. */
  at: number;
  redelivery: boolean;
  status: string | null;
  code: number | null;
}

type Outcome = "ok" | "failed" | "pending";

const STATUS = {
  ok: { status: "OK", code: 200 },
  failed: { status: "Invalid HTTP Response: 503", code: 503 },
  pending: { status: null, code: null },
} as const;

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

export class GithubApi {
  readonly token = "github_pat_11AAAAAAA0secretsecretsecret";
  readonly attempts: Attempt[] = [];
  /** What has been asked: `GET` or `POST`, path and query. */
  readonly asked: { method: string; path: string; query: URLSearchParams; headers: Headers }[] = [];
  /** How redeliveries of a GUID end, in order; when there is no more: `failed`. */
  readonly redeliveries = new Map<string, Outcome[]>();
  /** Deliveries that are older are neither listed nor redelivered. */
  retentionMs = 3 * DAY_MS;
  perPageMax = 100;
  /** Requests an hour. */
  limit = 5000;
  /** A secondary limit until then, told with or without `retry-after`. */
  secondary: { until: number; retryAfter: boolean } | undefined;
  /** Answers instead, when it gives something. */
  fault: ((request: Request) => Response | undefined | Promise<Response | undefined>) | undefined;

  readonly hook: string;
  readonly now: () => number;
  #id = 12_000_000_000n;
  #used = 0;
  #reset = 0;

  constructor(hook: string, now: () => number) {
    this.hook = hook;
    this.now = now;
  }

  /** An event's first attempt, some time ago. Answers its GUID. */
  deliver(
    outcome: Outcome,
    {
      agoMs = 0,
      guid = crypto.randomUUID(),
      id = this.#id,
    }: { agoMs?: number; guid?: string; id?: bigint } = {},
  ): string {
    this.#append({ id, guid, at: this.now() - agoMs, redelivery: false, ...STATUS[outcome] });
    return guid;
  }

  /** Another attempt at it, as somebody asks for it with GitHub's button. */
  redeliver(guid: string, outcome: Outcome, { agoMs = 0 } = {}): void {
    this.#append({ id: this.#id, guid, at: this.now() - agoMs, redelivery: true, ...STATUS[outcome] });
  }

  settle(guid: string, outcome: Outcome): void {
    for (const attempt of this.attempts) if (attempt.guid === guid) Object.assign(attempt, STATUS[outcome]);
  }

  of(method: string): string[] {
    return this.asked.filter((request) => request.method === method).map(({ path }) => path);
  }

  /** GUIDs of which a redelivery was asked for, in order. */
  get redelivered(): string[] {
    return this.of("POST").map((path) => {
      const id = path.split("/").at(-2);
      return this.attempts.find((attempt) => String(attempt.id) === id)?.guid ?? "unknown";
    });
  }

  async handle(request: Request): Promise<Response> {
    const url = new URL(request.url);
    this.asked.push({
      method: request.method,
      path: url.pathname,
      query: url.searchParams,
      headers: new Headers(request.headers),
    });
    const fault = await this.fault?.(request);
    if (fault) return fault;
    if (!request.headers.get("user-agent")) return this.#message(403, "Request forbidden");
    if (request.headers.get("authorization") !== `Bearer ${this.token}`)
      return this.#message(401, "Bad credentials");
    const limited = this.#limited();
    if (limited) return limited;
    const deliveries = `${this.hook}/deliveries`;
    if (request.method === "GET" && url.pathname === deliveries) return this.#list(url);
    const id = new RegExp(`^${deliveries}/(\\d+)/attempts$`).exec(url.pathname)?.[1];
    if (request.method === "POST" && id !== undefined) return this.#attempt(BigInt(id));
    return this.#message(404, "Not Found");
  }

  #append(attempt: Attempt): void {
    this.attempts.push(attempt);
    if (attempt.id >= this.#id) this.#id = attempt.id + 7n;
  }

  get #kept(): Attempt[] {
    return this.attempts
      .filter(({ at }) => at >= this.now() - this.retentionMs)
      .toSorted((one, other) => other.at - one.at || (other.id > one.id ? 1 : -1));
  }

  #list(url: URL): Response {
    const perPage = Math.min(this.perPageMax, Number(url.searchParams.get("per_page") ?? 30));
    const cursor = url.searchParams.get("cursor");
    const all = this.#kept;
    const start = cursor === null ? 0 : all.findIndex(({ id }) => `v1_${id}` === cursor);
    if (start < 0) return this.#message(422, "Invalid cursor");
    const next = all[start + perPage];
    const page = all.slice(start, start + perPage).map(wireForm);
    const headers = this.#headers();
    // By the repository's number, as GitHub writes it, not by the name that was asked for.
    if (next)
      headers.set(
        "Link",
        `<${url.origin}/repositories/1296269/hooks/1/deliveries?per_page=${perPage}&cursor=v1_${next.id}>; rel="next"`,
      );
    headers.set("Content-Type", "application/json; charset=utf-8");
    return new Response(`[${page.join(",")}]`, { headers });
  }

  #attempt(id: bigint): Response {
    const attempt = this.#kept.find((each) => each.id === id);
    if (!attempt) return this.#message(404, "Not Found");
    this.redeliver(attempt.guid, this.redeliveries.get(attempt.guid)?.shift() ?? "failed");
    return new Response("{}", { status: 202, headers: this.#headers() });
  }

  #limited(): Response | undefined {
    const now = this.now();
    if (this.secondary && now < this.secondary.until) {
      const answer = this.#message(403, "You have exceeded a secondary rate limit.");
      if (this.secondary.retryAfter)
        answer.headers.set("retry-after", String(Math.ceil((this.secondary.until - now) / 1000)));
      return answer;
    }
    if (now >= this.#reset) [this.#reset, this.#used] = [now + HOUR_MS, 0];
    if (this.#used >= this.limit) return this.#message(403, "API rate limit exceeded for user ID 1.");
    this.#used += 1;
    return undefined;
  }

  #headers(): Headers {
    return new Headers({
      "x-ratelimit-limit": String(this.limit),
      "x-ratelimit-remaining": String(this.limit - this.#used),
      "x-ratelimit-used": String(this.#used),
      "x-ratelimit-reset": String(Math.ceil(this.#reset / 1000)),
      "x-ratelimit-resource": "core",
    });
  }

  #message(status: number, message: string): Response {
    return Response.json(
      { message, documentation_url: "https://docs.github.com/rest" },
      { status, headers: this.#headers() },
    );
  }
}

/** By hand: an id above 2^53 is written with all of its digits. */
function wireForm({ id, guid, at, redelivery, status, code }: Attempt): string {
  const rest = {
    guid,
    delivered_at: new Date(at).toISOString(),
    redelivery,
    duration: 0.03,
    status,
    status_code: code,
    event: "issues",
    action: "opened",
    installation_id: null,
    repository_id: 1296269,
    throttled_at: null,
  };
  return `{"id":${id},${JSON.stringify(rest).slice(1)}`;
}
