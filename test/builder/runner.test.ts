import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Journal, openJournal } from "../../builder/journal.ts";
import { endLeftover, runCommand } from "../../builder/run-command.ts";
import { type Rule } from "../../builder/rules.ts";
import { startRunner } from "../../builder/runner.ts";
import { isAlive, processStart } from "../../shared/host/process-start.ts";
import { processesNaming } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { someEvent } from "./some-event.ts";

const PAYLOAD = JSON.stringify({
  ref: "refs/heads/main; touch /tmp/never",
  after: "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
  repository: { full_name: "$(id)/`id`" },
});

describe("the runner", () => {
  let folder: string;
  let journal: Journal;
  let stop: AbortController;
  let reports: Record<string, unknown>[];
  let ended: Promise<void>;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-runner-"));
    journal = openJournal(join(folder, "journal.sqlite"));
    stop = new AbortController();
    reports = [];
  });
  afterEach(async () => {
    stop.abort();
    await ended;
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const rule = (run: string[][], timeoutMs = 10_000): Rule => ({
    name: "docs",
    event: "push",
    run,
    directory: folder,
    timeoutMs,
  });
  const keep = (seq: number) => keepBody(seq, PAYLOAD);
  const keepBody = (seq: number, body: string) =>
    journal.keep([{ tag: `tag-${seq}`, event: someEvent(seq, body), rules: ["docs"] }]);
  const held = new Set<number>();
  const start = (rules: Rule[]) => {
    const report = (event: string, fields = {}) => void reports.push({ event, ...fields });
    const isHeld = (_stream: string, seq: number) => held.has(seq);
    const runner = startRunner({ dataDir: folder, rules, journal, isHeld, report }, stop.signal);
    ended = runner.ended;
    return runner;
  };
  const built = () => reports.filter(({ event }) => event === "built");

  it("gives a command the payload as a file and fields as environment, never as text to parse", async () => {
    keep(1);
    start([
      rule([
        [
          process.execPath,
          "-e",
          "const e=process.env; console.log(JSON.stringify([e.ONIONHOOK_REF, e.ONIONHOOK_REPOSITORY, e.ONIONHOOK_SHA, require('fs').readFileSync(e.ONIONHOOK_PAYLOAD,'utf8')]))",
        ],
      ]),
    ]);
    await eventually("it is built", () => built().length === 1);
    expect(built()[0]).toMatchObject({ delivery: "delivery-1", rule: "docs", exit: 0 });
    const output: unknown = JSON.parse(readFileSync(join(folder, "builds", "1.log"), "utf8"));
    expect(output).toEqual([
      "refs/heads/main; touch /tmp/never",
      "$(id)/`id`",
      "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
      PAYLOAD,
    ]);
    expect(readdirSync(join(folder, "builds"))).toEqual(["1.log"]);
  });

  it("does not hand its own environment on", async () => {
    process.env["ONIONHOOK_TEST_SECRET"] = "for nobody";
    keep(1);
    start([rule([["env"]])]);
    await eventually("it is built", () => built().length === 1);
    delete process.env["ONIONHOOK_TEST_SECRET"];
    const names = readFileSync(join(folder, "builds", "1.log"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split("=")[0] ?? "");
    expect(names).toContain("ONIONHOOK_DELIVERY");
    expect(
      names.filter(
        (name) => !name.startsWith("ONIONHOOK_") && !["PATH", "HOME", "LANG", "TZ"].includes(name),
      ),
    ).toEqual([]);
    expect(names).not.toContain("ONIONHOOK_TEST_SECRET");
  });

  it("stops at the first command that fails, and tells its exit code", async () => {
    keep(1);
    start([rule([["true"], ["sh", "-c", "exit 7"], ["touch", "after"]])]);
    await eventually("it is built", () => built().length === 1);
    expect(built()[0]).toMatchObject({ exit: 7 });
    expect(readdirSync(folder)).not.toContain("after");
  });

  it("tells a program that is not there by the system's code, and goes on with the next build", async () => {
    keep(1);
    keep(2);
    start([rule([["no-such-program-anywhere"]])]);
    await eventually("both are built", () => built().length === 2);
    expect(built().map(({ exit }) => exit)).toEqual(["ENOENT", "ENOENT"]);
    expect(reports[0]).toMatchObject({
      event: "error",
      code: "ERR_BUILD_START",
      message: "no-such-program-anywhere could not be started (ENOENT)",
      rule: "docs",
      delivery: "delivery-1",
    });
  });

  it("does not stumble over a field that is too long for an environment", async () => {
    keepBody(1, JSON.stringify({ ref: "x".repeat(200_000), after: "a".repeat(40) }));
    start([rule([["env"]])]);
    await eventually("it is built", () => built().length === 1);
    expect(built()[0]).toMatchObject({ exit: 0 });
    const output = readFileSync(join(folder, "builds", "1.log"), "utf8");
    expect(output).not.toContain("ONIONHOOK_REF=");
    expect(output).toContain("ONIONHOOK_SHA=aaa");
  });

  it("waits for what is held back, and goes on when it is not any more", async () => {
    keep(1);
    held.add(1);
    const runner = start([rule([["true"]])]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(built()).toEqual([]);
    held.delete(1);
    runner.wake();
    await eventually("it is built", () => built().length === 1);
  });

  it("says ENOTDIR of a folder that is a file, and goes on", async () => {
    keep(1);
    keep(2);
    start([{ ...rule([["true"]]), directory: join(folder, "journal.sqlite") }]);
    await eventually("both are over", () => built().length === 2);
    expect(built().map(({ exit }) => exit)).toEqual(["ENOTDIR", "ENOTDIR"]);
  });

  it("ends a command and its children at the time limit", async () => {
    keep(1);
    start([rule([["sh", "-c", "sleep 7654 & sleep 7654"]], 300)]);
    await eventually("it is built", () => built().length === 1);
    expect(built()[0]).toMatchObject({ exit: "timeout" });
    await eventually("no child is left", () => processesNaming("sleep\u00007654").length === 0);
  });

  it("runs a build again that the builder's death cut off, and ends what is left of it first", async () => {
    keep(1);
    const leftover = new AbortController();
    let mark = { pid: 0, started: "" };
    const left = runCommand(
      {
        argv: ["sleep", "8765"],
        directory: folder,
        env: { PATH: process.env["PATH"] ?? "" },
        outputFile: 1,
        timeoutMs: 60_000,
        onStarted: (started) => (mark = started),
      },
      leftover.signal,
    );
    journal.began(journal.nextBuild()?.id ?? 0, mark);
    expect(isAlive(mark.pid)).toBe(true);
    start([rule([["true"]])]);
    await eventually("it is built", () => built().length === 1);
    expect(await left).toBe("SIGKILL");
  });

  it("tells of a build that was over when the builder died before it could", async () => {
    keep(1);
    journal.ended(journal.nextBuild()?.id ?? 0, "3", 5);
    start([rule([["true"]])]);
    await eventually("it is told", () => built().length === 1);
    expect(built()[0]).toMatchObject({ delivery: "delivery-1", rule: "docs", exit: 3, ms: 5 });
  });

  it("never takes another process for a leftover", () => {
    endLeftover({ pid: process.pid, started: String(Number(processStart(process.pid)) - 1) });
    expect(isAlive(process.pid)).toBe(true);
  });

  it("waits while the disk fails, says so once, and neither runs nor tells a build twice", async () => {
    keep(1);
    const full = Object.assign(new Error("database or disk is full"), {
      code: "ERR_SQLITE_ERROR",
      errcode: 13,
    });
    const failing = new Map([
      ["began", 1],
      ["ended", 2],
      ["buildTold", 1],
    ]);
    const sound = journal;
    journal = new Proxy(sound, {
      get(target, name, receiver) {
        const failures = failing.get(String(name)) ?? 0;
        failing.set(String(name), failures - 1);
        return failures > 0
          ? () => {
              throw full;
            }
          : Reflect.get(target, name, receiver);
      },
    });
    start([rule([["sh", "-c", "echo run"]])]);
    await eventually("it is told as marked", () => built().length === 1 && sound.untoldBuilds().length === 0);
    expect(readFileSync(join(folder, "builds", "1.log"), "utf8")).toBe("run\n");
    expect(reports.filter(({ code }) => code === "ERR_JOURNAL")).toHaveLength(1);
    expect(built()).toHaveLength(1);
  });

  it("says so when a build's rule is gone from the configuration", async () => {
    keep(1);
    start([]);
    await eventually("it is told", () => reports.length === 1);
    expect(reports[0]).toMatchObject({ event: "error", code: "ERR_RULE", delivery: "delivery-1" });
    expect(journal.nextBuild()).toBeUndefined();
  });
});
