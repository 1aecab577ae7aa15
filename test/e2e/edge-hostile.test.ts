import { createHmac, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from "vitest";
import { WebSocket } from "ws";
import { DRAIN_SUBPROTOCOL, HEARTBEAT, HEARTBEAT_ANSWER } from "../../shared/drain.ts";
import { MAX_BODY_BYTES } from "../../shared/webhook-body.ts";
import { type Edge, type HttpAnswer, type HttpConnection, startEdge } from "../helpers/edge.ts";

const MIB = 1024 * 1024;
/** For what the edge answers at once; ten bodies of 25 MiB take a loaded machine seconds. */
const ANSWER_MS = 30_000;
/** BODY_MS of worker/webhook/body.ts, and its margin. */
const SLOW_MS = { least: 18_000, most: 25_000 };
/** PROVE_MS of worker/drain/drains.ts, an alarm's delay, and a loaded machine's; test/worker/drain/flood.test.ts has the exact time. */
const PROVE_MS = { least: 7000, most: 19_000 };
const TEST_MS = 60_000;
/**
 * Ten bodies of 25 MiB at once. An isolate may hold 40 MiB of bodies (worker/webhook/body.ts); the rest is what is on its way
 * in the runtime, the runtime itself, and garbage that V8 has not yet collected. All of them at once would take
 * 250 MiB more.
 */
const MAX_PEAK_BYTES = 512 * MIB;

let edge: Edge;
/** What must come out of the drain, by number. */
const taken = new Map<number, string>();

beforeAll(async () => {
  edge = await startEdge();
}, TEST_MS);

afterAll(() => edge?.stop());

interface Delivery {
  /** One byte a character. */
  body?: string;
  /** Lines after those that GitHub sends. */
  further?: string;
  /** The framing's line; by default the right length. */
  framing?: string;
  requestLine?: string;
  /** What follows the head; by default the body. */
  sent?: string;
}

function someBody(): string {
  return `{"n":"${randomUUID()}"}`;
}

function sign(body: string): string {
  return `sha256=${createHmac("sha256", edge.secret).update(body, "latin1").digest("hex")}`;
}

/** A delivery that is right but for what is given. */
function wire({ body = someBody(), further = "", framing, requestLine, sent = body }: Delivery = {}): string {
  return [
    requestLine ?? "POST /webhook/github HTTP/1.1",
    `Host: ${edge.host}`,
    "Content-Type: application/json",
    `X-GitHub-Delivery: ${randomUUID()}`,
    "X-GitHub-Event: example",
    `X-Hub-Signature-256: ${sign(body)}`,
    ...(further === "" ? [] : [further]),
    framing ?? `Content-Length: ${body.length}`,
    "",
    sent,
  ].join("\r\n");
}

/** The next answer; undefined when the connection ended instead. */
async function answerOf(
  connection: HttpConnection,
  timeoutMs = ANSWER_MS,
  headOnly = false,
): Promise<HttpAnswer | undefined> {
  const timer = setTimeout(() => connection.close(), timeoutMs);
  const started = performance.now();
  try {
    const answer = await connection.answer(headOnly);
    if (!answer && performance.now() - started >= timeoutMs - 50)
      throw new Error(`no answer in ${timeoutMs} ms`);
    return answer;
  } finally {
    clearTimeout(timer);
  }
}

/** The answer to these bytes on a connection of their own. */
async function answerTo(bytes: string, headOnly = false): Promise<HttpAnswer | undefined> {
  const connection = await edge.connect();
  try {
    void connection.send(bytes);
    return await answerOf(connection, ANSWER_MS, headOnly);
  } finally {
    connection.close();
  }
}

function codeOf(answer: HttpAnswer | undefined): unknown {
  const { error } = JSON.parse(answer?.body ?? "{}") as {
    error?: { code: string; message: string; hint: string };
  };
  // Every refusal has all three.
  if (error)
    expect(error).toEqual({
      code: expect.any(String),
      message: expect.any(String),
      hint: expect.any(String),
    });
  return error?.code;
}

/** Expects that the body was stored, and notes it. */
function expectTaken(answer: HttpAnswer | undefined, received: string): void {
  expect(answer).toMatchObject({ status: 202 });
  const { stored } = JSON.parse(answer?.body ?? "") as { stored: { seq: number; duplicate: boolean }[] };
  expect(stored).toMatchObject([{ duplicate: false }]);
  taken.set(stored[0]?.seq ?? 0, received);
}

async function expectServes(): Promise<void> {
  const body = someBody();
  expectTaken(await answerTo(wire({ body })), body);
  expect(edge.isAlive()).toBe(true);
}

afterEach(expectServes, TEST_MS);

describe("a length", () => {
  test.for([
    { name: "that is negative", framing: "Content-Length: -1" },
    { name: "of more digits than a number has", framing: "Content-Length: 99999999999999999999999" },
    { name: "in letters", framing: "Content-Length: abc" },
    { name: "in hex", framing: "Content-Length: 0x2c" },
    { name: "with a sign", framing: "Content-Length: +44" },
    { name: "with an exponent", framing: "Content-Length: 1e3" },
    { name: "in two parts", framing: "Content-Length: 4 4" },
    { name: "in a list", framing: "Content-Length: 44, 44" },
    { name: "of nothing", framing: "Content-Length:" },
    { name: "that is given twice, and differs", framing: "Content-Length: 44\r\nContent-Length: 45" },
    { name: "beside an unknown encoding", framing: "Content-Length: 44\r\nTransfer-Encoding: gzip" },
  ])("$name is refused with 400", async ({ framing }) => {
    expect(await answerTo(wire({ framing }))).toMatchObject({ status: 400 });
  });

  it("and chunks at once are never taken for two different bodies", async () => {
    const answers: (HttpAnswer | undefined)[] = [];
    for (const framing of [
      "Content-Length: 44\r\nTransfer-Encoding: chunked",
      "Transfer-Encoding: chunked\r\nContent-Length: 44",
    ])
      answers.push(await answerTo(wire({ framing })));
    for (const answer of answers) expect(answer?.status ?? 400).toBe(400);
  });

  it("shorter than what is sent cuts the body there, and what is left is no request", async () => {
    const connection = await edge.connect();
    void connection.send(wire({ framing: "Content-Length: 10" }));
    expect(codeOf(await answerOf(connection))).toBe("ERR_SIGNATURE");
    expect((await answerOf(connection))?.status ?? 400).toBe(400);
    await connection.closed;
  });

  it("longer than what is sent, on a connection that then ends, takes nothing and is no fault of the edge", async () => {
    const connection = await edge.connect();
    void connection.send(wire({ framing: "Content-Length: 45" }));
    connection.end();
    const answer = await answerOf(connection);
    expect(answer?.status ?? 400).toBeLessThan(500);
    expect(answer?.status).not.toBe(202);
  });

  it("of 25 MiB that is promised and never sent does not keep others out", async () => {
    const promising = await Promise.all(Array.from({ length: 20 }, () => edge.connect()));
    for (const connection of promising)
      void connection.send(wire({ framing: `Content-Length: ${MAX_BODY_BYTES}` }));
    await expectServes();
    for (const connection of promising) connection.close();
  });

  it("over 25 MiB is refused before the body comes", async () => {
    const answer = await answerTo(wire({ framing: `Content-Length: ${MAX_BODY_BYTES + 1}`, sent: "" }));
    expect([answer?.status, codeOf(answer)]).toEqual([413, "ERR_BODY_TOO_LARGE"]);
  });
});

describe("a chunked body", () => {
  const chunked = (chunks: (body: string, size: string) => string) => {
    const body = someBody();
    const sent = chunks(body, body.length.toString(16));
    return { body, request: wire({ body, framing: "Transfer-Encoding: chunked", sent }) };
  };

  test.for([
    { name: "in one chunk", chunks: (body: string, size: string) => `${size}\r\n${body}\r\n0\r\n\r\n` },
    {
      name: "with an extension",
      chunks: (body: string, size: string) => `${size};a=b\r\n${body}\r\n0\r\n\r\n`,
    },
    {
      name: "with a trailer",
      chunks: (body: string, size: string) => `${size}\r\n${body}\r\n0\r\nX-T: 1\r\n\r\n`,
    },
    {
      name: "with zeros before its size",
      chunks: (body: string, size: string) => `000${size}\r\n${body}\r\n0\r\n\r\n`,
    },
    {
      name: "byte by byte",
      chunks: (body: string) => `${Array.from(body, (byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`,
    },
  ])("$name is taken", async ({ chunks }) => {
    const { body, request } = chunked(chunks);
    expectTaken(await answerTo(request), body);
  });

  test.for([
    { name: "in letters", chunks: (body: string) => `zz\r\n${body}\r\n0\r\n\r\n` },
    { name: "that is negative", chunks: (body: string) => `-5\r\n${body}\r\n0\r\n\r\n` },
    { name: "with 0x", chunks: (body: string, size: string) => `0x${size}\r\n${body}\r\n0\r\n\r\n` },
    { name: "after a space", chunks: (body: string, size: string) => ` ${size}\r\n${body}\r\n0\r\n\r\n` },
    { name: "of nothing", chunks: (body: string) => `\r\n${body}\r\n0\r\n\r\n` },
    { name: "of more than 64 bits", chunks: (body: string) => `${"f".repeat(25)}\r\n${body}\r\n0\r\n\r\n` },
    { name: "that is too small", chunks: (body: string) => `1\r\n${body}\r\n0\r\n\r\n` },
    { name: "ended by a bare LF", chunks: (body: string, size: string) => `${size}\n${body}\n0\n\n` },
  ])("of a size $name is the sender's fault, not the edge's", async ({ chunks }) => {
    const answer = await answerTo(chunked(chunks).request);
    expect(answer?.status ?? 400).toBe(400);
  });

  it("that ends with the connection takes nothing, and is no fault of the edge", async () => {
    const { request } = chunked((body, size) => `${size}\r\n${body}\r\n`);
    const connection = await edge.connect();
    void connection.send(request);
    connection.end();
    const answer = await answerOf(connection);
    expect(answer?.status ?? 400).toBeLessThan(500);
    expect(answer?.status).not.toBe(202);
  });
});

describe("a body that comes slowly", () => {
  it(
    "or not at all is answered 408 after 20 s, while others are taken",
    async () => {
      const body = someBody();
      const open = async (sent: string) => {
        const connection = await edge.connect();
        void connection.send(wire({ body, sent }));
        return connection;
      };
      const stalled = await open(body.slice(0, 10));
      const dripping = await open("");
      const started = performance.now();
      const drip = setInterval(() => void dripping.send(body.slice(0, 1)), 1000);
      let othersFailed = 0;
      const others = setInterval(() => void expectServes().catch(() => (othersFailed += 1)), 1000);
      const answers = await Promise.all(
        [stalled, dripping].map((connection) => answerOf(connection, SLOW_MS.most)),
      );
      clearInterval(drip);
      clearInterval(others);
      for (const connection of [stalled, dripping]) connection.close();
      const waited = performance.now() - started;
      expect(answers.map((answer) => [answer?.status, codeOf(answer)])).toEqual(
        Array.from({ length: 2 }, () => [408, "ERR_BODY_SLOW"]),
      );
      expect(waited).toBeGreaterThan(SLOW_MS.least);
      expect(othersFailed).toBe(0);
    },
    TEST_MS,
  );

  it("and heads that never end, two hundred of them, keep nobody else out", async () => {
    const connections = await Promise.all(Array.from({ length: 200 }, () => edge.connect()));
    for (const connection of connections)
      void connection.send("POST /webhook/github HTTP/1.1\r\nHost: a\r\nX-A: ");
    await expectServes();
    for (const connection of connections) connection.close();
  });
});

describe("headers", () => {
  test.for([
    { name: "a value of 64 KiB", further: `X-Long: ${"a".repeat(65_536)}` },
    {
      name: "a thousand of them",
      further: Array.from({ length: 1000 }, (_, at) => `X-${at}: ${at}`).join("\r\n"),
    },
    {
      name: "a thousand of one name",
      further: Array.from({ length: 1000 }, (_, at) => `X-A: ${at}`).join("\r\n"),
    },
    { name: "bytes that are not UTF-8", further: "X-A: \xff\xfe\xc3" },
    { name: "an empty value", further: "X-A:" },
    { name: "names that objects have", further: "__proto__: a\r\nconstructor: b\r\nhasOwnProperty: c" },
    { name: "an upgrade", further: "Connection: Upgrade\r\nUpgrade: websocket" },
    { name: "a coding that the body has not", further: "Content-Encoding: gzip" },
  ])("that GitHub does not send, $name, change nothing", async ({ further }) => {
    const body = someBody();
    expectTaken(await answerTo(wire({ body, further })), body);
  });

  test.for([
    { name: "a NUL in a value", further: "X-A: a\0b" },
    { name: "a NUL in a name", further: "X-\0A: b" },
    { name: "a bare CR", further: "X-A: a\rb" },
    { name: "a bare LF, which would be another header", further: "X-A: a\nX-GitHub-Event" },
    { name: "a folded line", further: "X-A: a\r\n b" },
    { name: "a space before the colon", further: "X-A : b" },
    { name: "a space in a name", further: "X A: b" },
    { name: "no name", further: ": b" },
    { name: "no colon", further: "X-A" },
    { name: "a second event", further: "X-GitHub-Event: example" },
    { name: "a second signature", further: `X-Hub-Signature-256: sha256=${"0".repeat(64)}` },
    { name: "a second delivery", further: "X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958" },
  ])("with $name are refused with 400", async ({ further }) => {
    expect(await answerTo(wire({ further }))).toMatchObject({ status: 400 });
  });

  it("of a megabyte are refused with 431", async () => {
    expect(await answerTo(wire({ further: `X-Long: ${"a".repeat(1_000_000)}` }))).toMatchObject({
      status: 431,
    });
  });

  it("may ask whether to go on", async () => {
    const body = someBody();
    const connection = await edge.connect();
    void connection.send(wire({ body, further: "Expect: 100-continue", sent: "" }));
    expect(await answerOf(connection)).toMatchObject({ status: 100 });
    void connection.send(body);
    expectTaken(await answerOf(connection), body);
    connection.close();
  });
});

describe("a request line", () => {
  test.for([
    { name: "of HTTP/2.0", requestLine: "POST /webhook/github HTTP/2.0" },
    { name: "of HTTP/9.9", requestLine: "POST /webhook/github HTTP/9.9" },
    { name: "of HTTP/0.9", requestLine: "POST /webhook/github" },
    { name: "without a method", requestLine: "/webhook/github HTTP/1.1" },
    { name: "without a path", requestLine: "POST HTTP/1.1" },
    { name: "with a path that does not begin with a slash", requestLine: "POST webhook/github HTTP/1.1" },
    { name: "with a space in its path", requestLine: "POST /webhook /github HTTP/1.1" },
    { name: "with a NUL", requestLine: "POST /webhook/github\0 HTTP/1.1" },
    { name: "with bytes that are not UTF-8", requestLine: "POST /webhook/gith\xfcb HTTP/1.1" },
    { name: "that is TLS", requestLine: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" },
  ])("$name is refused with 400", async ({ requestLine }) => {
    expect((await answerTo(wire({ requestLine })))?.status).toBe(400);
  });

  it("of HTTP/1.0 is good enough", async () => {
    const body = someBody();
    expectTaken(await answerTo(wire({ body, requestLine: "POST /webhook/github HTTP/1.0" })), body);
  });

  it("after empty lines is good enough", async () => {
    const body = someBody();
    expectTaken(await answerTo(`\r\n\r\n${wire({ body })}`), body);
  });

  it("with a path of 60 KB leads nowhere", async () => {
    const requestLine = `POST /${"a".repeat(60_000)} HTTP/1.1`;
    expect(codeOf(await answerTo(wire({ requestLine })))).toBe("ERR_NOT_FOUND");
  });

  test.for(["GET", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])(
    "with %s tells that POST is meant",
    async (method) => {
      const answer = await answerTo(wire({ requestLine: `${method} /webhook/github HTTP/1.1` }));
      expect([answer?.status, answer?.headers.get("allow"), codeOf(answer)]).toEqual([
        405,
        "POST",
        "ERR_METHOD",
      ]);
    },
  );

  it("with HEAD tells so, too, without a body", async () => {
    const answer = await answerTo(wire({ requestLine: "HEAD /webhook/github HTTP/1.1" }), true);
    expect([answer?.status, answer?.headers.get("allow")]).toEqual([405, "POST"]);
  });

  it("with GET, from a browser, is answered with one line of text", async () => {
    const answer = await answerTo(
      wire({ requestLine: "GET /webhook/github HTTP/1.1", further: "Accept: text/html,*/*" }),
    );
    expect(answer?.status).toBe(405);
    expect(answer?.body).toMatch(/^This URL takes webhook deliveries[^\n]*\n$/);
  });

  it("with a method that HTTP does not have is refused by the runtime, with 501 as RFC 9110 has it", async () => {
    expect(await answerTo(wire({ requestLine: "FOO /webhook/github HTTP/1.1" }))).toMatchObject({
      status: 501,
    });
  });
});

describe("requests one behind the other", () => {
  it("are answered in their order", async () => {
    const bodies = Array.from({ length: 50 }, someBody);
    const connection = await edge.connect();
    void connection.send(bodies.map((body) => wire({ body })).join(""));
    for (const body of bodies) expectTaken(await answerOf(connection), body);
    connection.close();
  });

  it("of which one is refused do not take each other's bodies", async () => {
    const [first, last] = [someBody(), someBody()];
    const connection = await edge.connect();
    const inner = wire();
    void connection.send(wire({ body: first }) + wire({ body: inner }) + wire({ body: last }));
    expectTaken(await answerOf(connection), first);
    expect(codeOf(await answerOf(connection))).toBe("ERR_BODY");
    expectTaken(await answerOf(connection), last);
    connection.close();
  });

  it("whose sender is gone before the answer do no harm", async () => {
    for (let count = 0; count < 100; count += 1) {
      const connection = await edge.connect();
      void connection.send(wire({ framing: "Content-Length: 1000000" }));
      connection.close();
    }
  });
});

describe("a signed body", () => {
  const deep = (levels: number, open = "[", close = "]") =>
    `{"deep":${open.repeat(levels - 1)}1${close.repeat(levels - 1)}}`;

  test.for<{ name: string; body: () => string }>([
    { name: "257 levels", body: () => deep(257) },
    { name: "257 levels of objects", body: () => deep(257, '{"a":', "}") },
    { name: "10,000 levels", body: () => deep(10_000) },
    { name: "a million levels", body: () => deep(1_000_000) },
    { name: "ten million brackets that never close", body: () => `{"deep":${"[".repeat(10_000_000)}` },
    { name: "a number of 1,001 characters", body: () => `{"n":${"1".repeat(1001)}}` },
    { name: "a number of 10 MB", body: () => `{"n":${"1".repeat(10_000_000)}}` },
    { name: "an exponent of 10 MB", body: () => `{"n":1e${"1".repeat(10_000_000)}}` },
    { name: "a number of 10 MB that does not end", body: () => `{"n":${"1".repeat(10_000_000)}` },
    { name: "a string of 10 MB that does not end", body: () => `{"n":"${"x".repeat(10_000_000)}` },
    { name: "a byte order mark", body: () => "\xef\xbb\xbf{}" },
    { name: "UTF-16", body: () => Buffer.from('\ufeff{"a":1}', "utf16le").toString("latin1") },
    { name: "an overlong slash", body: () => '{"a":"\xc0\xaf"}' },
    { name: "an overlong NUL", body: () => '{"a":"\xc0\x80"}' },
    { name: "a character cut short", body: () => '{"a":"\xf0\x9f\x98"}' },
    { name: "a character cut short by the end", body: () => '{"a":1}\xe2\x82' },
    { name: "a surrogate in UTF-8", body: () => '{"a":"\xed\xa0\x80"}' },
    { name: "a character beyond Unicode", body: () => '{"a":"\xf4\x90\x80\x80"}' },
    { name: "the byte 0xff", body: () => '{"a":"\xff"}' },
    { name: "a bare U+0000 in a string", body: () => '{"a":"\0"}' },
    { name: "a bare U+0000 at its end", body: () => "{}\0" },
    { name: "nothing", body: () => "" },
    { name: "an array", body: () => "[{}]" },
    { name: "two objects", body: () => "{}{}" },
  ])("of $name is refused with ERR_BODY", async ({ body }) => {
    const answer = await answerTo(wire({ body: body() }));
    expect([answer?.status, codeOf(answer)]).toEqual([400, "ERR_BODY"]);
  });

  const n = () => `"n":"${randomUUID()}"`;
  test.for<{ name: string; body: () => string; received?: (body: string) => string }>([
    { name: "256 levels", body: () => `{${n()},${deep(256).slice(1)}` },
    { name: "a number of 1,000 characters", body: () => `{${n()},"a":${"1".repeat(1000)}}` },
    {
      name: "a key twice",
      body: () => `{${n()},"repository":{"full_name":"a/a"},"repository":{"full_name":"b/b"}}`,
    },
    { name: "a key a million times", body: () => `{${n()}${',"repository":{"id":1}'.repeat(1_000_000)}}` },
    {
      name: "a million keys",
      body: () => `{${n()},${Array.from({ length: 1_000_000 }, (_, at) => `"${at}":0`).join(",")}}`,
    },
    {
      name: "__proto__ and constructor",
      body: () => `{${n()},"__proto__":{"a":1},"constructor":{"prototype":{}}}`,
    },
    { name: "a _delivery of its own", body: () => `{${n()},"_delivery":{"v":2,"seq":0}}` },
    { name: "lone surrogates", body: () => `{${n()},"a":"\\ud800","\\udfff":"\\udc00\\ud800"}` },
    { name: "U+0000 inside a string and in a key", body: () => `{${n()},"\\u0000key":"a\\u0000b"}` },
    {
      name: "U+0000 at the start of strings",
      body: () => `{${n()},"a":"\\u0000AAAA","b":["\\u0000",{"c" :\t"\\u0000\\u0000"}]}`,
      received: (body) =>
        body
          .replace('"\\u0000AAAA"', '"\\uFFFDAAAA"')
          .replace('["\\u0000"', '["\\uFFFD"')
          .replace('"\\u0000\\u0000"', '"\\uFFFD\\u0000"'),
    },
    {
      name: "a hundred thousand strings that begin with U+0000",
      body: () => `{${n()},"a":[""${',"\\u0000"'.repeat(100_000)}]}`,
      received: (body) => body.replaceAll('"\\u0000"', '"\\uFFFD"'),
    },
  ])("of $name is taken", async ({ body, received }) => {
    const sent = body();
    expectTaken(await answerTo(wire({ body: sent })), received?.(sent) ?? sent);
  });
});

describe("a large body", () => {
  const sized = (size: number) => {
    const start = `{"n":"${randomUUID()}","padding":"`;
    return `${start}${"x".repeat(size - start.length - 2)}"}`;
  };
  const inChunks = (body: string) => {
    const pieces = body.match(/.{1,65536}/gs) ?? [];
    return `${pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("")}0\r\n\r\n`;
  };

  it(
    "of 25 MiB is taken, with its length or in chunks",
    async () => {
      const [whole, chunked] = [sized(MAX_BODY_BYTES), sized(MAX_BODY_BYTES)];
      expectTaken(await answerTo(wire({ body: whole })), whole);
      const request = wire({ body: chunked, framing: "Transfer-Encoding: chunked", sent: inChunks(chunked) });
      expectTaken(await answerTo(request), chunked);
    },
    TEST_MS,
  );

  it(
    "of one byte more is refused with 413, with its length or in chunks",
    async () => {
      const body = sized(MAX_BODY_BYTES + 1);
      const requests = [
        wire({ body }),
        wire({ body, framing: "Transfer-Encoding: chunked", sent: inChunks(body) }),
      ];
      for (const request of requests) {
        const answer = await answerTo(request);
        expect([answer?.status, codeOf(answer)]).toEqual([413, "ERR_BODY_TOO_LARGE"]);
      }
    },
    TEST_MS,
  );

  it(
    "without an end is refused with 413, or cut off: who goes on writing may miss the answer",
    async () => {
      const connection = await edge.connect();
      void connection.send(wire({ framing: "Transfer-Encoding: chunked", sent: "" }));
      const mebibyte = `100000\r\n${"x".repeat(MIB)}\r\n`;
      const sending = (async () => {
        for (let sent = 0; sent < 200 && connection.isOpen; sent += 1) await connection.send(mebibyte);
      })();
      const answer = await answerOf(connection, TEST_MS);
      connection.close();
      await sending;
      expect([
        [413, "ERR_BODY_TOO_LARGE"],
        [undefined, undefined],
      ]).toContainEqual([answer?.status, codeOf(answer)]);
    },
    TEST_MS,
  );

  it(
    "that is not signed is refused, ten at once too, and the process stays within its bounds",
    async () => {
      const body = sized(MAX_BODY_BYTES);
      const before = edge.memory("VmHWM");
      const request = wire({ body }).replace(/sha256=\w+/, `sha256=${"0".repeat(64)}`);
      const answers = await Promise.all(Array.from({ length: 10 }, () => answerTo(request)));
      const peak = edge.memory("VmHWM");
      const said = answers.map((answer) => `${answer?.status} ${String(codeOf(answer))}`);
      process.stdout.write(
        `edge-hostile: ten bodies of 25 MiB: ${said.join(", ")}; at most ${(peak / MIB).toFixed(0)} MiB resident, ` +
          `${(before / MIB).toFixed(0)} before, ${(edge.memory("VmRSS") / MIB).toFixed(0)} now\n`,
      );
      // ERR_BUSY is right here, and nowhere else.
      for (const each of said) expect(["401 ERR_SIGNATURE", "503 ERR_BUSY"]).toContain(each);
      expect(said).toContain("401 ERR_SIGNATURE");
      expect(peak).toBeLessThan(MAX_PEAK_BYTES);
    },
    TEST_MS,
  );
});

describe("what wants to be a WebSocket", () => {
  const upgrade = (target: string, further: readonly string[] = []) =>
    [
      `GET ${target} HTTP/1.1`,
      `Host: ${edge.host}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      ...further,
      "\r\n",
    ].join("\r\n");
  const SUBPROTOCOL = `Sec-WebSocket-Protocol: ${DRAIN_SUBPROTOCOL}`;

  test.for([
    { name: "at the webhook", request: () => upgrade("/webhook/github", [SUBPROTOCOL]), code: "ERR_METHOD" },
    { name: "where nothing is", request: () => upgrade("/elsewhere", [SUBPROTOCOL]), code: "ERR_NOT_FOUND" },
    {
      name: "at the drain, without asking for an upgrade",
      request: () => `GET /drain HTTP/1.1\r\nHost: ${edge.host}\r\n\r\n`,
      code: "ERR_UPGRADE",
    },
    { name: "at the drain, without a subprotocol", request: () => upgrade("/drain"), code: "ERR_UPGRADE" },
    {
      name: "at the drain, with another subprotocol",
      request: () => upgrade("/drain", ["Sec-WebSocket-Protocol: wamp.2.json"]),
      code: "ERR_UPGRADE",
    },
    {
      name: "at the drain, with a list of subprotocols",
      request: () => upgrade("/drain", [`${SUBPROTOCOL}, x`]),
      code: "ERR_UPGRADE",
    },
    {
      name: "at the drain of a stream that is not there",
      request: () => upgrade("/drain?stream=other", [SUBPROTOCOL]),
      code: "ERR_STREAM",
    },
    {
      name: "at the drain of a stream of no name",
      request: () => upgrade("/drain?stream=__proto__", [SUBPROTOCOL]),
      code: "ERR_STREAM",
    },
  ])("is refused $name", async ({ request, code }) => {
    const answer = await answerTo(request());
    expect(answer?.status).toBeGreaterThanOrEqual(400);
    expect(codeOf(answer)).toBe(code);
  });

  /** FIN and the opcode of the frame that closes a WebSocket (RFC 6455 §5.5.1); the challenge has no such byte. */
  const CLOSE_FRAME = 0x88;

  test.for([
    { name: "of an opcode that there is not", frame: "\x8f\x80\0\0\0\0" },
    { name: "with reserved bits", frame: "\xf1\x80\0\0\0\0" },
    { name: "of 2^63 − 1 bytes", frame: "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" },
    { name: "of 64 MiB", frame: "\x82\xff\0\0\0\0\x04\0\0\0\0\0\0\0" },
    { name: "of text that is not UTF-8", frame: "\x81\x81\0\0\0\0\xff" },
    { name: "that closes with 1004, which nobody may send", frame: "\x88\x82\0\0\0\0\x03\xec" },
    { name: "that closes with a code that there is not", frame: "\x88\x82\0\0\0\0\x13\x88" },
  ])("and then sends a frame $name is told to go", async ({ frame }) => {
    const connection = await edge.connect();
    void connection.send(upgrade("/drain", [SUBPROTOCOL]));
    expect(await answerOf(connection)).toMatchObject({ status: 101 });
    void connection.send(frame);
    const timer = setTimeout(() => connection.close(), PROVE_MS.least);
    expect(await connection.hears(CLOSE_FRAME)).toBe(true);
    clearTimeout(timer);
    connection.close();
  });
});

describe("a socket of the drain that does not prove who it is", () => {
  interface Dialled {
    socket: WebSocket;
    closed: Promise<number>;
    texts: string[];
  }

  async function dial(): Promise<Dialled> {
    const socket = new WebSocket(`ws://${edge.host}/drain`, DRAIN_SUBPROTOCOL, { perMessageDeflate: false });
    const texts: string[] = [];
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    // What it was closed with tells more.
    socket.on("error", () => {});
    await new Promise<void>((resolve) => {
      socket.on("message", (data: Buffer) => {
        texts.push(data.toString("utf8"));
        resolve();
      });
    });
    expect(JSON.parse(texts[0] ?? "")).toMatchObject({ type: "challenge" });
    return { socket, closed, texts };
  }

  const hello = (signature: string, relay = "relay") => JSON.stringify({ type: "hello", relay, signature });

  test.for<{ name: string; frame: () => string | Buffer; code: number }>([
    { name: "binary", frame: () => Buffer.from(hello("AAAA")), code: 4400 },
    { name: "10 MiB of binary", frame: () => Buffer.alloc(10 * MIB), code: 4400 },
    { name: "10 MiB of text", frame: () => "x".repeat(10 * MIB), code: 4400 },
    { name: "10 MiB of brackets", frame: () => "[".repeat(10 * MIB), code: 4400 },
    { name: "a hello of 10 MiB", frame: () => hello("A".repeat(10 * MIB)), code: 4400 },
    { name: "an empty text", frame: () => "", code: 4400 },
    { name: "credit", frame: () => '{"type":"credit","events":1}', code: 4400 },
    { name: "__proto__", frame: () => '{"__proto__":{"type":"hello"}}', code: 4400 },
    { name: "a hello of no relay", frame: () => hello("AAAA", "nobody"), code: 4401 },
    { name: "a hello of a relay called constructor", frame: () => hello("AAAA", "constructor"), code: 4401 },
    { name: "a signature that is too short", frame: () => hello("AAAA"), code: 4401 },
    { name: "a signature of zeros", frame: () => hello(Buffer.alloc(64).toString("base64")), code: 4401 },
    { name: "a signature that is no base64", frame: () => hello("%%%%"), code: 4400 },
  ])("is closed with $code after it sent $name", async ({ frame, code }) => {
    const { socket, closed, texts } = await dial();
    socket.send(frame());
    expect(await closed).toBe(code);
    expect(texts).toHaveLength(1);
  });

  it("is closed with 4401 at the first of a thousand hellos", async () => {
    const { socket, closed, texts } = await dial();
    for (let count = 0; count < 1000; count += 1)
      socket.send(hello(Buffer.alloc(64, count).toString("base64")));
    expect(await closed).toBe(4401);
    expect(texts).toHaveLength(1);
  });

  it("may send a thousand pings and a thousand heartbeats, and gets nothing but their answers", async () => {
    const { socket, closed, texts } = await dial();
    // RFC 6455 §5.5.3: of several pings the last one's answer is enough.
    const answered = new Promise<void>((resolve) => {
      socket.on("pong", (data: Buffer) => data.toString() === "999" && resolve());
    });
    for (let count = 0; count < 1000; count += 1) socket.ping(String(count));
    await answered;
    const heard = new Promise<void>((resolve) => {
      socket.on("message", () => texts.length === 1001 && resolve());
    });
    for (let count = 0; count < 1000; count += 1) socket.send(HEARTBEAT);
    await heard;
    expect(new Set(texts.slice(1))).toEqual(new Set([HEARTBEAT_ANSWER]));
    socket.close(1000);
    await closed;
  });

  it(
    "is told to go within about 10 s, whether it is silent or keeps its heart beating",
    async () => {
      const started = performance.now();
      const sockets = await Promise.all(Array.from({ length: 20 }, dial));
      const [beating] = sockets;
      const heart = setInterval(() => beating?.socket.send(HEARTBEAT), 1000);
      const isTold = () => sockets.every(({ socket }) => socket.readyState !== WebSocket.OPEN);
      while (!isTold() && performance.now() - started < PROVE_MS.most) await sleep(50);
      const told = performance.now() - started;
      clearInterval(heart);
      expect(isTold()).toBe(true);
      expect(told).toBeGreaterThan(PROVE_MS.least);
      for (const { socket } of sockets) socket.terminate();
      expect(await Promise.all(sockets.map(({ closed }) => closed))).toEqual(sockets.map(() => 4408));
    },
    TEST_MS,
  );
});

describe("after all that", () => {
  it(
    "the drain has everything that was taken, byte for byte, and nothing else",
    async () => {
      const drain = await edge.drain();
      await drain.done(taken.size, TEST_MS);
      await drain.close();
      expect(drain.events.map(({ seq }) => seq)).toEqual(drain.events.map((_, index) => index + 1));
      expect(drain.events).toHaveLength(taken.size);
      for (const event of drain.events) {
        const received = Buffer.from(edge.open(event).rawBody).toString("latin1");
        expect(received === taken.get(event.seq), `${event.seq}`).toBe(true);
      }
    },
    TEST_MS,
  );

  it("the Worker reported no error: what senders do wrong is none of its own", () => {
    const errors = edge
      .log()
      .split("\n")
      .filter((line) => line.startsWith('{"event":"error"'));
    expect(errors).toEqual([]);
  });
});
