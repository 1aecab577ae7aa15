import { describe, expect, it, test } from "vitest";
import { encodeBase64 } from "../../shared/bytes.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { formatKey } from "../../shared/keys.ts";
import { parseConfig, type Settings } from "../../worker/config.ts";
import { bindings, builder, edge, relays, stranger } from "./parties.ts";

const SECRET = "a secret of another source";
const box = (key: Uint8Array) => formatKey("box", "public", key);
const boxKey = bindings.RECIPIENTS.builder.box_public;
const otherKey = box(stranger.publicKey);
const signKey = bindings.RELAYS["relay-one"];
const secretKey = bindings.EDGE_BOX_KEY;
/** The encoding of 1 is one of a low-order point; docs: https://cr.yp.to/ecdh.html#validate. */
const lowOrder = box(Uint8Array.from({ length: 32 }, (_, index) => (index === 0 ? 1 : 0)));

const parse = (settings: Settings & Record<string, unknown>) =>
  parseConfig({ ...bindings, SECRET_A: SECRET, ...settings } as Settings);
const recipient = (settings: Record<string, unknown>) =>
  parse({ RECIPIENTS: { docs: { box_public: boxKey, ...settings } } }).recipients.get("docs");

describe("the edge's settings", () => {
  it("stand alone with one secret, one recipient and its relays", () => {
    const config = parse({});
    expect(config.sources).toEqual([
      {
        secrets: [bindings.WEBHOOK_SECRET],
        hookIds: undefined,
        repositories: undefined,
        organizations: undefined,
      },
    ]);
    expect(config.boxSecret).toEqual(edge.secretKey);
    expect([...config.recipients]).toEqual([
      [
        "builder",
        {
          name: "builder",
          keys: new Map([["webhook.github.", [builder.publicKey]]]),
          events: undefined,
          repositories: undefined,
          receipts: true,
          streams: 1,
          retentionMs: 7 * 24 * 60 * 60 * 1000,
        },
      ],
    ]);
    expect(config.relays.get("relay-one")).toEqual({
      keys: [relays["relay-one"].publicKey],
      recipients: undefined,
      redeliver: false,
    });
  });

  it("have keys as a text, a list of two, or a table by topic", () => {
    expect(recipient({ box_public: [otherKey, boxKey] })?.keys).toEqual(
      new Map([["webhook.github.", [stranger.publicKey, builder.publicKey]]]),
    );
    const byTopic = { "webhook.github.": boxKey, "webhook.github.push": [otherKey, boxKey] };
    expect(recipient({ box_public: byTopic })?.keys).toEqual(
      new Map([
        ["webhook.github.", [builder.publicKey]],
        ["webhook.github.push", [stranger.publicKey, builder.publicKey]],
      ]),
    );
    const two = parse({ RELAYS: { one: [signKey, bindings.RELAYS["relay-two"]] } }).relays.get("one");
    expect(two?.keys).toEqual([relays["relay-one"].publicKey, relays["relay-two"].publicKey]);
    const grant = { sign_public: signKey, recipients: ["builder"], redeliver: true };
    expect(parse({ RELAYS: { one: grant } }).relays.get("one")).toEqual({
      keys: [relays["relay-one"].publicKey],
      recipients: ["builder"],
      redeliver: true,
    });
  });

  it("let no relay redeliver unless it is said", () => {
    const grants = parse({ RELAYS: { one: { sign_public: signKey }, two: [signKey] } }).relays;
    expect([...grants.values()].map(({ redeliver }) => redeliver)).toEqual([false, false]);
  });

  it("compare names of GitHub's in lower case", () => {
    expect(recipient({ events: ["Pull_Request"], repositories: ["Octo/*", "A/B.c"] })).toMatchObject({
      events: ["pull_request"],
      repositories: ["octo/*", "a/b.c"],
    });
  });

  const faults: { name: string; settings: Settings & Record<string, unknown>; says: string }[] = [
    { name: "no secret", settings: { WEBHOOK_SECRET: undefined }, says: "WEBHOOK_SECRET: missing" },
    {
      name: "a short secret",
      settings: { WEBHOOK_SECRET: "hunter2-hunter2" },
      says: "WEBHOOK_SECRET: shorter than 16",
    },
    {
      name: "a secret of spaces",
      settings: { WEBHOOK_SECRET: " ".repeat(20) },
      says: "WEBHOOK_SECRET: shorter than 16",
    },
    {
      name: "a short old secret",
      settings: { WEBHOOK_SECRET_OLD: "hunter2" },
      says: "WEBHOOK_SECRET_OLD: shorter than 16",
    },
    { name: "no source", settings: { SOURCES: {} }, says: "SOURCES: names nobody" },
    {
      name: "more than sixteen sources",
      settings: {
        SOURCES: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`s${n}`, { secrets: "SECRET_A" }])),
      },
      says: "SOURCES: has more than 16",
    },
    {
      name: "a source whose secret is not set",
      settings: { SOURCES: { a: { secrets: "SECRET_B" } } },
      says: "SECRET_B: missing: set it with wrangler secret put SECRET_B",
    },
    {
      name: "a source with a secret in place of its name",
      settings: { SOURCES: { a: { secrets: SECRET } } },
      says: "SOURCES.a.secrets.0: is no name of a secret",
    },
    {
      name: "a source that is a secret",
      settings: { SOURCES: { a: SECRET } },
      says: "SOURCES.a: Object was expected",
    },
    { name: "a secret for all sources", settings: { SOURCES: SECRET }, says: "SOURCES: Object was expected" },
    {
      name: "a secret where a number belongs",
      settings: { SOURCES: { a: { secrets: "SECRET_A", hook_ids: [SECRET] } } },
      says: "SOURCES.a.hook_ids.0: number was expected",
    },
    {
      name: "a source without secrets",
      settings: { SOURCES: { a: { secrets: [] } } },
      says: "SOURCES.a.secrets: is empty",
    },
    {
      name: "three secrets",
      settings: { SOURCES: { a: { secrets: ["A", "B", "C"] } } },
      says: "SOURCES.a.secrets: has more than two",
    },
    {
      name: "a list that shuts everybody out",
      settings: { SOURCES: { a: { secrets: "SECRET_A", repositories: [] } } },
      says: "SOURCES.a.repositories: is empty",
    },
    {
      name: "a repository that is none",
      settings: { SOURCES: { a: { secrets: "SECRET_A", repositories: ["octo"] } } },
      says: "SOURCES.a.repositories.0: is neither",
    },
    {
      name: "a setting that is not known",
      settings: { SOURCES: { a: { secrets: "SECRET_A", repos: ["a/b"] } } },
      says: "SOURCES.a.repos: is not known",
    },
    { name: "no box key", settings: { EDGE_BOX_KEY: undefined }, says: "EDGE_BOX_KEY: missing" },
    {
      name: "a public key for the box key",
      settings: { EDGE_BOX_KEY: boxKey },
      says: "EDGE_BOX_KEY: the key holds a public key of kind box",
    },
    {
      name: "a cut box key",
      settings: { EDGE_BOX_KEY: secretKey.slice(0, -6) },
      says: "EDGE_BOX_KEY: the key is not base64",
    },
    { name: "no recipients", settings: { RECIPIENTS: undefined }, says: "RECIPIENTS: " },
    { name: "no recipient", settings: { RECIPIENTS: {} }, says: "RECIPIENTS: names nobody" },
    { name: "a recipient as text", settings: { RECIPIENTS: "builder" }, says: "RECIPIENTS: missing" },
    {
      name: "a recipient without a key",
      settings: { RECIPIENTS: { docs: {} } },
      says: "RECIPIENTS.docs.box_public",
    },
    {
      name: "a recipient whose name is none",
      settings: { RECIPIENTS: { "The Builder": { box_public: boxKey } } },
      says: "RECIPIENTS.The Builder: does not match",
    },
    {
      name: "a recipient that is named like a stream",
      settings: { RECIPIENTS: { "docs-2": { box_public: boxKey } } },
      says: "RECIPIENTS.docs-2: ends like the name of a further stream",
    },
    {
      name: "no streams",
      settings: { RECIPIENTS: { docs: { box_public: boxKey, streams: 0 } } },
      says: "RECIPIENTS.docs.streams: ",
    },
    {
      name: "too many streams",
      settings: { RECIPIENTS: { docs: { box_public: boxKey, streams: 33 } } },
      says: "RECIPIENTS.docs.streams: ",
    },
    {
      name: "a retention that Cloudflare cannot keep",
      settings: { RECIPIENTS: { docs: { box_public: boxKey, retention_days: 31 } } },
      says: "RECIPIENTS.docs.retention_days: ",
    },
    {
      name: "an event that is none",
      settings: { RECIPIENTS: { docs: { box_public: boxKey, events: ["pull-request"] } } },
      says: "RECIPIENTS.docs.events.0: is no event's name",
    },
    {
      name: "a topic that is none",
      settings: { RECIPIENTS: { docs: { box_public: { push: boxKey } } } },
      says: "RECIPIENTS.docs.box_public.push: is neither a topic",
    },
    { name: "no relays", settings: { RELAYS: undefined }, says: "RELAYS: " },
    {
      name: "a relay with a box key",
      settings: { RELAYS: { one: boxKey } },
      says: "RELAYS.one.sign_public.0: the key holds a public key of kind box",
    },
    {
      name: "a relay whose name is none",
      settings: { RELAYS: { "One!": signKey } },
      says: "RELAYS.One!: does not match",
    },
    {
      name: "a relay with three keys",
      settings: { RELAYS: { one: [signKey, signKey, signKey] } },
      says: "RELAYS.one.sign_public: has more than two",
    },
  ];

  test.for(faults)("are refused by the setting's name and without its value: $name", ({ settings, says }) => {
    const error = faultOf(() => parse(settings));
    expect([error.code, error.hint]).toEqual([
      "ERR_EDGE_CONFIG",
      expect.stringContaining("onionhook -- keys new"),
    ]);
    expect(error.message).toContain(says);
    for (const secret of [bindings.WEBHOOK_SECRET, SECRET, "hunter2", secretKey.slice(-44, -10)])
      expect(error.message + String(error.stack)).not.toContain(secret);
  });

  const badKeys: { name: string; key: unknown; says: string }[] = [
    { name: "of low order", key: lowOrder, says: "is a low-order point" },
    { name: "all zero", key: box(new Uint8Array(32)), says: "is a low-order point" },
    { name: "the edge's secret one", key: secretKey, says: "holds a secret key of kind box" },
    { name: "of another kind", key: signKey, says: "holds a public key of kind sign" },
    { name: "not base64", key: "onionhook-box-public:no!base64", says: "is not base64" },
    {
      name: "too short",
      key: `onionhook-box-public:${encodeBase64(new Uint8Array(31).fill(9))}`,
      says: "has 31 bytes",
    },
    {
      name: "too long",
      key: `onionhook-box-public:${encodeBase64(new Uint8Array(33).fill(9))}`,
      says: "has 33 bytes",
    },
    { name: "without its prefix", key: encodeBase64(builder.publicKey), says: "is no key of ours" },
    { name: "empty", key: "", says: "is no key of ours" },
  ];
  test.for(badKeys)("have no recipient's key, wherever it stands, that is $name", ({ key, says }) => {
    const places: [Record<string, unknown>, string][] = [
      [{ box_public: key }, "RECIPIENTS.docs.box_public.0"],
      [{ box_public: [boxKey, key] }, "RECIPIENTS.docs.box_public.1"],
      [{ box_public: { "webhook.github.push": key } }, "RECIPIENTS.docs.box_public.webhook.github.push.0"],
    ];
    for (const [settings, path] of places) {
      const { message } = faultOf(() => recipient(settings));
      expect(message).toContain(`${path}: the key ${says}`);
      expect(message).not.toContain(secretKey.slice(-44, -10));
    }
  });

  it("are told with all their faults at once", () => {
    const { message } = faultOf(() => parse({ EDGE_BOX_KEY: "", RECIPIENTS: { docs: {} }, RELAYS: 1 }));
    for (const setting of ["EDGE_BOX_KEY", "RECIPIENTS.docs.box_public", "RELAYS"])
      expect(message).toContain(`${setting}: `);
  });
});

function faultOf(parsing: () => unknown): OnionhookError {
  try {
    parsing();
  } catch (error) {
    if (error instanceof OnionhookError) return error;
    throw error;
  }
  throw new Error("no fault was found");
}
