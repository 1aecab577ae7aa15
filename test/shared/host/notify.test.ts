/** With the real systemd-notify, and a socket such as systemd's. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeNotifier } from "../../../shared/host/notify.ts";

/** Node has no unix datagram sockets. */
const RECEIVER = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while True:
    for message in receiver.recv(65536).decode().split("\\n"):
        if message: print(message, flush=True)
`;

const hasNotify = isThere("systemd-notify", "--version") && isThere("python3", "--version");

function isThere(program: string, argument: string): boolean {
  try {
    execFileSync(program, [argument], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!hasNotify)("a service that systemd listens to", () => {
  let folder: string;
  let socket: string;
  let receiver: ChildProcess;
  let messages: string[];
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "oh-notify-"));
    socket = join(folder, "notify");
    messages = [];
    const python = spawn("python3", ["-c", RECEIVER, socket], { stdio: ["ignore", "pipe", "inherit"] });
    receiver = python;
    const lines = createInterface({ input: python.stdout });
    await new Promise((resolve) => lines.once("line", resolve));
    // BARRIER=1 is systemd-notify's own, by which it waits until its message was read.
    lines.on("line", (line) => line.startsWith("BARRIER=") || messages.push(line));
  });
  afterEach(async () => {
    const gone = new Promise((resolve) => receiver.once("exit", resolve));
    receiver.kill("SIGKILL");
    await gone;
    rmSync(folder, { recursive: true });
  });

  const start = (more: Record<string, string> = {}) => {
    const env: NodeJS.ProcessEnv = { PATH: process.env["PATH"], NOTIFY_SOCKET: socket, ...more };
    const errors: unknown[] = [];
    return { env, errors, ...makeNotifier(env, (_event, fields) => errors.push(fields)) };
  };

  async function said(count: number): Promise<string[]> {
    for (let waited = 0; messages.length < count && waited < 10_000; waited += 10) await sleep(10);
    return messages;
  }

  it("tells that it is ready, how it is, and that it ends, in this order", async () => {
    const { ready, status, stopping, errors } = start();
    ready();
    status("edge up,\n router DOWN");
    await stopping();
    expect(await said(3)).toEqual(["READY=1", "STATUS=edge up, router DOWN", "STOPPING=1"]);
    expect(errors).toEqual([]);
  });

  it("tells the last of several lines that came at once", async () => {
    const { ready, status, stopping } = start();
    ready();
    for (const line of ["a", "b", "c"]) status(line);
    await stopping();
    expect((await said(3)).slice(0, 2)).toEqual(["READY=1", "STATUS=c"]);
  });

  it("feeds the watchdog at half of its time, until it ends", async () => {
    const { stopping } = start({ WATCHDOG_USEC: "200000", WATCHDOG_PID: String(process.pid) });
    const fed = await said(3);
    expect(fed.slice(0, 3)).toEqual(["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    await stopping();
    const count = messages.length;
    await sleep(250);
    expect(messages.length - count).toBeLessThanOrEqual(1);
  });

  it("feeds no watchdog that is another process's", async () => {
    start({ WATCHDOG_USEC: "20000", WATCHDOG_PID: "1" });
    await sleep(200);
    expect(messages).toEqual([]);
  });

  it("hands nothing of this on to what it starts", () => {
    const { env } = start({ WATCHDOG_USEC: "1000000000" });
    expect(Object.keys(env)).toEqual(["PATH"]);
  });

  it("reports once that systemd cannot be told, and goes on", async () => {
    const { ready, status, stopping, errors } = start({ NOTIFY_SOCKET: join(folder, "nobody") });
    ready();
    status("up");
    await stopping();
    expect(errors).toMatchObject([{ code: "ERR_NOTIFY", hint: expect.stringContaining("NotifyAccess=all") }]);
  });
});

describe("a service that nobody listens to", () => {
  it("does nothing", async () => {
    const { ready, status, stopping } = makeNotifier({}, () => expect.unreachable());
    ready();
    status("up");
    await stopping();
  });

  it("says what to install where systemd-notify is missing", async () => {
    const errors: unknown[] = [];
    const env = { PATH: "/nowhere", NOTIFY_SOCKET: "/run/systemd/notify" };
    await makeNotifier(env, (_event, fields) => errors.push(fields)).stopping();
    expect(errors).toMatchObject([
      { code: "ERR_NOTIFY", hint: expect.stringContaining("install systemd-notify") },
    ]);
  });
});
