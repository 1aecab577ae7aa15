/** The commands that ask a running relay, as a user types them, over a real socket. */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { runCommand } from "../../cli/command.ts";
import { makeKey } from "../../cli/key-set.ts";
import { list } from "../../cli/list.ts";
import { replay } from "../../cli/replay.ts";
import { retry } from "../../cli/retry.ts";
import { show } from "../../cli/show.ts";
import { status } from "../../cli/status.ts";
import { parseConfig } from "../../relay/config.ts";
import { startControl } from "../../relay/control/control.ts";
import { makeMetrics } from "../../relay/metrics.ts";
import { makeReports } from "../../relay/reports.ts";
import type { Report } from "../../shared/report.ts";
import { ROOT } from "../helpers/peers.ts";
import { type FakeOperations, heldEvent, makeFakeOperations } from "../relay/fake-operations.ts";

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

let folder: string;
let stop: AbortController;
let running: Promise<void>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "oh-operate-"));
  stop = new AbortController();
  running = Promise.resolve();
});
afterEach(async () => {
  stop.abort();
  await running;
  rmSync(folder, { recursive: true });
});

const COMMANDS = [status, list, show, retry, replay];

/** Runs a command in this process, which is quicker than another one by a second. */
async function onionhook(name: string, ...args: string[]): Promise<Ran> {
  const command = COMMANDS.find((each) => each.name === name);
  if (!command) throw new RangeError(`no command ${name}`);
  const written = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += String(text);
      return true;
    }),
  );
  const where = args.includes("--socket") ? [] : ["--config", join(folder, ".onionhook", "relay.json")];
  try {
    return { code: await runCommand(command, [...args, ...where]), ...written };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** The program itself, in the test's folder. */
function program(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const main = join(ROOT, "cli/main.ts");
    execFile(process.execPath, [main, ...args], { cwd: folder }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

/** A relay of these operations, where the configuration of `npm start` names it. */
async function startRelay(operations: FakeOperations): Promise<{ report: Report; socket: string }> {
  mkdirSync(join(folder, ".onionhook"));
  writeFileSync(join(folder, ".onionhook", "relay.json"), JSON.stringify({ data_dir: "relay", tor: "none" }));
  const socket = join(folder, ".onionhook", "relay", "control.sock");
  const { promise: listening, resolve } = Promise.withResolvers<void>();
  const reports = makeReports((event) => event === "listening" && resolve());
  reports.subscribe(operations.keeper.note);
  const metrics = makeMetrics({ reports });
  const control = { socket, metricsPort: undefined };
  running = startControl({
    control,
    operations,
    metrics,
    reports,
    report: reports.report,
    signal: stop.signal,
  });
  await listening;
  return { report: reports.report, socket };
}

function connect(report: Report): void {
  report("connected", { to: "edge", stream: "builder" });
  report("connected", { to: "router" });
  report("audience", { builders: 1 });
}

const dead = heldEvent(3, "dead", { reason: "ERR_OPEN", tries: { started: 5, spent: 5 } });
const delayed = heldEvent(4, "delayed", { dueAt: Date.now() + 3_600_000 });
const waiting = heldEvent(5, "waiting");

describe("onionhook status", () => {
  it("shows the hops, the queue and the health of a relay, and exits 0 while events flow", async () => {
    const { report } = await startRelay(makeFakeOperations(dead, waiting));
    connect(report);
    report("drained", { delivery: "d-1", stream: "builder", seq: 1 });
    report("accepted", { stream: "builder", seq: 1 });
    report("canary", { stream: "builder", ms: 812 });
    report("error", { code: "ERR_TOR_TIMEOUT", message: "no\ncircuit", hint: "wait", to: "edge" });
    const { code, stdout, stderr } = await onionhook("status");
    expect([code, stderr]).toEqual([0, ""]);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^HOP +STREAM +STATE +SINCE +LAST EVENT$/);
    expect(lines[1]).toMatch(/^edge +builder +up +\d s ago \(\d{4}-\S+Z\) +\d s ago \(\S+Z\)$/);
    expect(lines[3]).toMatch(/^builder +up .* none yet$/);
    expect(stdout).toMatch(/^queue +1 waiting, 0 in hand, 0 delayed, 0 received, 1 dead$/m);
    expect(stdout).toMatch(/^test of builder .* took 812 ms$/m);
    expect(stdout).toMatch(/^last error .* edge: no circuit \(ERR_TOR_TIMEOUT\)\n +hint: wait$/m);
    expect(stdout).toMatch(/^healthy\nattention: 1 event is a dead letter: .*\n$/m);
    // Every column begins where its heading does.
    const column = lines[0]?.indexOf("STATE") ?? 0;
    for (const line of lines.slice(1, 4)) expect(line.slice(column, column + 2)).toBe("up");
  });

  it("says of an error of the start that it is over, and gives no remedy, once all hops are up", async () => {
    const { report } = await startRelay(makeFakeOperations());
    report("error", {
      code: "ERR_TOR_ONION_NOT_FOUND",
      message: "no descriptor",
      hint: "wait",
      to: "router",
    });
    connect(report);
    const { stdout } = await onionhook("status");
    expect(stdout).toMatch(
      /^last error +\d s ago \(\S+Z\) router: no descriptor \(ERR_TOR_ONION_NOT_FOUND\)\n +over since \d s ago \(\S+Z\)$/m,
    );
    expect(stdout).not.toContain("hint");
  });

  it("says why it is not healthy, and exits 1", async () => {
    const { report } = await startRelay(makeFakeOperations());
    connect(report);
    report("canary_lost", { stream: "builder", where: "published" });
    const { code, stdout } = await onionhook("status");
    expect(code).toBe(1);
    expect(stdout).toMatch(/^NOT HEALTHY\n {2}the test event of .* last that was seen of it: published$/m);
    // As a script has it, which finds the relay of this folder by itself.
    const json = await program("status", "--json");
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      healthy: false,
      hops: [{ hop: "edge", stream: "builder" }, {}, {}],
    });
  });
});

describe("onionhook list", () => {
  it("shows what is held, and what comes next of it", async () => {
    await startRelay(makeFakeOperations(waiting, delayed, dead));
    const { code, stdout } = await onionhook("list");
    expect(code).toBe(0);
    const [head, ...rows] = stdout.trimEnd().split("\n");
    expect(head).toMatch(/^EVENT +STATE +SINCE +TRIES +BYTES +TOPIC +DELIVERY$/);
    expect(rows).toEqual([
      expect.stringMatching(/^builder-3 +dead .* 5 +8192 +webhook\.github\.push +72d3162e-\S+ +ERR_OPEN$/),
      expect.stringMatching(/^builder-4 +delayed .* again in (59|60) min \(\S+\)$/),
      expect.stringMatching(/^builder-5 +waiting .*\d$/),
    ]);
  });

  it("shows one state, a limit, and JSON lines", async () => {
    const { report } = await startRelay(
      makeFakeOperations(heldEvent(1, "in hand"), heldEvent(2, "in hand"), heldEvent(3, "waiting")),
    );
    expect((await onionhook("list", "--state", "in-hand", "--limit", "1")).stdout).toMatch(
      /builder-1 [^]*\nthe first 1; --limit N shows more\n$/,
    );
    const { stdout } = await onionhook("list", "--json");
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(events).toMatchObject([{ seq: 1, state: "in hand" }, { seq: 2 }, { seq: 3, state: "waiting" }]);
    report("published", { delivery: "d-9", stream: "builder", seq: 9 });
    report("accepted", { stream: "builder", seq: 9 });
    expect((await onionhook("list", "--state", "done")).stdout).toMatch(/^builder-9 +done /m);
  });

  it("says so when there is nothing", async () => {
    await startRelay(makeFakeOperations());
    expect((await onionhook("list")).stdout).toBe("no such event is here\n");
    expect((await onionhook("list", "--json")).stdout).toBe("");
  });
});

describe("onionhook show", () => {
  it("shows what is known of an event, by number and by delivery", async () => {
    const { report } = await startRelay(makeFakeOperations(dead));
    const { delivery, stream, seq } = dead;
    for (const step of ["drained", "queued", "published"]) report(step, { delivery, stream, seq });
    const { stdout } = await onionhook("show", "builder-3");
    expect(stdout).toMatch(/^event +builder-3$/m);
    expect(stdout).toMatch(
      /^tries +5 started, 5 spent\nreason +ERR_OPEN\ndrained .* ago \(.*\)\nqueued +\d+ ms later$/m,
    );
    expect((await onionhook("show", delivery)).stdout.split("\n")[0]).toBe(stdout.split("\n")[0]);
    const json = await onionhook("show", "builder-3", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({
      state: "dead",
      reason: "ERR_OPEN",
      at: { drained: expect.any(Number) },
    });
  });

  it("says where else an event may be", async () => {
    await startRelay(makeFakeOperations());
    const { code, stderr } = await onionhook("show", "builder-9");
    expect(code).toBe(1);
    expect(stderr).toContain("builder-9 is not here, nor among the last events that passed (ERR_NOT_HERE)");
    expect(stderr).toContain("onionhook replay --delivery");
  });
});

describe("onionhook retry", () => {
  it("retries what is named, says what is unknown, and exits 1 then", async () => {
    await startRelay(makeFakeOperations(dead, delayed));
    expect(await onionhook("retry", "builder-3", delayed.delivery)).toMatchObject({
      code: 0,
      stdout: "2 events are tried again\n",
    });
    const { code, stdout } = await onionhook("retry", "builder-3", "builder-8");
    expect(code).toBe(1);
    expect(stdout).toBe(
      "0 events are tried again\nbuilder-8 is not held by this relay: onionhook replay asks the edge for it\n",
    );
  });

  it("retries all of a state", async () => {
    await startRelay(makeFakeOperations(dead, { ...dead, seq: 7 }, delayed));
    expect((await onionhook("retry", "--state", "dead", "--json")).stdout).toBe('{"events":2}\n');
  });
});

describe("onionhook replay", () => {
  it.each([
    [["--delivery", "72d3162e-1", "--yes"], { how: "again", of: { delivery: "72d3162e-1" } }],
    [
      ["--stream", "builder", "--from", "1", "--to", "9", "--missed"],
      { how: "missed", stream: "builder", of: { from: 1, to: 9 } },
    ],
    [
      ["--since", "2026-11-21T18:00:00Z", "--until", "2026-11-21T20:00:00+01:00", "--missed"],
      { how: "missed", of: { since: "2026-11-21T18:00:00.000Z", until: "2026-11-21T19:00:00.000Z" } },
    ],
  ])("%j asks the edge", async (args, wish) => {
    const operations = makeFakeOperations();
    await startRelay(operations);
    const { code, stdout } = await onionhook("replay", ...args);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^3 events: (stored anew, to run again|sent again, to run where it was missed)\n$/,
    );
    expect(operations.wishes).toEqual([wish]);
  });

  it("reads how long ago", async () => {
    const operations = makeFakeOperations();
    await startRelay(operations);
    await onionhook("replay", "--since", "2h", "--missed");
    const of = operations.wishes[0]?.of;
    const ms = of && "since" in of ? Date.parse(of.until) - Date.parse(of.since) : 0;
    expect(ms).toBeGreaterThanOrEqual(7_200_000);
    expect(ms).toBeLessThan(7_230_000);
  });

  it("runs nothing again that nobody has agreed to", async () => {
    const operations = makeFakeOperations();
    await startRelay(operations);
    const { code, stderr } = await onionhook("replay", "--since", "2h");
    expect(code).toBe(2);
    expect(stderr).toContain("that needs --yes");
    expect(operations.wishes).toEqual([]);
  });
});

describe("onionhook watch", () => {
  it("prints a line an event, and ends with 0 when it is told to", async () => {
    const { report, socket } = await startRelay(makeFakeOperations());
    const { child, ended, next } = startWatch("--socket", socket);
    expect(await next()).toMatch(/^\d{4}-\S+Z watching$/);
    report("drained", { delivery: "d-1", stream: "builder", seq: 1, bytes: 612 });
    expect(await next()).toMatch(/^\S+ drained {3}builder-1 d-1 bytes=612$/);
    report("error", { code: "ERR_X", message: "two\nlines", to: "edge" });
    expect(await next()).toMatch(/ error .*message="two\\nlines"/);
    child.kill("SIGINT");
    expect(await ended).toBe(0);
  });

  it("prints JSON lines as they come, and ends with 1 when the relay does", async () => {
    const { report } = await startRelay(makeFakeOperations());
    const { ended, next } = startWatch("--json");
    expect(JSON.parse(await next())).toMatchObject({ event: "watching" });
    report("audience", { builders: 0 });
    expect(JSON.parse(await next())).toMatchObject({
      event: "audience",
      builders: 0,
      at: expect.any(Number),
    });
    stop.abort();
    expect(JSON.parse(await next())).toMatchObject({ event: "error", code: "ERR_RELAY_ENDED" });
    expect(await ended).toBe(1);
  });

  it("ends with its reader, as in a pipe to head", async () => {
    const { report } = await startRelay(makeFakeOperations());
    const { child, ended, next } = startWatch();
    await next();
    child.stdout.destroy();
    const timer = setInterval(() => report("drained", { stream: "builder", seq: 1 }), 20);
    expect(await ended).toBe(0);
    clearInterval(timer);
  });

  function startWatch(...args: string[]) {
    const child = spawn(process.execPath, [join(ROOT, "cli/main.ts"), "watch", ...args], { cwd: folder });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    // It may have ended before anybody asks.
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    return { child, ended, next: async () => String((await lines.next()).value) };
  }
});

describe("without a relay", () => {
  it.each([
    ["status"],
    ["list"],
    ["show", "builder-1"],
    ["retry", "builder-1"],
    ["replay", "--since", "1h", "--missed"],
  ])("%s says so, and what to do", async (name, ...args) => {
    const { code, stderr } = await onionhook(name, ...args, "--socket", join(folder, "none.sock"));
    expect(code).toBe(1);
    expect(stderr).toContain(`onionhook: error: no relay answers on ${folder}/none.sock (ERR_NO_RELAY)`);
    expect(stderr).toContain("onionhook: hint: start it with: onionhook relay --config FILE");
  });

  it("watch says so, too", async () => {
    const { code, stderr } = await program("watch", "--socket", "none.sock");
    expect([code, stderr]).toEqual([1, expect.stringContaining("(ERR_NO_RELAY)")]);
  });

  it("the places are named where a configuration was looked for", async () => {
    const { code, stderr } = await program("status");
    expect(code).toBe(2);
    expect(stderr).toContain(
      "there is neither ./.onionhook/relay.json nor /etc/onionhook/relay.json (ERR_USAGE)",
    );
    expect(stderr).toContain("--socket PATH");
  });

  it("is not fooled by what is no relay", async () => {
    const socket = join(folder, "other.sock");
    const other = createServer((connection) => {
      connection.on("error", () => {});
      connection.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }).listen(socket);
    await new Promise((resolve) => other.once("listening", resolve));
    const { code, stderr } = await onionhook("status", "--socket", socket);
    other.close();
    expect(code).toBe(1);
    expect(stderr).toContain("(ERR_RELAY_ANSWER)");
  });
});

describe("wrong usage", () => {
  it.each([
    [["list", "--state", "sleeping"], "--state", "one of: waiting, in hand, delayed, received, dead, done"],
    [["list", "--limit", "many"], "--limit", "1 to 10000"],
    [["list", "builder-1"], '"builder-1" is nothing', ""],
    [["show"], "ID is missing", "STREAM-SEQ"],
    [["show", "builder-1", "builder-2"], '"builder-2" is nothing', ""],
    [["retry"], "either IDs or --state", "--state dead"],
    [["retry", "builder-1", "--state", "dead"], "either IDs or --state", ""],
    [["retry", "../x"], '"../x" is no ID', "STREAM-SEQ"],
    [["retry", "--state", "waiting"], "--state", "dead, delayed, received"],
    [["replay"], "which events?", "--since T"],
    [["replay", "--from", "1"], "--to is missing", "--stream S --from N --to M"],
    [["replay", "--from", "1", "--to", "2"], "--stream is missing", ""],
    [["replay", "--stream", "B!", "--from", "1", "--to", "2"], "--stream", "onionhook status"],
    [["replay", "--stream", "b", "--from", "x", "--to", "2"], '--from "x"', "1 or more"],
    [["replay", "--stream", "b", "--from", "3", "--to", "2"], "--from is above --to", ""],
    [["replay", "--delivery", "?"], '--delivery "?"', "GUID"],
    [
      ["replay", "--delivery", "72d3162e-1", "--since", "2h"],
      "--delivery and --since exclude each other",
      "one of",
    ],
    [["replay", "--since", "tomorrow"], '--since "tomorrow"', "30m, 2h, 7d"],
    [["replay", "--since", "2h", "--until", "3h"], "--since is after --until", ""],
    [["replay", "--until", "3h"], "--since is missing", ""],
  ] as [[string, ...string[]], string, string][])(
    "%j is told with its remedy, exit code 2",
    async (args, message, hint) => {
      const { code, stderr } = await onionhook(...args, "--socket", join(folder, "none.sock"));
      expect(stderr).toContain(message);
      expect(stderr).toContain(hint);
      expect([code, stderr.includes("(ERR_USAGE)")]).toEqual([2, true]);
    },
  );
});

it.each([[undefined], [{ socket: "run/relay.sock" }], [{ socket: "/run/onionhook/control.sock" }]])(
  "a relay with control %j and its operator mean the same socket",
  async (control) => {
    for (const name of ["relay-drain", "relay-wamp"] as const) makeKey(join(folder, "keys"), name);
    const json = {
      data_dir: "data",
      tor: "none",
      edge: { url: "ws://127.0.0.1:1/drain", relay: "relay", key_file: "keys/relay-drain.key" },
      router: { url: "ws://127.0.0.1:1/", realm: "r", authid: "relay", key_file: "keys/relay-wamp.key" },
      ...(control && { control }),
    };
    const path = join(folder, "relay.json");
    writeFileSync(path, JSON.stringify(json));
    const { stderr } = await program("status", "--config", path);
    expect(stderr).toContain(`no relay answers on ${parseConfig(json, folder).control.socket} (`);
  },
);
