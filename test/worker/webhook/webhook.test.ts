import { createExecutionContext, reset, runInDurableObject, waitOnExecutionContext } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { concatBytes, decodeUtf8, encodeUtf8 } from "../../../shared/bytes.ts";
import { formatKey } from "../../../shared/keys.ts";
import { MAX_BODY_BYTES } from "../../../shared/webhook-body.ts";
import worker from "../../../worker/main.ts";
import {
  type Answer,
  answerOf,
  deliver,
  type Delivery,
  EDGE,
  EVENT,
  signatureOf,
  webhookRequest,
} from "../deliver.ts";
import { builder, edge, STREAM } from "../parties.ts";
import { everyStoredValue, openStored, outbox, storedEvents } from "../stored.ts";

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
    const stored = [{ stream: STREAM, seq: 1, duplicate: false }];
    expect([status, json]).toEqual([202, { delivery: ID, event: EVENT, duplicate: false, stored }]);
  });

  it("is stored with what GitHub said of it inside the seal", async () => {
    const before = Date.now();
    const body = ' {"number":12345678901234567890, "pull_request":{}}\n';
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
      { event: "received", at: expect.any(Number), delivery: ID, topic: `webhook.github.${EVENT}`, bytes: 7 },
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

  it("is waited for by the runtime, which ends the request of a sender that hung up", async () => {
    const context = createExecutionContext();
    void worker.fetch(await webhookRequest(), env, context);
    await waitOnExecutionContext(context);
    expect(await storedEvents()).toHaveLength(1);
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
    says: /^This URL takes webhook deliveries from GitHub, by POST; it has nothing to show\.$/,
  });
  const contentType = (value: string | null): Refused => ({
    name: `content type ${value ?? "missing"}`,
    delivery: { headers: { "Content-Type": value }, body: encodeUtf8("{}") },
    status: 415,
    code: "ERR_CONTENT_TYPE",
    says: /^the content type is neither application\/json nor application\/x-www-form-urlencoded$/,
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
      "multipart/form-data; boundary=x",
      "application/x-www-form-urlencodedx",
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
    ...["onionhook_canary", "Onionhook_Canary"].map((event) => ({
      ...header("X-GitHub-Event", event),
      says: /^the header X-GitHub-Event names no event of GitHub's$/,
    })),
    header("X-Hub-Signature-256", null),
    header("X-Hub-Signature-256", "sha256="),
    header("X-Hub-Signature-256", `sha1=${"0".repeat(40)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(63)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(63)}g`),
    header("X-Hub-Signature-256", "0".repeat(64)),
    header("X-Hub-Signature-256", `SHA256=${"0".repeat(64)}`),
    header("X-Hub-Signature-256", `sha512=${"0".repeat(128)}`),
    header("X-Hub-Signature-256", `sha256= ${"0".repeat(64)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(32)} ${"0".repeat(32)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(64)}, sha256=${"1".repeat(64)}`),
    header("X-Hub-Signature-256", `sha256=${"0".repeat(65)}`),
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
    expect(printed.map((line) => JSON.parse(line) as unknown)).toEqual([
      { event: "refused", at: expect.any(Number), code },
    ]);
  });

  it("400 ERR_HEADER, a true signature and a second one beside it", async () => {
    const request = await webhookRequest();
    request.headers.append("X-Hub-Signature-256", request.headers.get("X-Hub-Signature-256") ?? "");
    const answer = await answerOf(await exports.default.fetch(request));
    expectRefusal(answer, 400, "ERR_HEADER", /^the header X-Hub-Signature-256 is malformed$/);
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
    expect((await deliver({ headers })).json.stored).toEqual([{ stream: STREAM, seq: 1, duplicate: false }]);
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
    const endless = new ReadableStream({
      type: "bytes",
      pull(controller: ReadableByteStreamController) {
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
  }, 30_000);

  test.for(["-1", "100", "x", "1e3", ""])(
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

describe("senders that stall", () => {
  /** A body that begins and then stalls, without a signature that is true. */
  async function stall(declared: number) {
    const came = 1_120_000;
    let end = () => {};
    let whole = () => {};
    const read = new Promise<void>((resolve) => (whole = resolve));
    let sent = 0;
    const body = new ReadableStream({
      type: "bytes",
      async pull(controller: ReadableByteStreamController) {
        if (sent < came) {
          const piece = new Uint8Array(Math.min(64 * 1024, came - sent)).fill(0x20);
          sent += piece.length;
          return controller.enqueue(piece);
        }
        whole();
        await new Promise<void>((resolve) => (end = resolve));
        controller.close();
      },
    });
    const { headers } = await webhookRequest({ headers: { "Content-Length": String(declared) } });
    const request = new Request(`${EDGE}/webhook/github`, { method: "POST", headers, body });
    const answer = Promise.resolve(worker.fetch(request, env, createExecutionContext())).then(answerOf);
    await read;
    return { end: () => end(), answer };
  }

  it("and promise 40 MiB keep nobody out: they count by what they sent", async () => {
    const stalled = [await stall(25 * 1024 * 1024), await stall(15 * 1024 * 1024)];
    const genuine = await deliver({ body: `{"a":"${"x".repeat(100_000)}"}` });
    expect([genuine.status, genuine.json.stored]).toEqual([
      202,
      [{ stream: STREAM, seq: 1, duplicate: false }],
    ]);
    for (const { end } of stalled) end();
    for (const { answer } of stalled) expect((await answer).json.error?.code).toBe("ERR_SIGNATURE");
  });
});

describe("a store that fails", () => {
  it("is answered with 503, so that GitHub shows the delivery as failed, and without the database's words", async () => {
    expect((await deliver()).status).toBe(202);
    await runInDurableObject(outbox(), (_object, { storage: { sql } }) => void sql.exec("DROP TABLE events"));
    const answer = await deliver({ headers: { "X-GitHub-Delivery": ID } });
    expectRefusal(answer, 503, "ERR_STORE", /^the delivery could not be stored$/);
    expect(JSON.stringify(answer.json)).not.toMatch(/sqlite|table|events/i);
    expect(printed.slice(-2).map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        event: "error",
        at: expect.any(Number),
        code: "ERR_STORE",
        message: "an unexpected error",
        stream: STREAM,
        delivery: ID,
      },
      { event: "refused", at: expect.any(Number), code: "ERR_STORE" },
    ]);
  });
});

describe("a form, GitHub's other content type", () => {
  const asForm = async (payload: string) => {
    const body = `payload=${encodeURIComponent(payload).replaceAll("%20", "+")}`;
    return {
      body,
      headers: { "Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Delivery": ID },
    };
  };
  const payload = '{"text":"a b & ü %"}';

  it("is taken: its JSON is sealed, marked as altered, as the signature is the form's", async () => {
    const form = await asForm(payload);
    expect((await deliver(form)).status).toBe(202);
    const [stored] = await storedEvents();
    if (!stored) throw new Error("nothing was stored");
    const { delivery, rawBody } = openStored(stored);
    expect(decodeUtf8(rawBody)).toBe(payload);
    expect(delivery).toMatchObject({ altered: true, signature: await signatureOf(form.body) });
  });

  it("is a duplicate of the same JSON, and the other way round", async () => {
    await deliver(await asForm(payload));
    expect((await deliver({ body: payload })).json.duplicate).toBe(true);
    await deliver({ body: "{}" });
    const form = await asForm("{}");
    expect(
      (await deliver({ ...form, headers: { ...form.headers, "X-GitHub-Delivery": "another-guid" } })).json,
    ).toMatchObject({ duplicate: true, stored: [{ seq: 2 }] });
  });

  test.for(["", "payload=", "data=%7B%7D", "payload=%7B%7D&payload=%7B%7D", "payload=%7B%7", "payload=%zz"])(
    "is refused when it does not hold one field payload: %j",
    async (body) => {
      const answer = await deliver({
        body,
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      expectRefusal(answer, 400, "ERR_BODY", /^the form does not hold one field payload$/);
      expect(await storedEvents()).toEqual([]);
    },
  );

  it("is refused when its payload is no JSON object", async () => {
    expectRefusal(await deliver(await asForm("[]")), 400, "ERR_BODY", /not a JSON object/);
  });
});

describe("a ping", () => {
  it("is carried through as every event", async () => {
    const body = JSON.stringify({
      zen: "Design for failure.",
      hook_id: 292430182,
      hook: { type: "Repository" },
    });
    expect((await deliver({ body, headers: { "X-GitHub-Event": "ping" } })).json).toMatchObject({
      event: "ping",
      stored: [{ seq: 1 }],
    });
  });
});

describe("headers that GitHub does not sign", () => {
  it("are refused when the body is clearly of another event", async () => {
    const answer = await deliver({
      body: '{"issue":{},"comment":{}}',
      headers: { "X-GitHub-Event": "issues" },
    });
    expectRefusal(answer, 400, "ERR_DISAGREE", /^the body is one of issue_comment, not of issues$/);
    expect(await storedEvents()).toEqual([]);
  });

  it("count less than the body's own word for its hook", async () => {
    expect((await deliver({ body: '{"hook_id":1}', headers: { "X-GitHub-Hook-ID": "2" } })).status).toBe(202);
    const [stored] = await storedEvents();
    expect(stored && openStored(stored).delivery.hook_id).toBe(1);
  });

  it("cannot say so to whoever has no secret: the signature is looked at first", async () => {
    const headers = { "X-GitHub-Event": "issues", "X-Hub-Signature-256": `sha256=${"0".repeat(64)}` };
    expect((await deliver({ body: '{"issue":{},"comment":{}}', headers })).json.error?.code).toBe(
      "ERR_SIGNATURE",
    );
  });
});

describe("a browser", () => {
  it("is told in one line what this is for", async () => {
    const headers = { Accept: "text/html,application/xhtml+xml;q=0.9" };
    const response = await exports.default.fetch(`${EDGE}/webhook/github`, { headers });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
    expect(response.headers.get("content-type")).toMatch(/^text\/plain/);
    expect(await response.text()).toMatch(/^[^\n]+ by POST; [^\n]+\n$/);
  });
});

describe("the edge's health", () => {
  const health = async (changes = {}) => {
    const request = new Request(`${EDGE}/health`);
    return answerOf(await worker.fetch(request, { ...env, ...changes }, createExecutionContext()));
  };

  it("is ok, and counts what was refused, by code", async () => {
    const { json: before } = await health();
    await deliver({ headers: { "X-GitHub-Event": null } });
    await deliver({ method: "PUT" });
    await deliver({ method: "PUT" });
    const { status, json } = await health();
    expect([status, json.status]).toEqual([200, "ok"]);
    const more = (code: string) => (json.refused?.[code] ?? 0) - (before.refused?.[code] ?? 0);
    expect([more("ERR_HEADER"), more("ERR_METHOD"), more("ERR_BODY")]).toEqual([1, 2, 0]);
  });

  it("names every setting at fault, and no secret; test/worker/config.test.ts has each fault", async () => {
    const { status, json } = await health({ WEBHOOK_SECRET: "hunter2", EDGE_BOX_KEY: "", RELAYS: 1 });
    expect([status, json.error?.code]).toEqual([503, "ERR_EDGE_CONFIG"]);
    expect(json.error?.message).toMatch(/EDGE_BOX_KEY: .*; RELAYS: /);
    expect(json.error?.hint).toContain("onionhook -- keys new");
    expect(JSON.stringify(json) + printed.join("\n")).not.toContain("hunter2");
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
  test.for(["/", "/webhook", "/webhook/github/x", "/webhook/gitlab", "/drain/x", "/Health"])(
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
    expect(env.RECIPIENTS).toEqual({
      [STREAM]: { box_public: formatKey("box", "public", builder.publicKey) },
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
