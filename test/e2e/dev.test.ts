import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, it } from "vitest";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { dataFolder, type Dev, processesNaming, startDev } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { ROOT } from "../helpers/peers.ts";

/** Everything here is the same with and without Tor; without, it takes seconds. test/e2e/onion.test.ts has Tor. */
const LOOPBACK = ["--no-tor", "--port", "0"];

/** Seconds of a build that no test waits for; such as nobody else on this machine sleeps. */
const SLOW_S = String(1_000_000 + process.pid);

describe("onionhook dev", () => {
  const open: (() => Promise<void> | void)[] = [];
  const folder = () => {
    const data = dataFolder();
    open.push(data.remove);
    return data.path;
  };
  const dev = (path: string, ...args: string[]): Dev => {
    const run = startDev([...LOOPBACK, "--data-dir", path, ...args]);
    open.push(() => run.stop());
    return run;
  };

  afterEach(async () => {
    for (const close of open.splice(0).toReversed()) await close();
  });

  it("ends with 0 after the first build of the sample, and tells every step of the contract", async () => {
    const path = folder();
    const run = dev(path, "--once");
    expect(await run.exited).toEqual({ code: 0, signal: null });
    const received = run.events.find(({ event }) => event === "received");
    const of = (event: string) =>
      run.events.find((each) => each.event === event && each["delivery"] === received?.["delivery"]);
    expect(received).toMatchObject({ topic: "webhook.github.push", bytes: expect.any(Number) });
    expect(of("stored")).toMatchObject({
      stream: "builder",
      seq: 1,
      sealed_bytes: expect.any(Number),
      duplicate: false,
    });
    expect(of("drained")).toMatchObject({ stream: "builder", seq: 1 });
    expect(of("published")).toMatchObject({ stream: "builder", seq: 1 });
    expect(of("opened")).toMatchObject({
      topic: "webhook.github.push",
      redelivery: false,
      signature: "verified",
    });
    expect(of("built")).toMatchObject({ rule: "sample-docs", exit: 0, ms: expect.any(Number) });
    expect(of("done")).toMatchObject({ stream: "builder", seq: 1 });
    for (const event of run.events) expect(event.at).toBeGreaterThan(1.7e12);
    expect(readFileSync(join(path, "site", "index.html"), "utf8")).toContain(
      "<h1>Codertocat/Hello-World</h1>",
    );
    expect(processesNaming(path)).toEqual([]);
  });

  it("keeps keys and says so on a second start", async () => {
    const path = folder();
    const first = dev(path, "--no-sample");
    const { keys_dir } = await first.ready();
    const keysNow = () => readdirSync(keys_dir).map((name) => readFileSync(join(keys_dir, name), "utf8"));
    const before = keysNow();
    await first.stop();
    const second = dev(path, "--once");
    expect((await second.exited).code).toBe(0);
    expect(keysNow()).toEqual(before);
    expect(second.stderr()).toContain("keys     reused");
  });

  it("starts a part again when it dies, and says so", async () => {
    const run = dev(folder(), "--no-sample");
    await run.ready();
    for (const part of ["worker", "relay", "router", "builder"]) {
      const pid = run.pidOf(part);
      process.kill(pid, "SIGKILL");
      await run.until(
        `${part} again`,
        (event) => event.event === "started" && event["part"] === part && event["restarts"] === 1,
      );
      expect(run.events).toContainEqual(
        expect.objectContaining({ event: "exited", part, pid, signal: "SIGKILL" }),
      );
      expect(run.pidOf(part)).not.toBe(pid);
    }
  });

  it.each([500, 1000, 2000])(
    "ends at once, with everything, when it is interrupted after %i ms",
    async (ms) => {
      const path = folder();
      const run = dev(path);
      await new Promise((resolve) => setTimeout(resolve, ms));
      run.process.kill("SIGINT");
      const started = performance.now();
      await run.exited;
      expect(performance.now() - started).toBeLessThan(13_000);
      expect(processesNaming(path)).toEqual([]);
    },
  );

  it("brings the sample to the builder, and serves on, when no rule is for it", async () => {
    const path = folder();
    writeFileSync(join(path, "rules.json"), "[]");
    const run = dev(path);
    await run.until("done", ({ event }) => event === "done");
    expect(run.process.exitCode).toBeNull();
  });

  it("opens and receipts the events behind a build that is running", async () => {
    const path = folder();
    const slow = { name: "slow", event: "push", run: [["sleep", SLOW_S]], directory: path };
    writeFileSync(join(path, "rules.json"), JSON.stringify([slow]));
    const run = dev(path, "--no-sample");
    const { webhook, secret_file } = await run.ready();
    const secret = readSecretFile(secret_file);
    for (const [index, name] of ["push", "push", "issues"].entries()) {
      const { delivery } = await post(webhook, secret, name, encodeUtf8(`{"index":${index}}`));
      await run.until("done", (event) => event.event === "done" && event["delivery"] === delivery);
    }
    expect(run.events.filter(({ event }) => event === "opened")).toHaveLength(3);
    expect(run.events.filter(({ event }) => event === "built")).toEqual([]);
  });

  it("leaves no process behind when it is killed with SIGKILL, not even a build's", async () => {
    const path = folder();
    writeFileSync(
      join(path, "rules.json"),
      JSON.stringify([{ name: "slow", event: "push", run: [["sleep", SLOW_S]], directory: path }]),
    );
    const run = dev(path);
    await run.until("opened", ({ event }) => event === "opened");
    await eventually("the build runs", () => processesNaming(`sleep\u0000${SLOW_S}`).length > 0);
    run.process.kill("SIGKILL");
    await run.exited;
    await eventually("no process of the run is left", () => processesNaming(path).length === 0);
    await eventually("no build is left", () => processesNaming(`sleep\u0000${SLOW_S}`).length === 0);
  });

  it("ends with everything when npm, which started it, is killed", async () => {
    const path = folder();
    const npm = spawn("npm", ["start", "--", ...LOOPBACK, "--no-sample", "--json", "--data-dir", path], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "ignore"],
    });
    open.push(() => void npm.kill("SIGKILL"));
    await new Promise<void>((resolve) => {
      createInterface({ input: npm.stdout }).on("line", (line) => {
        if (line.startsWith('{"event":"ready"')) resolve();
      });
    });
    expect(processesNaming(path).length).toBeGreaterThanOrEqual(5);
    npm.kill("SIGKILL");
    await eventually("no process of the run is left", () => processesNaming(path).length === 0, 20_000);
  });

  it("takes 25 MiB, GitHub's largest, and no byte more", async () => {
    const run = dev(folder(), "--no-sample");
    const { webhook, secret_file } = await run.ready();
    const secret = readSecretFile(secret_file);
    const [before, after] = ['{"ref":"refs/heads/main","padding":"', '"}'];
    const largest = encodeUtf8(before + "x".repeat(25 * 1024 * 1024 - before.length - after.length) + after);
    const delivery = crypto.randomUUID();
    const send = () => post(webhook, secret, "push", largest, delivery);
    // On a loaded machine it may take longer than GitHub waits. The same delivery again is a duplicate.
    const taken = await send().catch(send);
    expect(taken.status).toBe(202);
    await run.until("opened", (event) => event.event === "opened" && event["delivery"] === taken.delivery);
    await run.until("done", (event) => event.event === "done" && event["delivery"] === taken.delivery);
    const refused = await post(
      webhook,
      secret,
      "push",
      encodeUtf8(`${Buffer.from(largest).toString("latin1")} `),
    );
    expect(refused).toMatchObject({ status: 413, answer: { error: { code: "ERR_BODY_TOO_LARGE" } } });
  });

  it("names a busy port and the remedy", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    open.push(() => void server.close());
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const run = startDev(["--no-tor", "--data-dir", folder(), "--port", String(port)]);
    expect((await run.exited).code).toBe(1);
    expect(run.events).toContainEqual(expect.objectContaining({ event: "error", code: "ERR_PORT_BUSY" }));
    expect(run.stderr()).toMatch(new RegExp(`port ${port} is in use.*\n.*--port N`));
  });

  it("names a data folder that cannot be one", async () => {
    const path = join(folder(), "file");
    writeFileSync(path, "");
    const run = dev(path, "--once");
    expect((await run.exited).code).toBe(1);
    expect(run.stderr()).toMatch(/error: .* cannot be written \(E\w+\) \(ERR_DATA_DIR\)\n.*--data-dir DIR/);
  });

  it("does not share its data folder with another run", async () => {
    const path = folder();
    const first = dev(path, "--no-sample");
    await first.ready();
    const second = dev(path, "--once");
    expect((await second.exited).code).toBe(1);
    expect(second.stderr()).toContain(`process ${first.process.pid} uses the folder`);
    expect(first.process.exitCode).toBeNull();
  });

  it("recovers from what a killed start left half-written", async () => {
    const path = folder();
    const first = dev(path, "--no-sample");
    await first.until("a first part", ({ event }) => event === "started");
    first.process.kill("SIGKILL");
    await first.exited;
    await eventually("nothing runs", () => processesNaming(path).length === 0);
    mkdirSync(join(path, "relay", "queue"), { recursive: true });
    writeFileSync(join(path, "relay", "queue", "PG_VERSION"), "1");
    writeFileSync(join(path, "crossbar.json"), '{"version": 2, "wor');
    const second = dev(path, "--once");
    expect((await second.exited).code).toBe(0);
  });

  it("refuses a key that others may read, by name", async () => {
    const path = folder();
    const first = dev(path, "--no-sample");
    const { secret_file } = await first.ready();
    await first.stop();
    chmodSync(secret_file, 0o644);
    const second = dev(path, "--once");
    expect((await second.exited).code).toBe(1);
    expect(second.stderr()).toContain(`${secret_file} can be read by others`);
    expect(second.stderr()).toContain(`chmod 600 ${secret_file}`);
  });
});
