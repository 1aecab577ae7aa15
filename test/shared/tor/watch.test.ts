import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { socksError } from "../../../shared/tor/socks-reply.ts";
import { dial } from "../../../shared/tor/socks.ts";
import { NO_WATCH, watchTor, type TorWatch } from "../../../shared/tor/watch.ts";
import { describeWith } from "../../helpers/peers.ts";
import { until } from "../../helpers/until.ts";
import { fakeTorFolder, startFakeTor, type FakeTor } from "./fake-tor.ts";

const READY = 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"';
const STARTING = 'NOTICE BOOTSTRAP PROGRESS=30 TAG=loading_status SUMMARY="Loading networkstatus consensus"';
const notFound = socksError(0xf0, "the router");
const timeout = socksError(0x06, "the router");

describe("a watch over tor", () => {
  let folder: { path: string; remove: () => Promise<void> };
  let tor: FakeTor;
  let phase: string;
  let time: number;
  let stop: AbortController;
  const reports: [string, Record<string, unknown>][] = [];

  const answer = (line: string) =>
    line.startsWith("GETINFO") ? `250-status/bootstrap-phase=${phase}\r\n250 OK\r\n` : undefined;
  const codes = () => reports.filter(([event]) => event === "error").map(([, { code }]) => code);
  const newnyms = () => tor.lines.filter((line) => line === "SIGNAL NEWNYM").length;
  const watch = () =>
    watchTor(
      tor.address,
      (event, fields = {}) => void reports.push([event, { ...fields }]),
      stop.signal,
      () => time,
    );
  const connected = async (made: TorWatch) => {
    await until(() => expect(tor.lines).toContain("GETINFO status/bootstrap-phase"));
    return made;
  };

  beforeEach(async () => {
    reports.length = 0;
    time = 1_000_000;
    stop = new AbortController();
    phase = READY;
    folder = await fakeTorFolder();
    tor = await startFakeTor(folder.path, { answer });
  });

  afterEach(async () => {
    stop.abort();
    await tor.close();
    await folder.remove();
  });

  it("calls a dial's failure by what tor is still doing", async () => {
    phase = STARTING;
    const made = await connected(watch());
    await until(() =>
      expect(made.explain(timeout)).toMatchObject({
        code: "ERR_TOR_STARTING",
        message: "Tor is not ready: 30 % (loading_status: Loading networkstatus consensus)",
      }),
    );
    // What is not tor's to mend stays what it is.
    const denied = new OnionhookError("ERR_WAMP_DENIED", "no");
    expect(made.explain(denied)).toBe(denied);
    expect(newnyms()).toBe(0);
    tor.say(`650 STATUS_CLIENT ${READY}\r\n`);
    await until(() => expect(made.explain(timeout)).toBe(timeout));
    stop.abort();
    await made.ended;
  });

  it("has tor forget a service that it remembers wrongly, ever more rarely, and at once after a success", async () => {
    const made = await connected(watch());
    await until(() => {
      expect(made.explain(notFound)).toBe(notFound);
      expect(newnyms()).toBe(1);
    });
    for (const [index, pause] of [10_000, 20_000, 40_000, 60_000, 60_000].entries()) {
      time += pause - 1;
      made.explain(notFound);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(newnyms()).toBe(index + 1);
      time += 1;
      made.explain(notFound);
      await until(() => expect(newnyms()).toBe(index + 2));
    }
    made.reached();
    time += 10_000;
    made.explain(notFound);
    await until(() => expect(newnyms()).toBe(7));
    time += 10_000;
    made.explain(notFound);
    await until(() => expect(newnyms()).toBe(8));
    expect(reports.filter(([event]) => event === "tor")).toHaveLength(8);
  });

  it.each([
    [0xf0, true],
    [0xf1, true],
    [0xf2, true],
    [0xf7, true],
    [0x01, false],
    [0x04, false],
    [0x05, false],
    [0x06, false],
    [0xf3, false],
    [0xf4, false],
    [0xf5, false],
    [0xf6, false],
  ])("of reply code %i forgetting mends it: %s", async (code, mends) => {
    const made = await connected(watch());
    await until(() => {
      made.explain(socksError(code, "the router"));
      made.explain(socksError(mends ? code : 0xf0, "the router"));
      expect(newnyms()).toBe(1);
    });
    if (mends) return;
    time += 10_000;
    made.explain(socksError(code, "the router"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(newnyms()).toBe(1);
  });

  it("asks for nothing but progress and that", async () => {
    const made = await connected(watch());
    made.explain(notFound);
    await until(() => expect(newnyms()).toBe(1));
    const verbs = tor.lines.map((line) => line.replace(/ [0-9A-F]{20,}$/i, ""));
    expect(verbs).toEqual([
      "PROTOCOLINFO 1",
      "AUTHCHALLENGE SAFECOOKIE",
      "AUTHENTICATE",
      "SETEVENTS STATUS_CLIENT",
      "GETINFO status/bootstrap-phase",
      "SIGNAL NEWNYM",
    ]);
  });

  it("comes back when tor does, and says its absence once", async () => {
    const made = await connected(watch());
    await tor.close();
    await until(() => expect(codes()).toEqual(["ERR_TOR_CONTROL_UNREACHABLE"]));
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(codes()).toEqual(["ERR_TOR_CONTROL_UNREACHABLE"]);
    // Without it, failures are what they are.
    expect(made.explain(notFound)).toBe(notFound);
    tor = await startFakeTor(folder.path, { answer });
    await until(() => {
      made.explain(notFound);
      expect(newnyms()).toBe(1);
    });
    stop.abort();
    await made.ended;
  }, 30_000);

  it("is nothing without a control port", async () => {
    expect(watchTor(undefined, () => {}, stop.signal)).toBe(NO_WATCH);
    expect(NO_WATCH.explain(notFound)).toBe(notFound);
    await NO_WATCH.ended;
  });
});

describeWith("tor", "a tor that finds no network (real tor)", (program) => {
  it("is told by its progress when a dial gets nowhere", async () => {
    const dir = await mkdtemp(join(tmpdir(), "oh-stuck-"));
    const [socks, control] = [join(dir, "socks"), join(dir, "control")];
    // The only authority that it knows does not exist: port 1 of loopback, where nothing answers.
    const nobody = `nobody orport=1 no-v2 v3ident=${"A".repeat(40)} 127.0.0.1:1 ${"B".repeat(40)}`;
    const options = {
      TestingTorNetwork: "1",
      DirAuthority: nobody,
      OutboundBindAddress: "127.0.0.1",
      DataDirectory: dir,
      SocksPort: `unix:${socks} ExtendedErrors`,
      SocksTimeout: "2",
      ControlSocket: `unix:${control}`,
      CookieAuthentication: "1",
      __OwningControllerProcess: String(process.pid),
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    const torrc = join(dir, "torrc");
    await writeFile(torrc, "");
    const tor = spawn(program, ["-f", torrc, "--defaults-torrc", torrc, "--quiet", ...args], {
      stdio: "ignore",
    });
    const exited = once(tor, "exit");
    const stop = new AbortController();
    const reports: [string, unknown][] = [];
    try {
      await until(() => expect(existsSync(control) && existsSync(socks)).toBe(true));
      const watch = watchTor(
        { path: control },
        (event, fields) => void reports.push([event, fields]),
        stop.signal,
      );
      await until(() => expect(reports.some(([event]) => event === "tor")).toBe(true));
      const failure = await dial({ path: socks }, "example.org", 443, {
        peer: "the edge",
      }).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(OnionhookError);
      expect(watch.explain(failure)).toMatchObject({
        code: expect.stringMatching(/^ERR_TOR_(STARTING|STUCK)$/),
        message: expect.stringMatching(/^Tor (is not ready|does not get on): \d{1,2} % \([a-z_]+: [\w ]+\)/),
        retryable: true,
      });
      stop.abort();
      await watch.ended;
    } finally {
      stop.abort();
      tor.kill("SIGKILL");
      await exited;
      await rm(dir, { recursive: true });
    }
  }, 60_000);
});
