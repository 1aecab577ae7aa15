import { createExecutionContext, reset, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { concatBytes, decodeUtf8, encodeUtf8 } from "../../shared/bytes.ts";
import { formatKey } from "../../shared/keys.ts";
import { MAX_BODY_BYTES } from "../../shared/webhook-body.ts";
import type { Env } from "../../worker/main.ts";
import worker from "../../worker/main.ts";
import {
  type Answer,
  answerOf,
  deliver,
  type Delivery,
  EDGE,
  signatureOf,
  webhookRequest,
} from "./deliver.ts";
import { bindings, builder, edge, STREAM, WEBHOOK_SECRET } from "./parties.ts";
import { everyStoredValue, openStored, outbox, storedEvents } from "./stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
let printed: string[];

beforeEach(() => {
  printed = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a delivery that is taken", () => {
  it("is answered with 202, its stream and its number", async () => {
    const { status, json } = await deliver({ body: '{"a":1}', headers: { "X-GitHub-Delivery": ID } });
    expect([status, json]).toEqual([202, { delivery: ID, stream: STREAM, seq: 1, duplicate: false }]);
  });

  it("is stored with what GitHub said of it inside the seal", async () => {
    const before = Date.now();
    const body = ' {"id":12345678901234567890, "ref":"refs/heads/main"}\n';
    await deliver({ body, headers: { "X-GitHub-Delivery": ID, "X-GitHub-Event": "Pull_Request" } });
    const [stored, ...others] = await storedEvents();
    if (!stored) throw new Error("nothing was stored");
    expect(others).toEqual([]);
    expect(stored).toMatchObject({ seq: 1, delivery: ID, topic: "webhook.github.pull_request", done: false });
    const { delivery, rawBody } = openStored(stored);
    expect(decodeUtf8(rawBody)).toBe(body);
    expect(delivery).toEqual({
      v: 1,
      id: ID,
      event: "pull_request",
      hook_id: 292430182,
      received_at: expect.any(String),
      stream: STREAM,
      seq: 1,
      redelivery: false,
      signature: await signatureOf(body),
      body_bytes: body.length,
      altered: false,
    });
    expect(Date.parse(delivery.received_at)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(delivery.received_at)).toBeLessThanOrEqual(Date.now());
  });

  it("may come without a hook id", async () => {
    await deliver({ headers: { "X-GitHub-Hook-ID": null } });
    const [stored] = await storedEvents();
    expect(stored && openStored(stored).delivery.hook_id).toBeNull();
  });

  test.for([
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json ;x=y",
  ])("may be of content type %s", async (contentType) => {
    expect((await deliver({ headers: { "Content-Type": contentType } })).status).toBe(202);
  });

  it("has strings that begin with NUL rewritten, and its record says so", async () => {
    await deliver({ body: '{"a":"\\u0000","b":"c"}' });
    const [stored] = await storedEvents();
    if (!stored) throw new Error("nothing was stored");
    const { delivery, rawBody } = openStored(stored);
    expect(delivery.altered).toBe(true);
    expect(decodeUtf8(rawBody)).toBe('{"a":"\\uFFFD","b":"c"}');
  });

  it("is nowhere in the store but sealed, and nowhere in the log", async () => {
    const canary = `canary-${crypto.randomUUID()}`;
    const body = JSON.stringify({ canary, nested: [{ [canary]: canary }], long: canary.repeat(30_000) });
    expect((await deliver({ body, headers: { "X-GitHub-Delivery": ID } })).status).toBe(202);
    expect((await deliver({ body: `{"canary":"${canary}"}` })).status).toBe(202);

    // It is there for the builder, in one row that fits and in one of several chunks …
    const stored = await storedEvents();
    expect(stored.map(({ blobs }) => blobs.length)).toEqual([2, 1]);
    for (const event of stored) expect(decodeUtf8(openStored(event).rawBody)).toContain(canary);
    // … and for nobody else.
    const values = await everyStoredValue();
    expect(values.map(({ column }) => column)).toEqual(
      expect.arrayContaining(["events.sealed", "chunks.data"]),
    );
    for (const { column, value } of values) {
      const text = value instanceof ArrayBuffer ? new TextDecoder("latin1").decode(value) : String(value);
      expect(text.includes(canary), column).toBe(false);
    }
    expect(values.some(({ value }) => value === ID)).toBe(true);
    expect(printed.join("\n")).not.toContain(canary);
  });

  it("is reported by name and size", async () => {
    await deliver({ body: '{"a":1}', headers: { "X-GitHub-Delivery": ID } });
    const [stored] = await storedEvents();
    const reports = printed.map((line) => JSON.parse(line) as unknown);
    expect(reports).toEqual([
      { event: "received", at: expect.any(Number), delivery: ID, topic: "webhook.github.push", bytes: 7 },
      {
        event: "stored",
        at: expect.any(Number),
        delivery: ID,
        stream: STREAM,
        seq: 1,
        sealed_bytes: stored?.bytes,
        duplicate: false,
      },
    ]);
  });
});

describe("a delivery that is refused stores nothing:", () => {
  interface Refused {
    name: string;
    delivery: Delivery;
    status: number;
    code: string;
    says: RegExp;
  }

  const header = (
    name: string,
    value: string | null,
    says = value === null ? "missing" : "malformed",
  ): Refused => ({
    name: `${name}: ${value ?? "missing"}`,
    delivery: { headers: { [name]: value } },
    status: 400,
    code: "ERR_HEADER",
    says: new RegExp(`^the header ${name} is ${says}$`),
  });
  const body = (name: string, bytes: string | Uint8Array<ArrayBuffer>, says: RegExp): Refused => ({
    name,
    delivery: { body: bytes },
    status: 400,
    code: "ERR_BODY",
    says,
  });
  const method = (name: string): Refused => ({
    name,
    delivery: { method: name },
    status: 405,
    code: "ERR_METHOD",
    says: /^only POST is taken here$/,
  });
  const contentType = (value: string | null): Refused => ({
    name: `content type ${value ?? "missing"}`,
    delivery: { headers: { "Content-Type": value }, body: encodeUtf8("{}") },
    status: 415,
    code: "ERR_CONTENT_TYPE",
    says: /^the content type is not application\/json$/,
  });
  const signature = (name: string, value: string): Refused => ({
    name,
    delivery: { headers: { "X-Hub-Signature-256": value } },
    status: 401,
    code: "ERR_SIGNATURE",
    says: /^the signature does not match the body$/,
  });

  const refusals: Refused[] = [
    ...["GET", "PUT", "PATCH", "DELETE", "OPTIONS"].map(method),
    ...[
      null,
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "application/json-patch+json",
      "text/json",
      "x application/json",
    ].map(contentType),
    header("X-GitHub-Delivery", null),
    header("X-GitHub-Delivery", "1234567"),
    header("X-GitHub-Delivery", "d".repeat(65)),
    header("X-GitHub-Delivery", "12345678/../x"),
    header("X-GitHub-Event", null),
    header("X-GitHub-Event", ""),
    header("X-GitHub-Event", "9push"),
    header("X-GitHub-Event", "pu.sh"),
    header("X-GitHub-Event", "p".repeat(101)),
    header("X-Hub-Signature-256", null),
    header("X-Hub-Signature-256", "sha256="),
    header("X-Hub-Signature-256", `sha1=${"0".repeat(40)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(63)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(63)}g`),
    header("X-GitHub-Hook-ID", "-1"),
    header("X-GitHub-Hook-ID", "1e3"),
    header("X-GitHub-Hook-ID", "1".repeat(16)),
    signature("a signature of zeros", `sha256=${"0".repeat(64)}`),
    body("no body", "", /not a JSON object/),
    body("an array", "[{}]", /not a JSON object/),
    body("null", "null", /not a JSON object/),
    body("a string", '"{}"', /not a JSON object/),
    body("a form", "payload=%7B%7D", /not a JSON object/),
    body("half an object", '{"a":1', /not JSON: unexpected at byte 6/),
    body("two objects", "{}{}", /not JSON: unexpected at byte 2/),
    body(
      "a byte order mark",
      concatBytes(Uint8Array.of(0xef, 0xbb, 0xbf), encodeUtf8("{}")),
      /not a JSON object/,
    ),
    body(
      "invalid UTF-8",
      concatBytes(encodeUtf8('{"a":"'), Uint8Array.of(0xff), encodeUtf8('"}')),
      /not strict UTF-8/,
    ),
    body("257 levels", `${'{"a":'.repeat(257)}1${"}".repeat(257)}`, /nested deeper than 256 levels/),
    body("a number of 1001 digits", `{"a":${"1".repeat(1001)}}`, /number of more than 1000 characters/),
  ];

  test.for(refusals)("$status $code, $name", async ({ delivery, status, code, says }) => {
    const answer = await deliver(delivery);
    expectRefusal(answer, status, code, says);
    expect(answer.headers.get("allow")).toBe(status === 405 ? "POST" : null);
    expect(await storedEvents()).toEqual([]);
    expect(printed).toEqual([]);
  });

  it("401 ERR_SIGNATURE, the signature of another body, of another secret, or of a body altered on its way", async () => {
    const text = '{"ref":"refs/heads/main"}';
    const signatures = [
      await signatureOf(`${text}\n`),
      await signatureOf(text, "It's a Secret to Nobody!!!"),
      await signatureOf(text.replace("main", "mian")),
      await signatureOf(""),
    ];
    for (const value of signatures) {
      const answer = await deliver({ body: text, headers: { "X-Hub-Signature-256": value } });
      expectRefusal(answer, 401, "ERR_SIGNATURE", /^the signature does not match the body$/);
    }
    expect(await storedEvents()).toEqual([]);
  });

  it("what was refused may come again, and is then number 1", async () => {
    const headers = { "X-GitHub-Delivery": ID };
    await deliver({ headers: { ...headers, "X-Hub-Signature-256": `sha256=${"0".repeat(64)}` } });
    expect((await deliver({ headers })).json).toEqual({
      delivery: ID,
      stream: STREAM,
      seq: 1,
      duplicate: false,
    });
  });
});

describe("of several faults, the first in this order is told:", () => {
  it("method, content type, header, signature, body", async () => {
    const everything = {
      method: "PUT",
      body: "no JSON",
      headers: {
        "Content-Type": "text/plain",
        "X-GitHub-Delivery": "?",
        "X-Hub-Signature-256": `sha256=${"0".repeat(64)}`,
      },
    };
    const { headers } = everything;
    const steps: [Delivery, string][] = [
      [everything, "ERR_METHOD"],
      [{ ...everything, method: "POST" }, "ERR_CONTENT_TYPE"],
      [{ body: "no JSON", headers: { ...headers, "Content-Type": "application/json" } }, "ERR_HEADER"],
      // Only what is signed is looked into.
      [
        { body: "no JSON", headers: { "X-Hub-Signature-256": headers["X-Hub-Signature-256"] } },
        "ERR_SIGNATURE",
      ],
      [{ body: "no JSON" }, "ERR_BODY"],
    ];
    for (const [delivery, code] of steps) {
      expect((await deliver(delivery)).json).toMatchObject({ error: { code } });
    }
  });
});

describe("a body over 25 MiB", () => {
  const objectOf = (size: number) => encodeUtf8(`{"a":"${"x".repeat(size - 8)}"}`);

  it("is refused by its declared length, unread", async () => {
    const answer = await deliver({ headers: { "Content-Length": String(MAX_BODY_BYTES + 1) } });
    expectRefusal(answer, 413, "ERR_BODY_TOO_LARGE", /^the body is over 25 MiB$/);
  });

  it("is refused as it streams in, though it never said its length, and is not read to its end", async () => {
    const piece = new Uint8Array(1024 * 1024).fill(0x20);
    let pieces = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pieces += 1;
        if (pieces > 200) controller.close();
        else controller.enqueue(piece.slice());
      },
    });
    const { headers } = await webhookRequest();
    headers.delete("Content-Length");
    const request = new Request(`${EDGE}/webhook/github`, { method: "POST", headers, body: endless });
    const answer = await answerOf(await worker.fetch(request, env, createExecutionContext()));
    expectRefusal(answer, 413, "ERR_BODY_TOO_LARGE", /^the body is over 25 MiB$/);
    expect(pieces).toBeLessThan(70);
  });

  it("is refused by one byte more, and is taken without it", async () => {
    const tooLarge = await deliver({ body: objectOf(MAX_BODY_BYTES + 1) });
    expectRefusal(tooLarge, 413, "ERR_BODY_TOO_LARGE", /^the body is over 25 MiB$/);
    expect(await storedEvents()).toEqual([]);

    const body = objectOf(MAX_BODY_BYTES);
    expect((await deliver({ body })).status).toBe(202);
    const [stored] = await storedEvents();
    if (!stored) throw new Error("nothing was stored");
    expect(Math.max(...stored.blobs)).toBeLessThanOrEqual(1024 * 1024);
    const opened = openStored(stored);
    expect(opened.rawBody).toHaveLength(MAX_BODY_BYTES);
    expect(await signatureOf(new Uint8Array(opened.rawBody))).toBe(opened.delivery.signature);
  });

  test.for(["-1", "1", "100", "x", "1e3", ""])(
    "or smaller is read as it is, when its declared length is %j",
    async (length) => {
      // HTTP servers refuse such a length or never hand it on; the edge does not depend on that.
      const request = await webhookRequest({ body: '{"a":1}', headers: { "Content-Length": length } });
      const answer = await answerOf(await worker.fetch(request, env, createExecutionContext()));
      expect(answer.status).toBe(202);
      const [stored] = await storedEvents();
      expect(stored && decodeUtf8(openStored(stored).rawBody)).toBe('{"a":1}');
    },
  );
});

describe("a store that fails", () => {
  it("is answered with 503, so that GitHub shows the delivery as failed, and without the database's words", async () => {
    expect((await deliver()).status).toBe(202);
    await runInDurableObject(outbox(), (_object, { storage: { sql } }) => void sql.exec("DROP TABLE events"));
    const answer = await deliver({ headers: { "X-GitHub-Delivery": ID } });
    expectRefusal(answer, 503, "ERR_STORE", /^the delivery could not be stored$/);
    expect(JSON.stringify(answer.json)).not.toMatch(/sqlite|table|events/i);
    expect(JSON.parse(printed.at(-1) ?? "")).toEqual({
      event: "error",
      at: expect.any(Number),
      code: "ERR_STORE",
      message: "an unexpected error",
      delivery: ID,
    });
  });
});

describe("the edge's health", () => {
  type Setting = Exclude<keyof Env, "OUTBOX">;
  const secretKey = bindings.EDGE_BOX_KEY;
  const lowOrder = formatKey("box", "public", new Uint8Array(32));
  const publicKey = bindings.RECIPIENT.box_public;

  const health = async (changes: Partial<Record<Setting, unknown>>) => {
    const request = new Request(`${EDGE}/health`);
    return answerOf(await worker.fetch(request, { ...env, ...changes }, createExecutionContext()));
  };

  it("is ok, with the recipient's name and the number of relays", async () => {
    expect(await health({})).toMatchObject({
      status: 200,
      json: { status: "ok", recipient: STREAM, relays: 2 },
    });
  });

  const faults: { name: string; changes: Partial<Record<Setting, unknown>>; says: string }[] = [
    { name: "no webhook secret", changes: { WEBHOOK_SECRET: undefined }, says: "WEBHOOK_SECRET: missing" },
    {
      name: "a short webhook secret",
      changes: { WEBHOOK_SECRET: "hunter2-hunter2" },
      says: "WEBHOOK_SECRET: shorter than 16 characters",
    },
    {
      name: "a webhook secret of spaces",
      changes: { WEBHOOK_SECRET: " ".repeat(20) },
      says: "WEBHOOK_SECRET: shorter than 16 characters",
    },
    { name: "no box key", changes: { EDGE_BOX_KEY: undefined }, says: "EDGE_BOX_KEY: missing" },
    {
      name: "a public key for the box key",
      changes: { EDGE_BOX_KEY: publicKey },
      says: "EDGE_BOX_KEY: the key holds a public key of kind box",
    },
    {
      name: "a cut box key",
      changes: { EDGE_BOX_KEY: secretKey.slice(0, -6) },
      says: "EDGE_BOX_KEY: the key is not base64",
    },
    { name: "no recipient", changes: { RECIPIENT: undefined }, says: "RECIPIENT: missing" },
    { name: "a recipient as text", changes: { RECIPIENT: "builder" }, says: "RECIPIENT: missing" },
    {
      name: "a recipient without a name",
      changes: { RECIPIENT: { box_public: publicKey } },
      says: "RECIPIENT.name",
    },
    {
      name: "a recipient whose name is none",
      changes: { RECIPIENT: { name: "The Builder", box_public: publicKey } },
      says: "RECIPIENT.name: does not match",
    },
    {
      name: "a recipient with the edge's secret key",
      changes: { RECIPIENT: { name: "b", box_public: secretKey } },
      says: "RECIPIENT.box_public: the key holds a secret key",
    },
    {
      name: "a recipient with a low-order key",
      changes: { RECIPIENT: { name: "b", box_public: lowOrder } },
      says: "RECIPIENT.box_public: the key is a low-order point",
    },
    { name: "no relays", changes: { RELAYS: undefined }, says: "RELAYS: missing" },
    {
      name: "a relay with a box key",
      changes: { RELAYS: { one: publicKey } },
      says: "RELAYS.one: the key holds a public key of kind box",
    },
    {
      name: "a relay whose name is none",
      changes: { RELAYS: { "One!": bindings.RELAYS["relay-one"] } },
      says: "RELAYS.One!: a name does not match",
    },
  ];

  test.for(faults)("is 503 naming the setting and no secret: $name", async ({ changes, says }) => {
    const { status, json } = await health(changes);
    expect([status, json.error?.code]).toEqual([503, "ERR_EDGE_CONFIG"]);
    expect(json.error?.message).toContain(says);
    expect(json.error?.hint).toContain("onionhook keys new");
    const told = JSON.stringify(json) + printed.join("\n");
    for (const secret of [WEBHOOK_SECRET, "hunter2", secretKey.slice(-44, -10)])
      expect(told).not.toContain(secret);
  });

  it("names all faults at once", async () => {
    const { json } = await health({ WEBHOOK_SECRET: "", EDGE_BOX_KEY: "", RECIPIENT: {}, RELAYS: 1 });
    for (const setting of [
      "WEBHOOK_SECRET",
      "EDGE_BOX_KEY",
      "RECIPIENT.name",
      "RECIPIENT.box_public",
      "RELAYS",
    ]) {
      expect(JSON.stringify(json)).toContain(setting);
    }
  });

  it("when it is bad, refuses deliveries with 503 and relays, too, without naming the settings to them", async () => {
    const bad = { ...env, WEBHOOK_SECRET: "short" };
    const drain = new Request(`${EDGE}/drain`, {
      headers: { Upgrade: "websocket", "Sec-WebSocket-Protocol": "onionhook.drain.1" },
    });
    for (const request of [await webhookRequest(), drain]) {
      const answer = await answerOf(await worker.fetch(request, bad, createExecutionContext()));
      expectRefusal(answer, 503, "ERR_CONFIG", /^the edge is misconfigured$/);
      expect(JSON.stringify(answer.json)).not.toContain("WEBHOOK_SECRET");
    }
    expect(await storedEvents()).toEqual([]);
  });
});

describe("any other request", () => {
  test.for(["/", "/webhook", "/webhook/github/", "/webhook/gitlab", "/drain/x", "/Health"])(
    "is answered with 404 and JSON: %s",
    async (path) => {
      const response = await exports.default.fetch(EDGE + path);
      expectRefusal(await answerOf(response), 404, "ERR_NOT_FOUND", /^there is nothing at this path$/);
    },
  );

  test.for([
    { name: "no upgrade", headers: {} },
    {
      name: "an upgrade to another protocol",
      headers: { Upgrade: "h2c", "Sec-WebSocket-Protocol": "onionhook.drain.1" },
    },
    { name: "no subprotocol", headers: { Upgrade: "websocket" } },
    {
      name: "another subprotocol",
      headers: { Upgrade: "websocket", "Sec-WebSocket-Protocol": "onionhook.drain.2" },
    },
  ])("of the drain is answered with 426 and JSON: $name", async ({ headers }) => {
    const request = new Request(`${EDGE}/drain`, { headers: headers as Record<string, string> });
    const answer = await answerOf(await worker.fetch(request, env, createExecutionContext()));
    expectRefusal(answer, 426, "ERR_UPGRADE", /^the drain is a WebSocket$/);
  });
});

describe("the keys of these tests", () => {
  it("are those of the bindings", () => {
    expect(env.RECIPIENT).toEqual({
      name: STREAM,
      box_public: formatKey("box", "public", builder.publicKey),
    });
    expect(env.EDGE_BOX_KEY).toBe(formatKey("box", "secret", edge.secretKey));
  });
});

function expectRefusal(
  { status, headers, json }: Answer,
  expectedStatus: number,
  code: string,
  says: RegExp,
): void {
  expect(json).toEqual({
    error: { code, message: expect.stringMatching(says), hint: expect.stringMatching(/\S/) },
  });
  expect(status).toBe(expectedStatus);
  expect(headers.get("content-type")).toMatch(/^application\/json/);
}
