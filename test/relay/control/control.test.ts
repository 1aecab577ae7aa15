/** The control API over its real sockets. */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startControl } from "../../../relay/control/control.ts";
import { makeMetrics } from "../../../relay/metrics.ts";
import { makeReports } from "../../../relay/reports.ts";
import { watchReports } from "../../../relay/watch.ts";
import { OnionhookError } from "../../../shared/errors.ts";
import { freePort } from "../../helpers/server-process.ts";
import { type FakeOperations, heldEvent, makeFakeOperations } from "../fake-operations.ts";

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  // oxlint-disable-next-line typescript/no-explicit-any -- what came is what the test is about
  json: any;
}

let folder: string;
let stop: AbortController;
let running: Promise<void>[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "oh-control-"));
  stop = new AbortController();
  running = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  rmSync(folder, { recursive: true });
});

/** Starts one, and resolves when it has said how that went. */
async function start(operations: FakeOperations, control: { socket?: string; metricsPort?: number } = {}) {
  const seen: Record<string, unknown>[] = [];
  const reports = makeReports((event, fields) => seen.push({ event, ...fields }));
  const socket = control.socket ?? join(folder, "run", "control.sock");
  running.push(
    startControl({
      control: { socket, metricsPort: control.metricsPort },
      operations,
      metrics: makeMetrics({ reports }),
      reports,
      report: reports.report,
      signal: stop.signal,
    }),
  );
  while (seen.length === 0) await sleep(5);
  const ask = (method: string, path: string, body?: unknown) =>
    fetchFrom({ socketPath: socket }, method, path, body);
  return { socket, seen, report: reports.report, ask };
}

async function fetchFrom(
  where: { socketPath: string } | { port: number; headers?: Record<string, string> },
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  const answer = await open(where, method, path, typeof body === "string" ? body : JSON.stringify(body));
  let text = "";
  for await (const chunk of answer) text += String(chunk);
  const isJson = answer.headers["content-type"]?.includes("json") === true;
  return { status: answer.statusCode ?? 0, headers: answer.headers, json: isJson ? JSON.parse(text) : text };
}

function open(where: object, method: string, path: string, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ ...where, method, path }, resolve)
      .once("error", reject)
      .end(body);
  });
}

describe("the control socket", () => {
  it("can be opened by the relay's own user only, and is gone with the relay", async () => {
    const { socket, seen } = await start(makeFakeOperations());
    expect(seen).toEqual([{ event: "listening", socket }]);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "run")).mode & 0o777).toBe(0o700);
    expect(process.umask()).not.toBe(0o177);
    stop.abort();
    await Promise.all(running);
    expect(existsSync(socket)).toBe(false);
  });

  it("takes the place of one that a killed relay left", async () => {
    const socket = join(folder, "control.sock");
    const program =
      "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
    await new Promise((resolve) => execFile(process.execPath, ["-e", program, socket], resolve));
    expect(existsSync(socket)).toBe(true);
    const { seen, ask } = await start(makeFakeOperations(), { socket });
    expect(seen).toMatchObject([{ event: "listening" }]);
    expect((await ask("GET", "/health")).status).toBe(200);
  });

  it.each([
    {
      what: "is another relay's",
      code: "ERR_CONTROL_IN_USE",
      async socket() {
        return (await start(makeFakeOperations())).socket;
      },
    },
    {
      what: "has a path that is too long",
      code: "ERR_CONTROL_PATH",
      socket: () => Promise.resolve(join(folder, "x".repeat(108), "control.sock")),
    },
    {
      what: "is a file of something else",
      code: "ERR_CONTROL_SOCKET",
      socket() {
        writeFileSync(join(folder, "precious"), "");
        return Promise.resolve(join(folder, "precious"));
      },
    },
    {
      what: "is where no folder can be made",
      code: "ERR_CONTROL_SOCKET",
      socket() {
        writeFileSync(join(folder, "file"), "");
        return Promise.resolve(join(folder, "file", "control.sock"));
      },
    },
  ])("that $what is an error with a hint, and the relay goes on", async ({ code, socket }) => {
    const { seen } = await start(makeFakeOperations(), { socket: await socket() });
    expect(seen).toMatchObject([{ event: "error", code, hint: expect.any(String) }]);
  });

  it("is opened in a folder that is there as well", async () => {
    mkdirSync(join(folder, "run"));
    chmodSync(join(folder, "run"), 0o750);
    expect((await start(makeFakeOperations())).seen).toMatchObject([{ event: "listening" }]);
  });
});

describe("GET /status, /health and /metrics", () => {
  it("say that nothing is reached when nothing is", async () => {
    const { ask } = await start(makeFakeOperations(heldEvent(1, "waiting")));
    const { status, json } = await ask("GET", "/status");
    expect(status).toBe(200);
    expect(json).toMatchObject({
      queue: { counts: { waiting: 1, dead: 0 } },
      hops: [{ hop: "edge", up: false }, {}, {}],
    });
  });

  it("answer 200 while healthy, and 503 with the reasons when not", async () => {
    const operations = makeFakeOperations(heldEvent(1, "dead"));
    const { ask } = await start(operations);
    expect(await ask("GET", "/health")).toMatchObject({
      status: 200,
      json: {
        healthy: true,
        reasons: [],
        attention: expect.arrayContaining([expect.stringContaining("dead letter")]),
      },
    });
    operations.keeper.note("canary_lost", { stream: "builder", where: "drained" });
    const bad = await ask("GET", "/health");
    expect(bad).toMatchObject({
      status: 503,
      json: { healthy: false, reasons: [expect.stringContaining("drained")] },
    });
  });

  it("give counters also while the queue's store is away", async () => {
    const operations = makeFakeOperations();
    const away = () =>
      Promise.reject(new OnionhookError("ERR_QUEUE_UNREACHABLE", "the store is away", { retryable: true }));
    const { ask } = await start({ ...operations, status: away });
    expect(await ask("GET", "/health")).toMatchObject({
      status: 503,
      json: { error: { code: "ERR_QUEUE_UNREACHABLE" } },
    });
    const { status, headers, json } = await ask("GET", "/metrics");
    expect([status, headers["content-type"]]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    expect(json).toContain("onionhook_healthy 0");
  });
});

describe("GET /events", () => {
  it("lists what is held, the oldest first", async () => {
    const { ask } = await start(
      makeFakeOperations(
        heldEvent(4, "waiting"),
        heldEvent(2, "dead", { reason: "ERR_OPEN" }),
        heldEvent(3, "delayed"),
      ),
    );
    const seqs = ({ json }: Answer) => json.events.map(({ held }: { held: { seq: number } }) => held.seq);
    expect(seqs(await ask("GET", "/events"))).toEqual([2, 3, 4]);
    expect(seqs(await ask("GET", "/events?limit=2"))).toEqual([2, 3]);
    expect((await ask("GET", "/events?state=dead")).json.events).toMatchObject([
      { held: { reason: "ERR_OPEN" } },
    ]);
    expect((await ask("GET", "/events?state=in%20hand")).json.events).toEqual([]);
  });

  it("lists what is done, and shows the way of one event by number and by delivery", async () => {
    const held = heldEvent(2, "delayed");
    const { ask, report } = await start(makeFakeOperations(held));
    const { delivery, stream } = heldEvent(1, "waiting");
    for (const step of ["drained", "published", "received", "accepted"])
      report(step, { delivery, stream, seq: 1 });
    report("published", { delivery: held.delivery, stream, seq: 2 });
    expect((await ask("GET", "/events?state=done")).json.events).toMatchObject([{ journey: { seq: 1 } }]);
    expect((await ask("GET", "/events/builder-2")).json.events).toMatchObject([
      { held: { state: "delayed" }, journey: { published: 1 } },
    ]);
    expect((await ask("GET", `/events/${delivery}`)).json).toEqual(
      (await ask("GET", "/events/builder-1")).json,
    );
  });

  it("says 404, and where to look, for an event that is not here", async () => {
    const { ask } = await start(makeFakeOperations());
    expect(await ask("GET", "/events/builder-9")).toMatchObject({
      status: 404,
      json: { error: { code: "ERR_NOT_HERE", hint: expect.stringContaining("replay") } },
    });
  });
});

describe("POST /retry", () => {
  it("retries events by number, by delivery and by state, each once", async () => {
    const operations = makeFakeOperations(
      heldEvent(1, "dead"),
      heldEvent(2, "dead"),
      heldEvent(3, "delayed"),
    );
    const { ask } = await start(operations);
    const ids = ["builder-1", heldEvent(1, "dead").delivery, "builder-9"];
    expect((await ask("POST", "/retry", { ids })).json).toEqual({ events: 1, unknown: ["builder-9"] });
    expect((await ask("POST", "/retry", { state: "dead" })).json).toEqual({ events: 1 });
    expect(operations.held.map(({ state }) => state)).toEqual(["waiting", "waiting", "delayed"]);
  });

  it("retries more than one page of a state", async () => {
    const operations = makeFakeOperations(
      ...Array.from({ length: 1200 }, (_, n) => heldEvent(n + 1, "dead")),
    );
    const { ask } = await start(operations);
    expect((await ask("POST", "/retry", { state: "dead" })).json).toEqual({ events: 1200 });
  });
});

describe("POST /replay", () => {
  it.each([
    [
      { how: "again", delivery: "72d3162e-1" },
      { how: "again", of: { delivery: "72d3162e-1" } },
    ],
    [
      { how: "missed", stream: "builder", from: 3, to: 5 },
      { how: "missed", stream: "builder", of: { from: 3, to: 5 } },
    ],
    [
      { how: "again", since: "2026-11-21T00:00:00Z", until: "2026-11-21T01:00:00Z" },
      { how: "again", of: { since: "2026-11-21T00:00:00Z", until: "2026-11-21T01:00:00Z" } },
    ],
    [
      { how: "missed", since: "2026-11-21T00:00:00.000Z" },
      {
        how: "missed",
        of: { since: "2026-11-21T00:00:00.000Z", until: expect.stringMatching(/^\d{4}-.*Z$/) },
      },
    ],
  ])("hands on %j", async (body, wish) => {
    const operations = makeFakeOperations();
    const { ask } = await start(operations);
    expect(await ask("POST", "/replay", body)).toMatchObject({ status: 200, json: { events: 3 } });
    expect(operations.wishes).toEqual([wish]);
  });

  it("says why the edge does not do it", async () => {
    const operations = makeFakeOperations();
    const denied = () =>
      Promise.reject(new OnionhookError("ERR_REDELIVER_DENIED", "not allowed", { hint: "allow it" }));
    const { ask } = await start({ ...operations, replay: denied });
    expect(await ask("POST", "/replay", { how: "again", delivery: "72d3162e-1" })).toMatchObject({
      status: 403,
      json: { error: { code: "ERR_REDELIVER_DENIED", message: "not allowed", hint: "allow it" } },
    });
  });
});

describe("a request that is wrong", () => {
  it.each([
    ["GET", "/events?state=sleeping&limit=0&more=1", undefined, ["state:", "limit:", "more:"]],
    ["GET", "/events?limit=10001", undefined, ["limit: a number up to 10000"]],
    ["GET", "/events/..%2F..", undefined, ["id:"]],
    ["POST", "/retry", "{", ["JSON"]],
    ["POST", "/retry", {}, ["either ids or state"]],
    ["POST", "/retry", { ids: ["builder-1"], state: "dead" }, ["either ids or state"]],
    ["POST", "/retry", { ids: ["a b", "/"], state: "waiting" }, ["ids.0:", "ids.1:", "state:"]],
    ["POST", "/replay", { stream: "B", from: 0, since: "yesterday" }, ["how:", "stream:", "from:", "since:"]],
    ["POST", "/replay", { how: "again" }, ["one of delivery, from and to, or since"]],
    [
      "POST",
      "/replay",
      { how: "again", delivery: "72d3162e-1", from: 1, to: 2, stream: "builder" },
      ["one of delivery"],
    ],
    ["POST", "/replay", { how: "again", from: 5 }, ["from and to", "a stream was expected"]],
    ["POST", "/replay", { how: "again", stream: "builder", from: 5, to: 4 }, ["above"]],
    ["POST", "/replay", { how: "again", until: "2026-11-21T00:00:00Z" }, ["since was expected"]],
  ])("%s %s %j is 400 with every fault", async (method, path, body, faults) => {
    const operations = makeFakeOperations();
    const { ask } = await start(operations);
    const { status, json } = await ask(method, path, body);
    expect([status, json.error.code]).toEqual([400, "ERR_REQUEST"]);
    for (const fault of faults) expect(json.error.message).toContain(fault);
    expect(json.error.hint).toContain("docs/operations.md");
    expect(operations.wishes).toEqual([]);
  });

  it("has an answer also where there is no route, and when it is too long", async () => {
    const { ask } = await start(makeFakeOperations());
    expect(await ask("DELETE", "/events")).toMatchObject({
      status: 404,
      json: { error: { code: "ERR_NO_ROUTE" } },
    });
    const long = JSON.stringify({ ids: ["x".repeat(3 * 1024 * 1024)] });
    expect(await ask("POST", "/retry", long)).toMatchObject({
      status: 413,
      json: { error: { code: "ERR_REQUEST_SIZE" } },
    });
  });

  it("gets nothing of an error that nobody expected", async () => {
    const operations = makeFakeOperations();
    const { ask } = await start({ ...operations, status: () => Promise.reject(new Error("secret text")) });
    const { status, json } = await ask("GET", "/status");
    expect([status, json]).toEqual([
      503,
      { error: { code: "ERR_INTERNAL", message: "an unexpected error" } },
    ]);
  });
});

describe("GET /watch", () => {
  it("gives each report as a line when it happens, and ends with the relay", async () => {
    const { socket, report } = await start(makeFakeOperations());
    const answer = await open({ socketPath: socket }, "GET", "/watch");
    expect(answer.headers["content-type"]).toBe("application/jsonl");
    const lines = createInterface({ input: answer })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await lines.next()).value ?? "{}");
    expect(await next()).toMatchObject({ event: "watching", at: expect.any(Number) });
    report("drained", { stream: "builder", seq: 1 });
    expect(await next()).toMatchObject({
      event: "drained",
      at: expect.any(Number),
      stream: "builder",
      seq: 1,
    });
    report("error", { code: "ERR_TOR_TIMEOUT", to: "edge" });
    expect(await next()).toMatchObject({ event: "error", to: "edge" });
    const gone = new Promise((resolve) => answer.once("error", resolve));
    stop.abort();
    await Promise.all([gone, ...running]);
  });

  it("drops a reader that does not read, and keeps no more for it than so many lines", async () => {
    const { report, subscribe } = makeReports(() => {});
    let watching = 0;
    const counted = (listener: typeof report) => {
      watching += 1;
      const end = subscribe(listener);
      return () => {
        watching -= 1;
        end();
      };
    };
    const reader = watchReports({ subscribe: counted }, 10).getReader();
    for (let seq = 1; seq <= 1000; seq += 1) report("drained", { seq });
    expect(watching).toBe(0);
    const lines: string[] = [];
    for (let part = await reader.read(); !part.done; part = await reader.read())
      lines.push(JSON.parse(new TextDecoder().decode(part.value)).event);
    expect(lines).toEqual(["watching", ...Array.from({ length: 9 }, () => "drained"), "too_slow"]);
  });

  it("forgets a reader that went away", async () => {
    const { socket, report } = await start(makeFakeOperations());
    for (let n = 0; n < 3; n += 1) {
      const answer = await open({ socketPath: socket }, "GET", "/watch");
      await new Promise((resolve) => answer.once("data", resolve));
      answer.destroy();
    }
    await sleep(50);
    expect(() => report("drained", { seq: 1 })).not.toThrow();
  });
});

describe("the monitoring port", () => {
  async function startPort() {
    const port = await freePort();
    const { seen } = await start(makeFakeOperations(), { metricsPort: port });
    expect(seen).toMatchObject([{ event: "listening", metrics_port: port }]);
    return port;
  }

  it("has metrics and health on loopback, and nothing else", async () => {
    const port = await startPort();
    expect((await fetchFrom({ port }, "GET", "/metrics")).json).toContain(
      "# TYPE onionhook_events_total counter",
    );
    expect((await fetchFrom({ port, headers: { host: `127.0.0.1:${port}` } }, "GET", "/health")).status).toBe(
      200,
    );
    for (const [method, path] of [
      ["GET", "/status"],
      ["GET", "/events"],
      ["GET", "/watch"],
      ["POST", "/retry"],
      ["POST", "/metrics"],
    ] as const)
      expect((await fetchFrom({ port }, method, path)).status).toBe(404);
  });

  it.each(["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::1]"])(
    "refuses a page that reached it under the name %j",
    async (host) => {
      const port = await startPort();
      const { status, json } = await fetchFrom({ port, headers: { host } }, "GET", "/metrics");
      expect(status).toBeGreaterThanOrEqual(400);
      expect(JSON.stringify(json)).not.toContain("onionhook_events_total");
    },
  );

  it("that is taken is an error, and the control socket serves all the same", async () => {
    const port = await startPort();
    const { seen, ask } = await start(makeFakeOperations(), {
      socket: join(folder, "second.sock"),
      metricsPort: port,
    });
    while (seen.length < 2) await sleep(5);
    expect(seen.map(({ event, code }) => code ?? event)).toEqual(["ERR_METRICS_PORT", "listening"]);
    expect((await ask("GET", "/health")).status).toBe(200);
  });
});
