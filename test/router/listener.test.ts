import { once } from "node:events";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { until } from "../helpers/until.ts";
import { ManualClock } from "./manual-clock.ts";
import { EVERYTHING, startTestbed, TRANSPORT, type Change } from "./testbed.ts";

async function socketPath(): Promise<string> {
  const folder = await mkdtemp(joinPath(tmpdir(), "onionhook-router-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return joinPath(folder, "router.sock");
}

const onUnix = (path: string): Change => [`${TRANSPORT}.endpoint`, { type: "unix", path }];

/** The HTTP status with which an upgrade is refused. */
function refusedWith(url: string, protocols: string[]): Promise<number | undefined> {
  const ws = new WebSocket(url, protocols);
  return new Promise((resolve) => {
    ws.once("unexpected-response", (request, response) => {
      resolve(response.statusCode);
      request.destroy();
    });
    ws.on("error", () => {});
  });
}

describe("a unix socket", () => {
  it("serves as TCP does, to its owner only, and is gone afterwards", async () => {
    const path = await socketPath();
    const testbed = await startTestbed({ changes: [onUnix(path)] });
    expect(testbed.endpoint).toEqual({ path });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const [relay, builder] = [await testbed.join("relay"), await testbed.join("builder", "json")];
    await builder.ask([32, 1, {}, "webhook.github.push"]);
    await relay.ask([16, 1, { acknowledge: true }, "webhook.github.push", [1]]);
    expect((await builder.next())[4]).toEqual([1]);
    await testbed.router.close();
    await expect(stat(path)).rejects.toThrow("ENOENT");
  });

  it("takes the place of one that a dead process left", async () => {
    const path = await socketPath();
    // A child that is killed cannot take its socket away.
    const { spawn } = await import("node:child_process");
    const child = spawn(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`,
    ]);
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await stat(path)).isSocket()).toBe(true);
    const testbed = await startTestbed({ changes: [onUnix(path)] });
    await testbed.join("relay");
  });

  it("does not take the place of one that is answered", async () => {
    const path = await socketPath();
    const other = createServer().listen(path);
    await once(other, "listening");
    onTestFinished(() => new Promise<void>((resolve) => void other.close(() => resolve())));
    await expect(startTestbed({ changes: [onUnix(path)] })).rejects.toMatchObject({
      code: "ERR_ROUTER_ENDPOINT",
      message: expect.stringContaining("in use"),
    });
    expect((await stat(path)).isSocket()).toBe(true);
  });

  it("never removes a file", async () => {
    const path = await socketPath();
    await writeFile(path, "precious");
    await expect(startTestbed({ changes: [onUnix(path)] })).rejects.toMatchObject({
      code: "ERR_ROUTER_ENDPOINT",
    });
    expect((await stat(path)).size).toBe(8);
  });

  it.each([
    ["below a file", "ENOTDIR", "Let this user write"],
    ["in a folder that is not there", "the folder PATH does not exist", "Make it"],
  ])("%s cannot be listened on, and it is said where", async (what, why, hint) => {
    const path = await socketPath();
    if (what === "below a file") await writeFile(path, "");
    const below = joinPath(path, "router.sock");
    await expect(startTestbed({ changes: [onUnix(below)] })).rejects.toMatchObject({
      code: "ERR_ROUTER_ENDPOINT",
      message: `the router cannot listen on ${below}: ${why.replace("PATH", path)}`,
      hint: expect.stringContaining(hint),
    });
  });
});

describe("a TCP port", () => {
  it("that is taken is an error, and nothing stays open", async () => {
    const first = await startTestbed();
    const port = "port" in first.endpoint ? first.endpoint.port : 0;
    await expect(startTestbed({ changes: [[`${TRANSPORT}.endpoint.port`, port]] })).rejects.toMatchObject({
      code: "ERR_ROUTER_ENDPOINT",
      message: `the router cannot listen on 127.0.0.1 port ${port}: EADDRINUSE`,
    });
  });

  it("is closed after 10 s to who says nothing at all", async () => {
    const clock = new ManualClock();
    const { endpoint } = await startTestbed({ clock });
    const socket = connect("port" in endpoint ? endpoint.port : 0, "127.0.0.1");
    await once(socket, "connect");
    await until(() => expect(clock.waiting).toBe(1));
    const closed = once(socket, "close");
    clock.forward(10_000);
    await closed;
  });

  it("tells a browser what it is for", async () => {
    const { endpoint } = await startTestbed();
    const response = await fetch(`http://127.0.0.1:${"port" in endpoint ? endpoint.port : 0}/`);
    expect([response.status, response.headers.get("upgrade")]).toEqual([426, "websocket"]);
    await response.text();
  });

  it.each([
    ["none", []],
    ["an unknown serializer", ["wamp.2.ubjson"]],
    ["one that is turned off", ["wamp.2.json"]],
  ])("refuses the upgrade when the client offers %s", async (_name, protocols) => {
    const { endpoint } = await startTestbed({ changes: [[`${TRANSPORT}.serializers`, ["cbor"]]] });
    const url = `ws://127.0.0.1:${"port" in endpoint ? endpoint.port : 0}/`;
    expect(await refusedWith(url, protocols)).toBe(400);
  });

  it("takes the first serializer that the client offers and the router has", async () => {
    const { endpoint } = await startTestbed();
    const url = `ws://127.0.0.1:${"port" in endpoint ? endpoint.port : 0}/`;
    const ws = new WebSocket(url, ["wamp.2.flatbuffers", "wamp.2.cbor", "wamp.2.json"]);
    await once(ws, "open");
    expect([ws.protocol, ws.extensions]).toEqual(["wamp.2.cbor", ""]);
    ws.terminate();
  });
});

describe("a slow reader", () => {
  it("is disconnected when too much waits for it; others are not held up", { timeout: 60_000 }, async () => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const [publisher, slow, quick] = [
      await testbed.join("relay"),
      await testbed.join("relay"),
      await testbed.join("relay"),
    ];
    for (const each of [slow, quick]) {
      // oxlint-disable-next-line no-await-in-loop
      await each.ask([32, 1, {}, "a.b"]);
    }
    slow.ws.pause();
    const large = Buffer.alloc(25 * 1024 * 1024);
    for (let request = 1; request <= 5; request += 1) {
      // oxlint-disable-next-line no-await-in-loop
      await publisher.ask([16, request, { acknowledge: true }, "a.b", large]);
      // oxlint-disable-next-line no-await-in-loop
      expect((await quick.next())[0]).toBe(36);
    }
    expect(testbed.reports.at(-1)).toEqual(["left", { authid: "relay", reason: "slow" }]);
    expect(await quick.settled()).toEqual([]);
    slow.ws.resume();
  });

  it("is disconnected when it pings without end", { timeout: 40_000 }, async () => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay");
    relay.ws.pause();
    const ping = setInterval(() => {
      for (let burst = 0; burst < 1_000; burst += 1) relay.ws.ping(Buffer.alloc(125), true, () => {});
    });
    onTestFinished(() => clearInterval(ping));
    await expect
      .poll(() => testbed.reports.at(-1), { timeout: 30_000 })
      .toEqual(["left", { authid: "relay", reason: "lost" }]);
  });
});

describe("closing the router", () => {
  it("sends everybody away with 1001, and may be started again on the same port", async () => {
    const testbed = await startTestbed();
    const clients = [
      await testbed.join("relay", "json"),
      await testbed.join("builder"),
      await testbed.dial(),
    ];
    await testbed.router.close();
    expect(await Promise.all(clients.map((each) => each.closed))).toEqual([1001, 1001, 1001]);
    expect(testbed.reports.filter(([event]) => event === "left")).toEqual([
      ["left", { authid: "relay", reason: "shutdown" }],
      ["left", { authid: "builder", reason: "shutdown" }],
    ]);
    const port = "port" in testbed.endpoint ? testbed.endpoint.port : 0;
    const again = await startTestbed({ changes: [[`${TRANSPORT}.endpoint.port`, port]] });
    await again.join("relay");
  });

  it("does not wait for clients that do not answer", async () => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay");
    relay.ws.pause();
    const start = performance.now();
    await Promise.all([testbed.router.close(), testbed.router.close()]);
    // After SHUTDOWN_GRACE, 1 s; without it each would be waited for until CLOSE_DEADLINE, 5 s.
    expect(performance.now() - start).toBeLessThan(4500);
  });
});
