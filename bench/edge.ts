/**
 * `npm run bench:edge`: what a delivery costs at the edge, in real workerd, beside the same Worker with plain
 * tweetnacl, one that only verifies, and one that only reads the body; all in one run. What counts are the ratios.
 *
 * CPU is that of workerd's main thread, which runs the JavaScript (first field of /proc/PID/schedstat, nanoseconds):
 * HTTP, SQLite and the object's start included, so that it is more than Cloudflare bills.
 */
import { execFileSync, spawn } from "node:child_process";
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import nacl from "tweetnacl";
import { takePort } from "../cli/dev/ports.ts";
import { workerdBinary } from "../cli/dev/edge.ts";
import { formatKey } from "../shared/keys.ts";
import { median } from "./statistics.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "oh-bench-edge-"));
const secret = "It's a Secret to Everybody";
const require = createRequire(import.meta.url);

/** Each with its entry, and the configuration that bundles it. */
const WORKERS = [
  { name: "edge", entry: "worker/main.ts", config: "wrangler.toml" },
  { name: "plain tweetnacl", entry: "bench/edge/plain.ts", config: "bench/edge/wrangler.toml" },
  { name: "only stores", entry: "bench/edge/store.ts", config: "bench/edge/wrangler.toml" },
  { name: "only verifies", entry: "bench/edge/verify.ts", config: "bench/edge/wrangler.toml" },
  { name: "only HTTP", entry: "bench/edge/empty.ts", config: "bench/edge/wrangler.toml" },
] as const;
type Name = (typeof WORKERS)[number]["name"];

const SIZES = [
  { name: "1 KB", bytes: KIB, requests: 1000 },
  { name: "10 KB", bytes: 10 * KIB, requests: 1000 },
  { name: "100 KB", bytes: 100 * KIB, requests: 300 },
  { name: "1 MB", bytes: MIB, requests: 40 },
  { name: "25 MB", bytes: 25 * MIB, requests: 3 },
];
const WARM_UP = 300;
/** Fresh processes for the figure of a cold isolate. */
const COLD_STARTS = 5;
const IN_FLIGHT = 8;

function bundle(entry: string, config: string, outdir: string): Buffer {
  const wrangler = join(dirname(require.resolve("wrangler/package.json")), "bin", "wrangler.js");
  execFileSync(
    process.execPath,
    [wrangler, "deploy", entry, "--dry-run", "--config", config, "--outdir", outdir],
    {
      cwd: root,
      stdio: ["ignore", "ignore", "inherit"],
      env: {
        ...process.env,
        WRANGLER_SEND_METRICS: "false",
        CLOUDFLARE_CF_FETCH_ENABLED: "false",
        WRANGLER_HIDE_BANNER: "true",
        CI: "true",
      },
    },
  );
  return readFileSync(join(outdir, `${entry.replace(/^.*\/|\.ts$/g, "")}.js`));
}

function capnp(module: string, port: number, outbox: string, hasObject: boolean): string {
  const box = nacl.box.keyPair();
  const text = (name: string, value: string) => `(name = "${name}", text = ${JSON.stringify(value)})`;
  const json = (name: string, value: unknown) =>
    `(name = "${name}", json = ${JSON.stringify(JSON.stringify(value))})`;
  const recipient = { box_public: formatKey("box", "public", nacl.box.keyPair().publicKey) };
  const relay = formatKey("sign", "public", nacl.sign.keyPair().publicKey);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "w", worker = .worker), (name = "disk", disk = (path = ${JSON.stringify(outbox)}, writable = true)) ],
  sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "w") ]
);
const worker :Workerd.Worker = (
  modules = [ (name = "main.js", esModule = embed ${JSON.stringify(module)}) ],
  compatibilityDate = "2026-11-02",
  bindings = [
    ${hasObject ? `(name = "OUTBOX", durableObjectNamespace = "Outbox"),` : ""}
    ${text("WEBHOOK_SECRET", secret)},
    ${text("EDGE_BOX_KEY", formatKey("box", "secret", box.secretKey))},
    ${json("RECIPIENTS", { builder: recipient })},
    ${json("RELAYS", { relay })}
  ],
  ${hasObject ? `durableObjectNamespaces = [ (className = "Outbox", uniqueKey = "bench", enableSql = true) ],\n  durableObjectStorage = (localDisk = "disk")` : ""}
);
`;
}

interface Running {
  port: number;
  pid: number;
  stop(): Promise<void>;
}

async function start(name: Name, home = mkdtempSync(join(folder, "run-"))): Promise<Running> {
  const port = await takePort(0, "port");
  const outbox = join(home, "outbox");
  mkdirSync(outbox, { recursive: true });
  const config = join(home, "workerd.capnp");
  const hasObject = name !== "only verifies" && name !== "only HTTP";
  writeFileSync(config, capnp(`../${name}.js`, port, outbox, hasObject));
  const child = spawn(workerdBinary(require), ["serve", config], { stdio: ["ignore", "ignore", "inherit"] });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  // A 405 is an answer too; and until then nothing of the Worker's has run but its start.
  while (!(await answers(port))) await sleep(20);
  return {
    port,
    pid: child.pid ?? 0,
    async stop() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Whether something listens: no request is made, so that the first delivery is the first. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({ host: "127.0.0.1", port, method: "POST" });
    probe.once("socket", (socket) => {
      socket.once("connect", () => {
        probe.destroy();
        resolve(true);
      });
    });
    probe.once("error", () => resolve(false));
  });
}

function freshBody(bytes: number): Buffer {
  const head = `{"ref":"refs/heads/main","after":"${randomUUID()}","repository":{"id":1,"full_name":"a/b"},"text":[`;
  const text = `"${randomBytes(24).toString("base64")}",`.repeat(Math.ceil(bytes / 35));
  return Buffer.from(`${(head + text).slice(0, bytes - 4)}"""]}`.replace(/"*"""\]\}$/, '""]}'));
}

/** A body of about that size which is JSON whatever was cut off. */
function jsonBody(bytes: number): Buffer {
  for (let size = bytes; ; size -= 1) {
    const body = freshBody(size);
    try {
      JSON.parse(body.toString());
      return body;
    } catch {
      // Cut in the middle of a comma and a quote.
    }
  }
}

async function post(port: number, body: Buffer, agent?: Agent): Promise<void> {
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  await new Promise<void>((resolve, reject) => {
    const sent = request(
      {
        host: "127.0.0.1",
        port,
        path: "/webhook/github",
        method: "POST",
        ...(agent && { agent }),
        headers: {
          "Content-Type": "application/json",
          "Content-Length": body.length,
          "X-GitHub-Delivery": randomUUID(),
          "X-GitHub-Event": "push",
          "X-Hub-Signature-256": `sha256=${signature}`,
        },
      },
      (response) => {
        response.resume().once("end", () => {
          if (response.statusCode === 202) resolve();
          else reject(new Error(`answered ${response.statusCode}`));
        });
      },
    );
    sent.once("error", reject);
    sent.end(body);
  });
}

/** Milliseconds of CPU that the main thread has had. */
function cpuMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
}

function memory(pid: number, line: "VmRSS" | "VmHWM"): number {
  const found = new RegExp(`^${line}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1] ?? NaN) / KIB;
}

/** CPU milliseconds a request, for each size. */
async function warm(name: Name): Promise<{ cpu: number[]; perSecond: number }> {
  const { port, pid, stop } = await start(name);
  const agent = new Agent({ keepAlive: true });
  for (let index = 0; index < WARM_UP; index += 1) await post(port, jsonBody(10 * KIB), agent);
  const cpu: number[] = [];
  for (const { bytes, requests } of SIZES) {
    const bodies = Array.from({ length: requests }, () => jsonBody(bytes));
    const before = cpuMs(pid);
    for (const body of bodies) await post(port, body, agent);
    cpu.push((cpuMs(pid) - before) / requests);
  }
  const bodies = Array.from({ length: 3000 }, () => jsonBody(10 * KIB));
  const started = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (let body = bodies.pop(); body; body = bodies.pop()) await post(port, body, agent);
    }),
  );
  const perSecond = 3000 / ((performance.now() - started) / 1000);
  agent.destroy();
  await stop();
  return { cpu, perSecond };
}

/** CPU milliseconds of the first request of a process, whose outbox has been there before. */
async function cold(name: Name, bytes: number): Promise<number> {
  const home = mkdtempSync(join(folder, "run-"));
  const figures: number[] = [];
  for (let index = 0; index <= COLD_STARTS; index += 1) {
    const { port, pid, stop } = await start(name, home);
    const body = jsonBody(bytes);
    const before = cpuMs(pid);
    await post(port, body);
    if (index > 0) figures.push(cpuMs(pid) - before);
    await stop();
  }
  return median(figures);
}

/** MiB that the process holds before, and at most while it takes, the largest delivery. */
async function peak(name: Name): Promise<{ before: number; peak: number }> {
  const { port, pid, stop } = await start(name);
  await post(port, jsonBody(10 * KIB));
  const before = memory(pid, "VmRSS");
  const largest = jsonBody(25 * MIB);
  await post(port, largest);
  const figures = { before, peak: memory(pid, "VmHWM") };
  await stop();
  return figures;
}

/** What is left beside `only stores` is verification, sealing and the edge's own logic. */
function compare(figures: ReadonlyMap<Name, readonly number[]>): void {
  const edge = figures.get("edge") ?? [];
  const beside = (name: Name, by: (ours: number, theirs: number) => number) =>
    two(edge.map((ms, index) => by(ms, figures.get(name)?.[index] ?? NaN)));
  row(
    "edge ÷ plain",
    beside("plain tweetnacl", (ours, theirs) => ours / theirs),
  );
  row(
    "edge ÷ verifies",
    beside("only verifies", (ours, theirs) => ours / theirs),
  );
  row(
    "edge − stores",
    beside("only stores", (ours, theirs) => ours - theirs),
  );
}

function two(figures: readonly number[] = []): string[] {
  return figures.map((figure) => figure.toFixed(2));
}

function row(what: string, figures: readonly string[]): void {
  console.log(`  ${what.padEnd(18)}${figures.map((figure) => figure.padStart(10)).join("")}`);
}

try {
  const sizes = new Map<Name, number>();
  for (const { name, entry, config } of WORKERS) {
    const code = bundle(entry, config, join(folder, "bundle"));
    writeFileSync(join(folder, `${name}.js`), code);
    sizes.set(name, gzipSync(code).length / KIB);
  }
  const names = SIZES.map((size) => size.name);
  console.log("\n  ms of CPU a request, warm");
  row("", [...names, "req/s 10", "KiB gzip"]);
  const warmOf = new Map<Name, number[]>();
  for (const { name } of WORKERS) {
    const { cpu, perSecond } = await warm(name);
    warmOf.set(name, cpu);
    row(name, [...two(cpu), perSecond.toFixed(0), (sizes.get(name) ?? NaN).toFixed(1)]);
  }
  compare(warmOf);
  console.log("\n  ms of CPU of the first request in a fresh isolate");
  row("", names);
  const coldOf = new Map<Name, number[]>();
  for (const { name } of WORKERS) {
    const figures: number[] = [];
    for (const { bytes } of SIZES) figures.push(await cold(name, bytes));
    coldOf.set(name, figures);
    row(name, two(figures));
  }
  compare(coldOf);
  console.log("\n  MiB of the process, before and at most, while it takes 25 MiB");
  for (const name of ["edge", "plain tweetnacl"] as const) {
    const figures = await peak(name);
    row(name, [
      figures.before.toFixed(0),
      figures.peak.toFixed(0),
      `+${(figures.peak - figures.before).toFixed(0)}`,
    ]);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
