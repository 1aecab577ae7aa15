/** Reconciliation against GitHub as it is documented, days in milliseconds, on the SQLite of a real object. */
import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { makeHookApi } from "../../../worker/reconcile/github-api.ts";
import {
  DISTANCES_MS,
  hasFailed,
  MAX_ASKS_PER_RUN,
  MAX_PAGES_PER_RUN,
  reconcile,
  type Tracked,
  wanting,
} from "../../../worker/reconcile/reconcile.ts";
import { reconcileConfigOf } from "../../../worker/reconcile/config.ts";
import { openReconcileSql } from "../../../worker/reconcile/sql.ts";
import type { ReconcileEnv } from "../../../worker/reconcile/reconciler.ts";
import { GithubApi } from "../../helpers/github-api.ts";

const HOOK = "/repos/octo/hello/hooks/1";
const API = "https://api.github.example";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A Thursday; what matters is that it does not move by itself. */
let clock: number;
let github: GithubApi;
let reports: { event: string; [field: string]: unknown }[];

beforeEach(() => {
  clock = Date.UTC(2026, 10, 19);
  github = new GithubApi(HOOK, () => clock);
  reports = [];
});

afterEach(reset);

/** One run, as the cron trigger makes it; answers until when GitHub forbids further ones. */
function run(
  options: { token?: string; fetch?: (url: string, init: RequestInit) => Promise<Response> } = {},
): Promise<number> {
  const fetch = options.fetch ?? ((url, init) => github.handle(new Request(url, init)));
  const parts = {
    apiUrl: API,
    token: options.token ?? github.token,
    hook: HOOK,
    fetch,
    now: () => clock,
  } as const;
  return runInDurableObject(reconciler(), (_object, state) =>
    reconcile({
      hook: HOOK,
      api: makeHookApi(parts),
      store: openReconcileSql(state.storage),
      report: (event, fields) => reports.push({ event, ...fields }),
      now: () => clock,
      wait: async (ms) => {
        clock += ms;
      },
    }),
  );
}

function reconciler() {
  const { RECONCILER } = env as unknown as ReconcileEnv;
  if (!RECONCILER) throw new Error("wrangler.toml has no RECONCILER");
  return RECONCILER.getByName(HOOK);
}

/** Runs every ten minutes, as wrangler.toml's cron does, for so long. */
async function runFor(ms: number): Promise<void> {
  for (const end = clock + ms; clock < end; clock += 10 * MINUTE) await run();
}

function rows(): Promise<number> {
  return runInDurableObject(reconciler(), (_object, { storage }) => {
    openReconcileSql(storage);
    return storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM guids").one().n;
  });
}

const last = () => reports.findLast(({ event }) => event === "reconciled");
const errors = () => reports.filter(({ event }) => event === "error").map(({ code }) => code);

describe("a listing", () => {
  it("reads all pages, with GitHub's headers, and reports what it saw", async () => {
    for (let index = 0; index < 250; index += 1) github.deliver("ok", { agoMs: 30 * HOUR + index });
    github.deliver("failed", { agoMs: 40 * HOUR });
    await run();
    expect(last()).toEqual({
      event: "reconciled",
      hook: HOOK,
      pages: 3,
      deliveries: 251,
      failed: 1,
      asked: 1,
      complete: true,
    });
    const [first] = github.asked;
    expect(first?.query.get("per_page")).toBe("100");
    expect(Object.fromEntries(first?.headers ?? [])).toMatchObject({
      accept: "application/vnd.github+json",
      authorization: `Bearer ${github.token}`,
      "user-agent": "onionhook",
      "x-github-api-version": "2022-11-28",
    });
  });

  it("goes back no further than an hour before what is known", async () => {
    for (let index = 0; index < 450; index += 1) github.deliver("ok", { agoMs: 2 * HOUR + index * MINUTE });
    await run();
    expect(last()).toMatchObject({ pages: 5 });
    clock += 10 * MINUTE;
    await run();
    expect(last()).toMatchObject({ pages: 1, complete: true });
  });

  it("sees an attempt again that was under way, and one that was listed late", async () => {
    github.perPageMax = 1;
    const slow = github.deliver("pending", { agoMs: 5000 });
    await run();
    github.deliver("ok", { agoMs: 20 * MINUTE });
    const late = github.deliver("failed", { agoMs: 50 * MINUTE });
    github.deliver("ok", { agoMs: 2 * HOUR });
    clock += 10 * MINUTE;
    github.settle(slow, "failed");
    await run();
    expect(github.redelivered).toEqual([late, slow]);
    expect(last()).toMatchObject({ pages: 4, complete: true });
  });

  it("that is cut by the page limit goes on where it was, and skips nothing that comes meanwhile", async () => {
    github.perPageMax = 2;
    const total = MAX_PAGES_PER_RUN * 2 * 2 + 30;
    for (let index = 0; index < total; index += 1) github.deliver("ok", { agoMs: 2 * HOUR + index * MINUTE });
    const oldest = github.deliver("failed", { agoMs: 60 * HOUR });
    const cursors = () =>
      github.asked.filter(({ method }) => method === "GET").map(({ query }) => query.get("cursor"));

    await run();
    expect(last()).toMatchObject({ pages: MAX_PAGES_PER_RUN, asked: 0, complete: false });
    const meanwhile = github.deliver("failed");
    clock += HOUR;
    github.deliver("ok");
    clock += HOUR;
    await run();
    expect(last()).toMatchObject({ pages: MAX_PAGES_PER_RUN, asked: 0, complete: false });
    clock += 2 * HOUR;
    await run();
    expect(last()).toMatchObject({ asked: 1, complete: true });
    expect(github.redelivered).toEqual([oldest]);
    expect(new Set(cursors()).size).toBe(cursors().length);

    clock += 10 * MINUTE;
    github.perPageMax = 1;
    await run();
    expect(github.redelivered).toEqual([oldest, meanwhile]);
  });

  it("that is cut asks for nothing: an older attempt that succeeded may be behind the cut", async () => {
    github.perPageMax = 1;
    const guid = github.deliver("failed", { agoMs: 5 * MINUTE });
    await run();
    clock += MINUTE;
    github.redeliver(guid, "ok");
    for (let index = 0; index < MAX_PAGES_PER_RUN; index += 1) github.deliver("ok");
    clock += 10 * MINUTE;
    await run();
    expect(last()).toMatchObject({ failed: 1, complete: false });
    await run();
    expect(last()).toMatchObject({ failed: 0, complete: true });
    expect(github.redelivered).toEqual([]);
  });

  it("that was cut over 3 days ago begins anew", async () => {
    github.perPageMax = 1;
    for (let index = 0; index <= MAX_PAGES_PER_RUN; index += 1) github.deliver("ok", { agoMs: index });
    await run();
    clock += 3 * DAY + MINUTE;
    const failed = github.deliver("failed", { agoMs: HOUR });
    await run();
    expect(github.redelivered).toEqual([failed]);
  });

  it("begins anew when GitHub no longer takes its cursor", async () => {
    github.perPageMax = 1;
    for (let index = 0; index < MAX_PAGES_PER_RUN + 5; index += 1)
      github.deliver("ok", { agoMs: HOUR + index });
    const failed = github.deliver("failed", { agoMs: 2 * HOUR });
    await run();
    github.attempts.splice(MAX_PAGES_PER_RUN, 1);
    await run();
    expect(errors()).toEqual(["ERR_GITHUB_REFUSED"]);
    await run();
    await run();
    expect(github.redelivered).toEqual([failed]);
  });

  it("with pages that never end is bounded in a run, and asks for nothing", async () => {
    let page = 0;
    github.fault = () => {
      page += 1;
      const headers = { Link: `<${API}/x?cursor=${page}>; rel="next"` };
      return Response.json([], { headers });
    };
    await run();
    expect(last()).toMatchObject({ pages: MAX_PAGES_PER_RUN, complete: false });
    github.fault = () => Response.json([], { headers: { Link: `<${API}/x?cursor=${page}>; rel="next"` } });
    await run();
    expect(errors()).toEqual(["ERR_GITHUB_ANSWER"]);
  });

  it("begins no further request after a minute", async () => {
    github.perPageMax = 1;
    for (let index = 0; index < 20; index += 1) github.deliver("ok", { agoMs: HOUR + index });
    const slow = async (url: string, init: RequestInit) => {
      clock += 9000;
      return github.handle(new Request(url, init));
    };
    await run({ fetch: slow });
    expect(last()).toMatchObject({ pages: 7, complete: false });
  });

  it("remembers nothing of what succeeded at once", async () => {
    for (let index = 0; index < 90; index += 1) github.deliver("ok", { agoMs: index * 1000 });
    github.deliver("failed", { agoMs: 30 * MINUTE });
    await run();
    expect(await rows()).toBe(1);
  });
});

describe("a redelivery", () => {
  it("is not asked for when any attempt succeeded, in whatever order", async () => {
    const fixed = github.deliver("failed", { agoMs: 5 * HOUR });
    github.redeliver(fixed, "failed", { agoMs: 4 * HOUR });
    github.redeliver(fixed, "ok", { agoMs: 3 * HOUR });
    const again = github.deliver("ok", { agoMs: 5 * HOUR });
    github.redeliver(again, "failed", { agoMs: 3 * HOUR });
    await runFor(DAY);
    expect(github.redelivered).toEqual([]);
  });

  it("is not asked for when somebody tries again what succeeded before the watermark", async () => {
    const fine = github.deliver("ok", { agoMs: 5 * HOUR });
    await runFor(5 * HOUR);
    github.redeliver(fine, "failed");
    await runFor(DAY);
    expect(github.redelivered).toEqual([]);
  });

  it("names the newest attempt, once it is ten minutes old", async () => {
    const guid = github.deliver("failed", { agoMs: HOUR });
    github.redeliver(guid, "failed", { agoMs: 9 * MINUTE });
    await run();
    expect(github.of("POST")).toEqual([]);
    clock += MINUTE;
    await run();
    expect(github.of("POST")).toEqual([`${HOOK}/deliveries/${github.attempts[1]?.id}/attempts`]);
  });

  it("is asked for at most three times, ever more rarely", async () => {
    const guid = github.deliver("failed");
    const started = clock;
    const asks: number[] = [];
    github.fault = (request) => {
      if (request.method === "POST") asks.push((clock - started) / MINUTE);
      return undefined;
    };
    await runFor(4 * DAY);
    expect(asks).toEqual([10, 70, 430]);
    expect(github.redelivered).toEqual([guid, guid, guid]);
    expect(await rows()).toBe(0);
  });

  it("ends it when it succeeds", async () => {
    const guid = github.deliver("failed");
    github.redeliveries.set(guid, ["failed", "ok"]);
    await runFor(2 * DAY);
    expect(github.redelivered).toEqual([guid, guid]);
    expect(last()).toMatchObject({ failed: 0 });
  });

  it("waits while an attempt is pending, but not for ever", async () => {
    const guid = github.deliver("pending");
    await runFor(HOUR);
    expect(github.redelivered).toEqual([]);
    await runFor(20 * MINUTE);
    expect(github.redelivered).toEqual([guid]);
  });

  it("is never asked for what is older than 3 days, even where the API lists it", async () => {
    github.retentionMs = 7 * DAY;
    github.deliver("failed", { agoMs: 3 * DAY + MINUTE });
    const young = github.deliver("failed", { agoMs: 3 * DAY - MINUTE });
    await run();
    expect(github.redelivered).toEqual([young]);
    await runFor(4 * DAY);
    expect(github.redelivered).toEqual([young]);
    expect(await rows()).toBe(0);
  });

  it("is bounded in a run, oldest first, a second apart", async () => {
    const guids = Array.from({ length: MAX_ASKS_PER_RUN + 3 }, (_, index) =>
      github.deliver("failed", { agoMs: 10 * HOUR - index * MINUTE }),
    );
    const started = clock;
    await run();
    expect(github.redelivered).toEqual(guids.slice(0, MAX_ASKS_PER_RUN));
    expect(clock - started).toBe((MAX_ASKS_PER_RUN - 1) * 1000);
    clock += 10 * MINUTE;
    await run();
    expect(github.redelivered).toEqual(guids);
  });

  it("names ids above 2^53 with all of their digits", async () => {
    const id = 9_223_372_036_854_775_783n;
    github.deliver("failed", { agoMs: HOUR, id });
    await run();
    expect(github.of("POST")).toEqual([`${HOOK}/deliveries/${id}/attempts`]);
    expect(last()).toMatchObject({ asked: 1 });
  });

  it("that GitHub refuses is reported, counts, and keeps no other from being asked for", async () => {
    const gone = github.deliver("failed", { agoMs: 2 * HOUR });
    const other = github.deliver("failed", { agoMs: HOUR });
    github.fault = (request) =>
      request.method === "POST" && github.of("POST").length === 1
        ? Response.json({ message: "Validation Failed" }, { status: 422 })
        : undefined;
    await run();
    expect(reports).toContainEqual(expect.objectContaining({ code: "ERR_GITHUB_REFUSED", delivery: gone }));
    expect(github.redelivered).toEqual([gone, other]);
    expect(last()).toMatchObject({ asked: 1, complete: true });
  });

  it("may have been taken when its answer was lost: it is counted, never doubled", async () => {
    github.deliver("failed", { agoMs: HOUR });
    const lost = async (url: string, init: RequestInit) => {
      const answer = await github.handle(new Request(url, init));
      if (init.method === "POST") throw new TypeError("Network connection lost.");
      return answer;
    };
    await run({ fetch: lost });
    expect(errors()).toEqual(["ERR_GITHUB_UNAVAILABLE"]);
    await run();
    expect(github.of("POST")).toHaveLength(1);
  });

  it("is not doubled when the run dies after asking", async () => {
    github.deliver("failed", { agoMs: HOUR });
    const dying = async (url: string, init: RequestInit) => {
      const answer = await github.handle(new Request(url, init));
      if (init.method === "POST") return new Promise<Response>(() => {});
      return answer;
    };
    void run({ fetch: dying }).catch(() => {});
    await expect.poll(() => github.of("POST").length, { timeout: 20_000 }).toBe(1);
    await run();
    expect(github.of("POST")).toHaveLength(1);
  });
});

describe("GitHub's rate limit", () => {
  it("stops before the request that would exceed it, and is waited for in silence", async () => {
    github.limit = 2;
    github.perPageMax = 1;
    for (let index = 0; index < 4; index += 1) github.deliver("failed", { agoMs: HOUR + index });
    const until = await run();
    expect(until).toBe(clock + HOUR);
    expect(github.asked).toHaveLength(2);
    expect(errors()).toEqual(["ERR_GITHUB_RATE_LIMIT"]);
    expect(last()).toMatchObject({ pages: 2, complete: false });

    const said = reports.length;
    await runFor(HOUR);
    expect([github.asked.length, reports.length]).toEqual([2, said]);
    github.limit = 5000;
    await run();
    expect(last()).toMatchObject({ pages: 2, asked: 4, complete: true });
  });

  it("with retry-after is waited for so long", async () => {
    github.secondary = { until: clock + 25 * MINUTE, retryAfter: true };
    expect(await run()).toBe(clock + 25 * MINUTE);
    clock += 24 * MINUTE;
    await run();
    expect(github.asked).toHaveLength(1);
    clock += MINUTE;
    await run();
    expect(last()).toMatchObject({ complete: true });
  });

  it("without a header is waited for a minute, then ever longer, at most 6 hours, and from the start after a good run", async () => {
    github.secondary = { until: Number.MAX_SAFE_INTEGER, retryAfter: false };
    const waits: number[] = [];
    for (let index = 0; index < 11; index += 1) {
      const until = await run();
      waits.push((until - clock) / MINUTE);
      clock = until;
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
    github.secondary = undefined;
    await run();
    github.secondary = { until: Number.MAX_SAFE_INTEGER, retryAfter: false };
    expect((await run()) - clock).toBe(MINUTE);
  });

  it("does not use up a redelivery", async () => {
    const guid = github.deliver("failed", { agoMs: HOUR });
    github.fault = (request) => {
      if (request.method === "POST" && github.of("POST").length === 1)
        return new Response("{}", { status: 429, headers: { "retry-after": "60" } });
      return undefined;
    };
    await run();
    clock += MINUTE;
    await run();
    expect(github.redelivered).toEqual([guid, guid]);
    expect(last()).toMatchObject({ asked: 1 });
  });

  it("in a header that makes no sense stops it for six hours at most", async () => {
    github.fault = () =>
      new Response("{}", {
        status: 403,
        headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999999" },
      });
    expect(await run()).toBe(clock + 6 * HOUR);
  });
});

describe("an answer of GitHub's", () => {
  const huge = () => new Response(`[${" ".repeat(2_000_000)}]`);
  const link = (url: string) => () => Response.json([], { headers: { Link: `<${url}>; rel="next"` } });
  test.for<[string, string, () => Response]>([
    ["401", "ERR_GITHUB_TOKEN", () => Response.json({ message: "Bad credentials" }, { status: 401 })],
    [
      "403 that is no limit",
      "ERR_GITHUB_TOKEN",
      () => Response.json({ message: "Resource not accessible by personal access token" }, { status: 403 }),
    ],
    ["404", "ERR_GITHUB_HOOK", () => Response.json({ message: "Not Found" }, { status: 404 })],
    ["500", "ERR_GITHUB_UNAVAILABLE", () => new Response("<html>unicorn</html>", { status: 500 })],
    [
      "a redirect",
      "ERR_GITHUB_REFUSED",
      () => new Response(null, { status: 301, headers: { Location: "https://evil.example/" } }),
    ],
    ["HTML", "ERR_GITHUB_ANSWER", () => new Response("<html>")],
    ["no list", "ERR_GITHUB_ANSWER", () => Response.json({ a: 1 })],
    ["half of its JSON", "ERR_GITHUB_ANSWER", () => new Response('[{"id":1')],
    ["an id with a fraction", "ERR_GITHUB_ANSWER", () => new Response('[{"id":1.5}]')],
    ["over 1 MiB", "ERR_GITHUB_ANSWER", huge],
    ["a link to another host", "ERR_GITHUB_ANSWER", link("https://evil.example/repos?cursor=v1_1")],
    ["a link without a cursor", "ERR_GITHUB_ANSWER", link(`${API}/repos?page=2`)],
  ])("that is %s is %s, with a hint, and nothing of it or of the token", async ([, code, answer]) => {
    github.deliver("failed", { agoMs: HOUR });
    github.fault = () => (github.asked.length === 1 ? answer() : undefined);
    await run();
    expect(errors()).toEqual([code]);
    expect(reports[0]).toMatchObject({ hook: HOOK, hint: expect.any(String) });
    expect(JSON.stringify(reports)).not.toMatch(/github_pat|unicorn|evil|Bad credentials/);
    // None of them moves the watermark: the next run sees what this one did not.
    await run();
    expect(github.redelivered).toHaveLength(1);
  });

  it("sends the token to the API's origin only", async () => {
    const urls: string[] = [];
    github.fault = () => new Response(null, { status: 302, headers: { Location: "https://evil.example/" } });
    await run({
      fetch: (url, init) => {
        urls.push(url);
        expect(init.redirect).toBe("manual");
        return github.handle(new Request(url, init));
      },
    });
    expect(urls).toHaveLength(1);
    expect(new URL(urls[0] ?? "").origin).toBe(API);
  });

  it("names the permission that the token needs", async () => {
    await run({ token: "wrong" });
    expect(reports[0]).toMatchObject({
      code: "ERR_GITHUB_TOKEN",
      hint: expect.stringMatching(/GITHUB_TOKEN.*Webhooks, read and write.*admin:repo_hook/),
    });
  });
});

describe("what wants a redelivery", () => {
  const now = 10 * DAY;
  const tracked = (change: Partial<Tracked>): Tracked => ({
    guid: "g",
    rooted: true,
    succeeded: false,
    pending: false,
    oldestAt: now - DAY,
    newestAt: now - DAY,
    newestId: "1",
    asked: 0,
    askedAt: 0,
    ...change,
  });
  const [first, second] = DISTANCES_MS;

  test.for<[string, Partial<Tracked>, boolean]>([
    ["failed long ago", {}, true],
    ["succeeded", { succeeded: true }, false],
    ["is unrooted", { rooted: false }, false],
    ["failed a moment less than ten minutes ago", { newestAt: now - first + 1 }, false],
    ["failed ten minutes ago", { newestAt: now - first }, true],
    ["was asked for a moment less than an hour ago", { asked: 1, askedAt: now - second + 1 }, false],
    ["was asked for an hour ago", { asked: 1, askedAt: now - second }, true],
    ["was asked for three times", { asked: 3, askedAt: now - 20 * HOUR }, false],
    ["has been pending for 59 minutes", { pending: true, newestAt: now - 59 * MINUTE }, false],
    ["is 3 days old", { oldestAt: now - 3 * DAY }, false],
  ])("what %s: %o", ([, change, wants]) => {
    expect(wanting([tracked(change)], now)).toHaveLength(wants ? 1 : 0);
  });

  it("is less than what has failed", () => {
    expect(hasFailed(tracked({ asked: 3 }), now)).toBe(true);
  });
});

describe("the configuration", () => {
  const GITHUB_TOKEN = "github_pat_x";
  it("is off when nothing is set, or no hook, whatever else there is", () => {
    expect(reconcileConfigOf({})).toBeUndefined();
    expect(reconcileConfigOf({ GITHUB_TOKEN })).toBeUndefined();
    expect(reconcileConfigOf({ RECONCILE: { hooks: [] } })).toBeUndefined();
  });

  it("makes paths of hooks, each once", () => {
    expect(
      reconcileConfigOf({
        GITHUB_TOKEN: " github_pat_x\n",
        RECONCILE: { hooks: ["Octo/Hello.World/12", "octo/hello.world/12", "octo/9"] },
      }),
    ).toEqual({
      token: GITHUB_TOKEN,
      apiUrl: "https://api.github.com",
      hooks: ["/repos/octo/hello.world/hooks/12", "/orgs/octo/hooks/9"],
    });
  });

  test.for([
    ["https://github.example/api/v3/", "https://github.example/api/v3"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080"],
    ["http://[::1]:8080/", "http://[::1]:8080"],
  ])("takes the API at %s", ([GITHUB_API_URL, apiUrl]) => {
    expect(reconcileConfigOf({ GITHUB_TOKEN, GITHUB_API_URL, RECONCILE: { hooks: ["a/1"] } })).toMatchObject({
      apiUrl,
    });
  });

  test.for([
    [{ RECONCILE: { hooks: ["a/b/1"] } }, /GITHUB_TOKEN: missing/],
    [{ GITHUB_TOKEN: "a b", RECONCILE: { hooks: ["a/b/1"] } }, /GITHUB_TOKEN: not the form/],
    [{ GITHUB_TOKEN, RECONCILE: "a/b/1" }, /RECONCILE: \{ hooks/],
    [{ GITHUB_TOKEN, RECONCILE: { hooks: ["a/../1"] } }, /RECONCILE.hooks.0: neither/],
    [{ GITHUB_TOKEN, RECONCILE: { hooks: ["a/b/c/1"] } }, /RECONCILE.hooks.0: neither/],
    [{ GITHUB_TOKEN, RECONCILE: { hooks: ["a/b/1?x"] } }, /RECONCILE.hooks.0: neither/],
    [{ GITHUB_TOKEN, RECONCILE: { hooks: Array(11).fill("a/1") } }, /RECONCILE.hooks: more than 10/],
    [{ GITHUB_TOKEN, GITHUB_API_URL: "http://api.github.com" }, /GITHUB_API_URL: an https URL/],
    [{ GITHUB_TOKEN, GITHUB_API_URL: "https://u:p@api.github.com" }, /GITHUB_API_URL: an https URL/],
  ] as const)("refuses %o", ([settings, message]) => {
    expect(() => reconcileConfigOf(settings)).toThrow(message);
  });
});
