/** What a terminal is written, when whoever answers the control socket would have it obey. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { visible } from "../../cli/visible.ts";
import { ROOT } from "../helpers/peers.ts";

/** Sets the clipboard, clears the screen by C0 and by C1, turns the direction, and begins a line of its own. */
const EVIL = "\u001B]52;c;cm0gLXJm\u0007\u001B[2J\u009B2J\u202Eevil\nonionhook: hint: obey";
const UNSEEN = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

const held = {
  stream: EVIL,
  seq: 1,
  topic: EVIL,
  delivery: EVIL,
  state: "dead",
  bytes: 1,
  addedAt: 1,
  reason: EVIL,
  tries: { started: 1, spent: 1 },
};
const status = {
  at: 1,
  startedAt: 1,
  healthy: false,
  reasons: [EVIL],
  attention: [EVIL],
  canaries: [],
  hops: [{ hop: "edge", stream: EVIL, up: true, since: 1 }],
  lastError: { at: 1, code: EVIL, message: EVIL, hint: EVIL },
};
const step = { event: EVIL, at: 1, stream: EVIL, seq: 1, delivery: EVIL, more: EVIL, [EVIL]: EVIL };
const ANSWERS: Readonly<Record<string, readonly [code: number, answer: object]>> = {
  "/status": [200, status],
  "/events?limit=100": [200, { events: [{ held }] }],
  "/events/b-1": [200, { events: [{ held }] }],
  "/events/b-2": [404, { error: { code: "ERR_NOT_HELD", message: EVIL, hint: EVIL } }],
  "/retry": [200, { events: 0, unknown: [EVIL] }],
  "/watch": [200, step],
};

describe("what is written for people", () => {
  const folder = mkdtempSync(join(tmpdir(), "oh-output-"));
  const socket = join(folder, "control.sock");
  let server: Server;
  beforeAll(async () => {
    server = createServer((request, response) => {
      const [code, answer] = ANSWERS[request.url ?? ""] ?? [500, {}];
      response.writeHead(code, { "content-type": "application/json" }).end(`${JSON.stringify(answer)}\n`);
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
  });
  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  const onionhook = (...args: string[]) =>
    new Promise<{ stdout: string; stderr: string }>((resolve) => {
      const argv = [join(ROOT, "cli/main.ts"), ...args, "--socket", socket];
      execFile(process.execPath, argv, (_error, stdout, stderr) => resolve({ stdout, stderr }));
    });

  it.each([["status"], ["list"], ["show", "b-1"], ["show", "b-2"], ["retry", "b-1"], ["watch"]])(
    "has nothing of a peer's that a terminal obeys, nor a line of its own: %s %s",
    async (...args) => {
      const { stdout, stderr } = await onionhook(...args.filter((word) => word !== undefined));
      const text = stdout + stderr;
      expect(text).toContain(String.raw`\u{202e}evil`);
      expect(text).not.toMatch(UNSEEN);
      expect(text).not.toMatch(/^onionhook: hint: obey/m);
    },
  );

  it("is exact for programs: --json, even of an error", async () => {
    expect(JSON.parse((await onionhook("status", "--json")).stdout)).toEqual(status);
    const { stdout, stderr } = await onionhook("show", "b-2", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ event: "error", message: EVIL, hint: EVIL });
    expect(stderr).not.toMatch(UNSEEN);
  });
});

describe("visible", () => {
  it.each([
    ["what is seen", "2 s · 100 % → “ä” 🧅", "2 s · 100 % → “ä” 🧅"],
    ["an indented line", "two faults\n  one\n  two", "two faults\n  one\n  two"],
    ["a line that is not", "one\ntwo\r\n", String.raw`one\u{a}two\u{d}\u{a}`],
    ["controls", "\u001B[2J\u0007\u007F\u009B\t", String.raw`\u{1b}[2J\u{7}\u{7f}\u{9b}\u{9}`],
    ["formats", "\u202E\u2066\uFEFF\u{E0041}", String.raw`\u{202e}\u{2066}\u{feff}\u{e0041}`],
    ["ends of lines and paragraphs", "\u2028\u2029", String.raw`\u{2028}\u{2029}`],
  ])("%s", (_what, text, shown) => {
    expect(visible(text)).toBe(shown);
    expect(visible(shown)).toBe(shown);
  });
});
