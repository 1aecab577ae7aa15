/** Reconciliation by cron trigger in bare workerd, over HTTP, against a local server that behaves as GitHub documents. */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { GithubApi } from "../helpers/github-api.ts";
import { ROOT } from "../helpers/peers.ts";
import { until } from "../helpers/until.ts";

const HOOK = "/repos/octo/hello/hooks/1";
const HOUR = 3_600_000;
const COMPATIBILITY_DATE = "2026-11-02";

/** Quiet and offline: wrangler looks up hosts outside otherwise. */
const QUIET = {
  WRANGLER_SEND_METRICS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_HIDE_BANNER: "true",
  CI: "true",
};

interface Vars {
  GITHUB_TOKEN?: string;
  RECONCILE?: { hooks: string[] };
}

interface Edge {
  /** Everything that it printed. */
  output: () => string;
  /** What of it is JSON: what the Worker said. */
  said: () => { event: string; [field: string]: unknown }[];
  /** Fires the cron trigger; resolves with the handler's outcome when it has ended. */
  cron: () => Promise<string>;
  kill: () => Promise<void>;
}

describe("the cron trigger", () => {
  const folder = mkdtempSync(join(tmpdir(), "oh-"));
  let server: Server;
  let github: GithubApi;
  let edge: Edge;

  beforeAll(async () => {
    const wrangler = join(folder, "wrangler.json");
    writeFileSync(
      wrangler,
      JSON.stringify({
        name: "reconcile",
        main: join(ROOT, "test", "worker", "reconcile", "entry.ts"),
        compatibility_date: COMPATIBILITY_DATE,
      }),
    );
    await promisify(execFile)(
      process.execPath,
      [
        join(ROOT, "node_modules", "wrangler", "bin", "wrangler.js"),
        "deploy",
        "--dry-run",
        "--config",
        wrangler,
        "--outdir",
        join(folder, "bundle"),
      ],
      { cwd: ROOT, env: { ...process.env, ...QUIET, WRANGLER_LOG_PATH: join(folder, "logs") } },
    );
    server = createServer((request, response) => {
      void answer(github, request, response);
    });
    await listen(server);
  });

  beforeEach(() => {
    github = new GithubApi(HOOK, Date.now);
    rmSync(join(folder, "objects"), { recursive: true, force: true });
  });

  afterEach(async () => {
    server.closeAllConnections();
    await edge.kill();
  });

  afterAll(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function start(
    vars: Vars = { GITHUB_TOKEN: github.token, RECONCILE: { hooks: ["octo/hello/1"] } },
  ): Promise<Edge> {
    edge = await startEdge(folder, { ...vars, GITHUB_API_URL: urlOf(server) });
    return edge;
  }

  it("has every failed delivery redelivered, once, and nothing else", async () => {
    const failed = Array.from({ length: 3 }, (_, index) =>
      github.deliver("failed", { agoMs: 9 * HOUR - index }),
    );
    for (const guid of failed) github.redeliveries.set(guid, ["ok"]);
    for (let index = 0; index < 230; index += 1) github.deliver("ok", { agoMs: 5 * HOUR + index });
    const big = github.deliver("failed", { agoMs: HOUR, id: 2n ** 62n + 1n });
    github.redeliveries.set(big, ["ok"]);

    const { cron, said } = await start();
    expect(await cron()).toBe("ok");
    expect(github.redelivered).toEqual([...failed, big]);
    expect(said()).toEqual([
      expect.objectContaining({
        event: "reconciled",
        hook: HOOK,
        pages: 3,
        deliveries: 234,
        failed: 4,
        asked: 4,
        complete: true,
      }),
    ]);
    await cron();
    expect(github.redelivered).toHaveLength(4);
    expect(said().at(-1)).toMatchObject({ pages: 1, failed: 0, asked: 0, complete: true });
  });

  it("does nothing at all when it is not configured", async () => {
    github.deliver("failed", { agoMs: HOUR });
    const { cron, said } = await start({ GITHUB_TOKEN: github.token });
    expect(await cron()).toBe("ok");
    expect([github.asked, said()]).toEqual([[], []]);
  });

  it("says what is wrong with its configuration, and not the token", async () => {
    const { cron, said } = await start({ GITHUB_TOKEN: "secret token", RECONCILE: { hooks: ["octo"] } });
    expect(await cron()).toBe("ok");
    expect(said()).toEqual([
      expect.objectContaining({
        event: "error",
        code: "ERR_RECONCILE_CONFIG",
        message: expect.stringMatching(/GITHUB_TOKEN.*RECONCILE\.hooks\.0/),
      }),
    ]);
    expect(edge.output()).not.toContain("secret token");
  });

  it("does not double what a run under way is doing", async () => {
    const guid = github.deliver("failed", { agoMs: HOUR });
    let go = () => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    github.fault = async () => {
      await held;
      return undefined;
    };
    const { cron } = await start();
    const first = cron();
    await until(() => expect(github.asked).toHaveLength(1));
    await cron();
    expect(github.asked).toHaveLength(1);
    go();
    await first;
    expect(github.redelivered).toEqual([guid]);
  });

  it("goes on where it was when it is killed in a run, and asks for nothing twice", async () => {
    github.perPageMax = 1;
    const guids = Array.from({ length: 5 }, (_, index) => github.deliver("failed", { agoMs: HOUR - index }));
    const dieAt = async (count: number) => {
      github.fault = () => (github.asked.length >= count ? new Promise<Response>(() => {}) : undefined);
      const { cron, kill } = await start();
      const dying = cron().catch(() => {});
      await until(() => expect(github.asked).toHaveLength(count));
      await kill();
      await dying;
    };
    await dieAt(4);
    expect(github.of("GET")).toHaveLength(4);
    // Page 4 again, page 5, then two of the five redeliveries.
    await dieAt(8);
    expect([github.of("GET").length, github.of("POST").length]).toEqual([6, 2]);
    github.fault = undefined;
    await (await start()).cron();
    expect(github.redelivered).toEqual(guids);
  });

  it("goes on with the next hook when one fails, but not when a limit is reached, which is the token's", async () => {
    const other = { RECONCILE: { hooks: ["octo/gone/2", "octo/hello/1"] }, GITHUB_TOKEN: github.token };
    const guid = github.deliver("failed", { agoMs: HOUR });
    github.redeliveries.set(guid, ["ok"]);
    const { cron, said } = await start(other);
    await cron();
    expect(said()[0]).toMatchObject({ code: "ERR_GITHUB_HOOK", hook: "/repos/octo/gone/hooks/2" });
    expect(github.redelivered).toEqual([guid]);

    github.secondary = { until: Date.now() + HOUR, retryAfter: true };
    const before = github.asked.length;
    await cron();
    await cron();
    expect(github.asked).toHaveLength(before + 1);
    expect(said().filter(({ code }) => code === "ERR_GITHUB_RATE_LIMIT")).toHaveLength(1);
  });

  it("follows no redirect with the token, and says it nowhere", async () => {
    const stolen: IncomingMessage[] = [];
    const thief = createServer((request, response) => {
      stolen.push(request);
      response.end("[]");
    });
    await listen(thief);
    const there = `${urlOf(thief)}${HOOK}/deliveries?cursor=v1_1`;
    const { cron, said } = await start();
    for (const status of [301, 302, 307, 308]) {
      github.fault = () => new Response(null, { status, headers: { Location: there } });
      await cron();
    }
    github.fault = () => Response.json([], { headers: { Link: `<${there}>; rel="next"` } });
    await cron();
    github.fault = () => Response.json({ message: `bad token ${github.token}` }, { status: 401 });
    await cron();
    thief.close();
    expect(stolen).toEqual([]);
    expect(said().flatMap(({ event, code }) => (event === "error" ? [code] : []))).toEqual([
      ...Array<string>(4).fill("ERR_GITHUB_REFUSED"),
      "ERR_GITHUB_ANSWER",
      "ERR_GITHUB_TOKEN",
    ]);
    expect(edge.output()).not.toContain(github.token);
  });

  it("waits ten seconds for an answer that does not end", async () => {
    const stalls = () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(new TextEncoder().encode("[")),
        }),
      );
    github.fault = stalls;
    const { cron, said } = await start();
    const started = performance.now();
    await cron();
    // A second wait would be ten more.
    expect(performance.now() - started).toBeLessThan(19_000);
    expect(said()[0]).toMatchObject({ event: "error", code: "ERR_GITHUB_UNAVAILABLE" });
  });

  it("says so when nothing listens there", async () => {
    server.closeAllConnections();
    const { cron, said } = await start();
    await new Promise((resolve) => server.close(resolve));
    await cron();
    expect(said()[0]).toMatchObject({ event: "error", code: "ERR_GITHUB_UNAVAILABLE" });
    await listen(server);
  });
});

/** Starts workerd with the Worker, its objects on disk, and a second Worker that fires the cron trigger when it is asked. */
async function startEdge(folder: string, vars: Vars & { GITHUB_API_URL: string }): Promise<Edge> {
  mkdirSync(join(folder, "objects"), { recursive: true });
  const json = (value: unknown) => JSON.stringify(JSON.stringify(value));
  const bindings = Object.entries(vars).map(([name, value]) =>
    typeof value === "string"
      ? `(name = "${name}", text = ${JSON.stringify(value)})`
      : `(name = "${name}", json = ${json(value)})`,
  );
  const trigger = `export default { async fetch(request, env) {
    return Response.json(await env.EDGE.scheduled({ cron: "*/10 * * * *", scheduledTime: new Date() }));
  } }`;
  const config = join(folder, "workerd.capnp");
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "trigger", worker = .trigger),
    (name = "objects", disk = (path = ${JSON.stringify(join(folder, "objects"))}, writable = true)),
    (name = "internet", network = (allow = ["local"]))
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "trigger") ]
);
const edge :Workerd.Worker = (
  modules = [ (name = "main.js", esModule = embed "bundle/entry.js") ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [ (name = "RECONCILER", durableObjectNamespace = "Reconciler"), ${bindings.join(", ")} ],
  durableObjectNamespaces = [ (className = "Reconciler", uniqueKey = "reconciler", enableSql = true) ],
  durableObjectStorage = (localDisk = "objects")
);
const trigger :Workerd.Worker = (
  modules = [ (name = "trigger.js", esModule = ${JSON.stringify(trigger)}) ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  compatibilityFlags = ["service_binding_extra_handlers"],
  bindings = [ (name = "EDGE", service = "edge") ]
);
`,
  );
  const arch = process.arch === "arm64" ? "arm64" : "64";
  const program = join(
    ROOT,
    "node_modules",
    "@cloudflare",
    `workerd-${process.platform}-${arch}`,
    "bin",
    "workerd",
  );
  const child = spawn(program, ["serve", "--experimental", "--control-fd=3", config], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let output = "";
  for (const stream of [child.stdout, child.stderr] as Readable[])
    stream.setEncoding("utf8").on("data", (text) => (output += text));
  const port = await new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdio[3] as Readable }).on("line", (line) => {
      const said = JSON.parse(line) as { event: string; port?: number };
      if (said.event === "listen" && said.port !== undefined) resolve(said.port);
    });
    void exited.then(() => reject(new Error(`workerd ended: ${output}`)));
  });
  return {
    output: () => output,
    said: () =>
      output
        .split("\n")
        .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as { event: string }] : [])),
    async cron() {
      const response = await fetch(`http://127.0.0.1:${port}/`);
      return ((await response.json()) as { outcome: string }).outcome;
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function answer(github: GithubApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) headers.set(name, String(value));
  const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
  const given = await github.handle(new Request(url, { method: request.method ?? "GET", headers }));
  response.writeHead(given.status, Object.fromEntries(given.headers));
  if (given.body)
    Readable.fromWeb(given.body)
      .on("error", () => {})
      .pipe(response);
  else response.end();
}
