import { createExecutionContext } from "cloudflare:test";
import { describe, expect, it, test, vi } from "vitest";
import type { Webhook } from "../../worker/webhook/github.ts";
import { makeApp } from "../../worker/app.ts";
import type { Settings } from "../../worker/config.ts";
import { answerOf, type Delivery, signatureOf, webhookRequest } from "./deliver.ts";
import { bindings } from "./parties.ts";

const SECRETS = {
  ONE: "the secret of the first source",
  TWO: "the secret of the second source",
  NEXT: "the next secret of the second one",
};

/** An edge of these settings whose outbox keeps nothing but the names of its streams. */
function edgeOf(settings: Settings & Record<string, unknown>) {
  const env = { ...bindings, ...SECRETS, ...settings };
  const report = vi.fn();
  const taken: Webhook[] = [];
  const app = makeApp({
    report,
    outboxOf: () => ({
      take: (stream, webhook) => {
        taken.push(webhook);
        return Promise.resolve({ stream, seq: taken.length, duplicate: false });
      },
      drain: () => Promise.reject(new Error("nobody drains")),
    }),
  });
  return {
    report,
    taken,
    deliver: async (secret: string, delivery: Delivery & { body: string }) => {
      const signature = await signatureOf(delivery.body, secret);
      const headers = { "X-Hub-Signature-256": signature, ...delivery.headers };
      const request = await webhookRequest({ ...delivery, headers });
      return answerOf(await app.fetch(request, env, createExecutionContext()));
    },
    health: async () => answerOf(await app.request("/health", {}, env)),
  };
}

const about = (repository: string, organization?: string) =>
  JSON.stringify({
    repository: { id: 1, full_name: repository, owner: { login: repository.split("/")[0] } },
    ...(organization === undefined ? {} : { organization: { login: organization } }),
  });

describe("a webhook's secret", () => {
  it("is good beside the one before it while that is still set, and not any more afterwards", async () => {
    const rotating = edgeOf({ WEBHOOK_SECRET: SECRETS.ONE, WEBHOOK_SECRET_OLD: SECRETS.TWO });
    expect((await rotating.deliver(SECRETS.ONE, { body: "{}" })).status).toBe(202);
    expect((await rotating.deliver(SECRETS.TWO, { body: "{}" })).status).toBe(202);
    const rotated = edgeOf({ WEBHOOK_SECRET: SECRETS.ONE });
    expect((await rotated.deliver(SECRETS.TWO, { body: "{}" })).json.error?.code).toBe("ERR_SIGNATURE");
  });

  it("is good beside another one in a source of its own", async () => {
    const edge = edgeOf({ SOURCES: { a: { secrets: ["TWO", "NEXT"] } } });
    for (const secret of [SECRETS.TWO, SECRETS.NEXT])
      expect((await edge.deliver(secret, { body: "{}" })).status).toBe(202);
    // Where sources are named, WEBHOOK_SECRET is none.
    expect((await edge.deliver(bindings.WEBHOOK_SECRET, { body: "{}" })).status).toBe(401);
  });

  it("is trimmed: a line's end after it in a file is none of it", async () => {
    const edge = edgeOf({ WEBHOOK_SECRET: `${SECRETS.ONE}\n` });
    expect((await edge.deliver(SECRETS.ONE, { body: "{}" })).status).toBe(202);
  });
});

describe("a source", () => {
  const SOURCES = {
    one: { secrets: "ONE", repositories: ["octo/One", "shared/*"] },
    two: { secrets: "TWO", organizations: ["Octo-Org"] },
  };
  const ofRepository = (full_name: string, owner?: string, organization?: string) =>
    JSON.stringify({
      repository: { id: 1, full_name, ...(owner === undefined ? {} : { owner: { login: owner } }) },
      ...(organization === undefined ? {} : { organization: { login: organization } }),
    });
  const allowed: { name: string; secret: string; body: string }[] = [
    { name: "of a repository", secret: SECRETS.ONE, body: about("octo/one") },
    { name: "of a repository in other letters", secret: SECRETS.ONE, body: about("Octo/ONE") },
    { name: "of every repository of an owner", secret: SECRETS.ONE, body: about("shared/any") },
    { name: "of an organisation", secret: SECRETS.TWO, body: about("octo-org/any", "octo-org") },
    {
      name: "of an organisation's own event",
      secret: SECRETS.TWO,
      body: '{"organization":{"login":"OCTO-ORG"}}',
    },
    {
      name: "of an organisation that only the owner names",
      secret: SECRETS.TWO,
      body: about("octo-org/any"),
    },
    {
      name: "of an organisation that only the repository's name names",
      secret: SECRETS.TWO,
      body: ofRepository("octo-org/any"),
    },
    {
      name: "of an organisation whose repository it is, whatever other organisation is named",
      secret: SECRETS.TWO,
      body: ofRepository("Octo-Org/any", "octo-org", "another"),
    },
  ];
  test.for(allowed)("may speak for what it is configured for: $name", async ({ secret, body }) => {
    const edge = edgeOf({ SOURCES });
    expect((await edge.deliver(secret, { body })).status).toBe(202);
    expect(edge.taken).toHaveLength(1);
  });

  const refused: { name: string; secret: string; body: string }[] = [
    { name: "another repository", secret: SECRETS.ONE, body: about("octo/two") },
    { name: "a repository whose name only begins so", secret: SECRETS.ONE, body: about("octo/one-more") },
    { name: "an owner whose name only ends so", secret: SECRETS.ONE, body: about("not-shared/any") },
    { name: "another source's organisation", secret: SECRETS.ONE, body: about("octo-org/any", "octo-org") },
    { name: "another source's repository", secret: SECRETS.TWO, body: about("octo/one") },
    { name: "no repository at all", secret: SECRETS.ONE, body: "{}" },
    {
      name: "a repository of somebody else in which its organisation is named",
      secret: SECRETS.TWO,
      body: ofRepository("octo/one", "octo", "octo-org"),
    },
    {
      name: "a repository of somebody else that it is said to own",
      secret: SECRETS.TWO,
      body: ofRepository("octo/one", "octo-org", "octo-org"),
    },
    {
      name: "a repository of its name that somebody else is said to own",
      secret: SECRETS.TWO,
      body: ofRepository("octo-org/any", "octo", "octo-org"),
    },
    { name: "a name without an owner", secret: SECRETS.ONE, body: ofRepository("shared") },
    { name: "a name of three parts", secret: SECRETS.ONE, body: ofRepository("shared/any/more", "shared") },
    { name: "an owner without a name", secret: SECRETS.ONE, body: ofRepository("shared/", "shared") },
    {
      name: "a repository that is named twice, of which the last counts",
      secret: SECRETS.ONE,
      body: '{"repository":{"full_name":"octo/one"},"repository":{"full_name":"octo/two"}}',
    },
    {
      name: "a repository that is named deeper down",
      secret: SECRETS.ONE,
      body: '{"a":{"repository":{"full_name":"octo/one"}}}',
    },
  ];
  test.for(refused)("may not speak for anything else: $name", async ({ secret, body }) => {
    const edge = edgeOf({ SOURCES });
    const { status, json } = await edge.deliver(secret, { body });
    expect([status, json.error?.code]).toEqual([403, "ERR_SOURCE"]);
    expect(edge.taken).toEqual([]);
    expect(edge.report.mock.calls).toEqual([["refused", { code: "ERR_SOURCE" }]]);
  });

  it("is found by its secret where two may speak for the same", async () => {
    const edge = edgeOf({ SOURCES: { one: { secrets: "ONE" }, two: { secrets: "TWO" } } });
    for (const secret of [SECRETS.ONE, SECRETS.TWO])
      expect((await edge.deliver(secret, { body: about("a/b") })).status).toBe(202);
    // The same body is the same delivery, whoever signs it.
    const [one, two] = edge.taken;
    expect(one?.bodyTag).toBe(two?.bodyTag);
  });

  it("is not asked for hooks that it does not have", async () => {
    const edge = edgeOf({ SOURCES: { one: { secrets: "ONE", hook_ids: [7, 8] } } });
    const from = (hook: string | null) =>
      edge.deliver(SECRETS.ONE, { body: "{}", headers: { "X-GitHub-Hook-ID": hook } });
    expect((await from("8")).status).toBe(202);
    expect((await from("9")).json.error?.code).toBe("ERR_SIGNATURE");
    expect((await from(null)).json.error?.code).toBe("ERR_SIGNATURE");
  });

  it("that is not meant, a secret that is wrong and a hook that nobody has are all answered alike", async () => {
    const edge = edgeOf({
      SOURCES: { one: { secrets: "ONE", hook_ids: [7] }, two: { secrets: ["TWO", "NEXT"], hook_ids: [8] } },
    });
    const answers = await Promise.all(
      [
        { secret: "a secret that nobody has", hook: "7" },
        { secret: SECRETS.TWO, hook: "7" },
        { secret: SECRETS.NEXT, hook: "7" },
        { secret: SECRETS.ONE, hook: "9" },
      ].map(async ({ secret, hook }) => {
        const { status, json, headers } = await edge.deliver(secret, {
          body: "{}",
          headers: { "X-GitHub-Hook-ID": hook },
        });
        return { status, json, headers: [...headers] };
      }),
    );
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    const told = JSON.stringify([answers, edge.report.mock.calls]);
    for (const secret of Object.values(SECRETS)) expect(told).not.toContain(secret);
    expect(told).not.toContain((await signatureOf("{}", SECRETS.ONE)).slice(7));
    expect((await edge.health()).json.refused).toEqual({ ERR_SIGNATURE: 4 });
  });
});

describe("a body's tag", () => {
  it("is of the event, the body and the edge: not of the GUID or the signature", async () => {
    const edge = edgeOf({ SOURCES: { one: { secrets: "ONE" }, two: { secrets: "TWO" } } });
    await edge.deliver(SECRETS.ONE, { body: "{}" });
    await edge.deliver(SECRETS.TWO, { body: "{}" });
    await edge.deliver(SECRETS.ONE, { body: "{ }" });
    await edge.deliver(SECRETS.ONE, { body: "{}", headers: { "X-GitHub-Event": "another" } });
    const [one, two, ...others] = edge.taken.map(({ bodyTag }) => bodyTag);
    expect(one).toBe(two);
    expect(new Set([one, ...others]).size).toBe(3);
    expect(edge.taken.map(({ form }) => form)).toEqual([false, false, false, false]);
  });
});
