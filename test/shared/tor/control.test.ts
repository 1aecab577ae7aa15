import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chown, mkdir, symlink, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cookiePath } from "../../../shared/tor/control-auth.ts";
import { connectControl } from "../../../shared/tor/control.ts";
import { COOKIE, fakeTorFolder, startFakeTor, type FakeTor, type FakeTorOptions } from "./fake-tor.ts";

/** A user, and a group, that this one is not in: `nobody` of most systems. */
const STRANGER = 65_534;

let folder: string;
let server: net.Server | undefined;
let tor: FakeTor | undefined;
let lines: readonly string[];
let remove: () => Promise<void>;

beforeEach(async () => {
  ({ path: folder, remove } = await fakeTorFolder());
});

afterEach(async () => {
  const open = server;
  server = undefined;
  if (open !== undefined) await new Promise((resolve) => open.close(resolve));
  await tor?.close();
  tor = undefined;
  await remove();
});

async function fakeTor(options: FakeTorOptions = {}) {
  tor = await startFakeTor(folder, options);
  ({ lines } = tor);
  return tor.address;
}

describe("connectControl", () => {
  it("authenticates with the cookie and never sends it", async () => {
    const control = await connectControl(await fakeTor());
    expect(lines.map((line) => line.split(" ")[0])).toEqual([
      "PROTOCOLINFO",
      "AUTHCHALLENGE",
      "AUTHENTICATE",
    ]);
    expect(lines.join().toLowerCase()).not.toContain(COOKIE.toString("hex"));
    control.close();
    await control.closed;
  });

  it("refuses a server that does not know the cookie, and tells it nothing more", async () => {
    const address = await fakeTor({ cookie: Buffer.alloc(32, 8) });
    await expect(connectControl(address)).rejects.toMatchObject({ code: "ERR_TOR_CONTROL_AUTH" });
    expect(lines.join()).not.toContain("AUTHENTICATE");
  });

  it.each([
    "AUTH METHODS=NULL",
    "AUTH METHODS=HASHEDPASSWORD",
    'AUTH METHODS=COOKIE COOKIEFILE="/x"',
    'AUTH METHODS=SAFECOOKIE COOKIEFILE="control_auth_cookie"',
  ])("sends nothing to a Tor that offers %s", async (auth) => {
    const address = await fakeTor({ auth });
    await expect(connectControl(address)).rejects.toMatchObject({ code: "ERR_TOR_CONTROL_AUTH" });
    expect(lines).toEqual(["PROTOCOLINFO 1"]);
  });

  it.each([
    ["garbage", "SSH-2.0-OpenSSH_9.2\r\n", "ERR_TOR_CONTROL_PROTOCOL"],
    ["a line without end", "x".repeat(4 * 1024 * 1024), "ERR_TOR_CONTROL_PROTOCOL"],
    ["what was not asked", "250 OK\r\n250 OK\r\n", "ERR_TOR_CONTROL_PROTOCOL"],
    ["half an answer, and hangs up", "250-PROTOCOLINFO 1\r\n250-AU", "ERR_TOR_CONTROL_CLOSED"],
    ["nothing, and hangs up", "", "ERR_TOR_CONTROL_CLOSED"],
  ])("ends with whoever says %s", async (_what, words, code) => {
    const path = join(folder, "other");
    const open = net
      .createServer((socket) =>
        socket
          .resume()
          .on("error", () => undefined)
          .end(words),
      )
      .listen(path);
    server = open;
    await once(open, "listening");
    // A second answer may come only after the first has led to another question.
    const expected = words.startsWith("250 OK") ? /^ERR_TOR_CONTROL_(PROTOCOL|AUTH|CLOSED)$/ : code;
    await expect(connectControl({ path })).rejects.toMatchObject({ code: expect.stringMatching(expected) });
  });

  it("finds a cookie whose path has quotes and backslashes", async () => {
    const cookieFile = join(folder, 'a "quoted" \\ path');
    await writeFile(cookieFile, COOKIE, { mode: 0o600 });
    const control = await connectControl(await fakeTor({ cookieFile }));
    control.close();
    await control.closed;
  });

  it("opens a cookie whose path is not UTF-8, escaped in octal", async () => {
    const path = Buffer.concat([Buffer.from(`${folder}/`), Buffer.of(0xff, 0xe9), Buffer.from(" é\t")]);
    await writeFile(path, COOKIE, { mode: 0o600 });
    const escaped = [...path].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    const auth = `AUTH METHODS=SAFECOOKIE COOKIEFILE="${escaped}"`;
    const control = await connectControl(await fakeTor({ auth }));
    control.close();
    await control.closed;
  });

  it.each([
    ["is not there", async () => {}],
    ["is too short", (path: string) => writeFile(path, "short", { mode: 0o600 })],
    ["is everybody's to read", (path: string) => writeFile(path, COOKIE, { mode: 0o604 })],
    ["has no end", (path: string) => symlink("/dev/zero", path)],
    ["is a pipe that nobody writes to", async (path: string) => void execFileSync("mkfifo", [path])],
    ["is a folder", (path: string) => mkdir(path)],
  ])("says when the cookie %s, may be retried", async (_what, make) => {
    const cookieFile = join(folder, "other");
    await make(cookieFile);
    const address = await fakeTor({ cookieFile });
    await expect(connectControl(address)).rejects.toMatchObject({
      code: "ERR_TOR_CONTROL_AUTH",
      retryable: true,
    });
  });

  it.runIf(process.geteuid?.() === 0)(
    "says nothing to whoever names a file of another user as Tor's cookie (needs root)",
    async () => {
      const cookieFile = join(folder, "other");
      await writeFile(cookieFile, COOKIE, { mode: 0o640 });
      await chown(cookieFile, STRANGER, STRANGER);
      const address = await fakeTor({ cookieFile });
      await expect(connectControl(address)).rejects.toMatchObject({ code: "ERR_TOR_CONTROL_AUTH" });
      expect(lines).toEqual(["PROTOCOLINFO 1"]);
      // Of Tor's user, whose group this user is in.
      await chown(cookieFile, STRANGER, 0);
      const control = await connectControl(address);
      control.close();
      await control.closed;
    },
  );

  it("says when nobody listens", async () => {
    const missing = { path: join(folder, "nobody") };
    await expect(connectControl(missing)).rejects.toMatchObject({
      code: "ERR_TOR_CONTROL_UNREACHABLE",
      retryable: true,
    });
  });

  it("gives up after its time, and when it is told to", async () => {
    const path = join(folder, "silent");
    const open = net.createServer((socket) => socket.resume().on("error", () => undefined)).listen(path);
    server = open;
    await once(open, "listening");
    await expect(connectControl({ path }, { timeoutMs: 50 })).rejects.toMatchObject({
      code: "ERR_TOR_CONTROL_TIMEOUT",
    });
    const reason = new Error("enough");
    const stopper = new AbortController();
    setTimeout(() => stopper.abort(reason), 20);
    await expect(connectControl({ path }, { signal: stopper.signal })).rejects.toBe(reason);
  });
});

describe("a control connection", () => {
  it("gives a refusal the command's first word and code only", async () => {
    const control = await connectControl(await fakeTor({ answer: () => "513 Bad key SECRET\r\n" }));
    const error: unknown = await control
      .command("ADD_ONION ED25519-V3:SECRET Port=80")
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ERR_TOR_CONTROL", message: "Tor answered 513 to ADD_ONION" });
    expect(JSON.stringify(error) + String(error)).not.toContain("SECRET");
    control.close();
    await control.closed;
  });

  it.each([
    ["two lines", "GETINFO x\r\nSIGNAL HALT"],
    ["what would be two lines as Latin-1", "GETINFO x\u010d\u010aSIGNAL HALT"],
    ["a NUL", "GETINFO x\0"],
    ["nothing", ""],
  ])("refuses a command of %s, and sends nothing", async (_what, command) => {
    const control = await connectControl(await fakeTor());
    const before = lines.length;
    await expect(control.command(command)).rejects.toThrow(RangeError);
    await control.getInfo("x").catch(() => undefined);
    expect(lines.slice(before)).toEqual(["GETINFO x"]);
    control.close();
    await control.closed;
  });

  it("reads values of one line and of many", async () => {
    const answer = (line: string) =>
      line.endsWith("version") ? "250-version=1\r\n250 OK\r\n" : "250+ns/all=\r\na\r\nb\r\n.\r\n250 OK\r\n";
    const control = await connectControl(await fakeTor({ answer }));
    expect(await Promise.all([control.getInfo("version"), control.getInfo("ns/all")])).toEqual(["1", "a\nb"]);
    control.close();
    await control.closed;
  });

  it("does not miss an event that the next command causes", async () => {
    const answer = (line: string) =>
      line === "GO" ? "650 HS_DESC UPLOAD a\r\n650 HS_DESC UPLOADED a\r\n250 OK\r\n" : undefined;
    const control = await connectControl(await fakeTor({ answer }));
    const event = control.waitFor("HS_DESC", (text) => text.startsWith("UPLOADED"), { timeoutMs: 1000 });
    await control.command("GO");
    expect(await event).toBe("UPLOADED a");
    expect(lines).toContain("SETEVENTS HS_DESC");
    control.close();
    await control.closed;
  });

  it("keeps events apart from the answer between whose lines they come", async () => {
    const answer = (line: string) =>
      line.startsWith("GETINFO")
        ? "250-a=1\r\n650 STATUS_CLIENT NOTICE X\r\n250+b=\r\n..\r\n.\r\n650-STATUS_CLIENT NOTICE Y\r\n650 OK\r\n250 OK\r\n"
        : undefined;
    const control = await connectControl(await fakeTor({ answer }));
    const events: string[] = [];
    await control.subscribe("STATUS_CLIENT", (text) => events.push(text));
    expect(await control.getInfo("b")).toBe(".");
    expect(await control.getInfo("a")).toBe("1");
    expect(events).toEqual(["NOTICE X", "NOTICE Y", "NOTICE X", "NOTICE Y"]);
    await control.subscribe("STATUS_CLIENT", () => {});
    await control.subscribe("CIRC", () => {});
    expect(lines.filter((line) => line.startsWith("SETEVENTS"))).toEqual([
      "SETEVENTS STATUS_CLIENT",
      "SETEVENTS STATUS_CLIENT CIRC",
    ]);
    control.close();
    await control.closed;
  });

  it("may ask again for an event that Tor did not know", async () => {
    const answer = (line: string) => (line.includes("NEWER") ? "552 Unrecognized event\r\n" : undefined);
    const control = await connectControl(await fakeTor({ answer }));
    await expect(control.subscribe("NEWER", () => {})).rejects.toMatchObject({ code: "ERR_TOR_CONTROL" });
    await control.subscribe("CIRC", () => {});
    expect(lines.at(-1)).toBe("SETEVENTS CIRC");
    control.close();
    await control.closed;
  });

  it("ends when a command is not answered in time", async () => {
    const control = await connectControl(await fakeTor({ answer: () => "" }));
    vi.useFakeTimers();
    try {
      const asked = expect(control.getInfo("version")).rejects.toMatchObject({
        code: "ERR_TOR_CONTROL_TIMEOUT",
      });
      await vi.advanceTimersByTimeAsync(30_000);
      vi.useRealTimers();
      await asked;
      await control.closed;
    } finally {
      vi.useRealTimers();
    }
  });

  it("gives up waiting after its time", async () => {
    const control = await connectControl(await fakeTor());
    const event = control.waitFor("HS_DESC", () => true, { timeoutMs: 30 });
    await expect(event).rejects.toMatchObject({ code: "ERR_TOR_CONTROL_TIMEOUT" });
    control.close();
    await control.closed;
  });

  it("ends every waiting command and event when tor goes away", async () => {
    const answer = (line: string, socket: net.Socket) =>
      line === "DIE" ? (socket.destroy(), "") : undefined;
    const control = await connectControl(await fakeTor({ answer }));
    const closed = expect.objectContaining({ code: "ERR_TOR_CONTROL_CLOSED" });
    const waiting = [control.waitFor("HS_DESC", () => true, { timeoutMs: 1000 }), control.command("DIE")];
    const outcomes = await Promise.allSettled(waiting);
    expect(outcomes).toEqual([
      { status: "rejected", reason: closed },
      { status: "rejected", reason: closed },
    ]);
    await control.closed;
    await expect(control.command("GETINFO version")).rejects.toEqual(closed);
  });
});

describe("cookiePath", () => {
  it.each([
    ['"/a \\"b\\"\\\\\\303\\251\\tc"', '/a "b"\\é\tc'],
    ['"/run/tor/control.authcookie"', "/run/tor/control.authcookie"],
    ['"/METHODS=NULL COOKIEFILE=\\"/x"', '/METHODS=NULL COOKIEFILE="/x'],
  ])("understands every escape of the quoted string %s", (quoted, path) => {
    for (const methods of ["SAFECOOKIE", "COOKIE,SAFECOOKIE", "SAFECOOKIE,HASHEDPASSWORD,NULL"]) {
      const text = `AUTH METHODS=${methods} COOKIEFILE=${quoted}`;
      expect(cookiePath([{ code: 250, text }]).toString()).toBe(path);
    }
  });

  it.each([
    ["AUTH METHODS=NULL", "lets anybody in"],
    ["AUTH METHODS=HASHEDPASSWORD", "does not offer"],
    ['AUTH METHODS=COOKIE COOKIEFILE="/x"', "does not offer"],
    ['AUTH METHODS=NULL COOKIEFILE="/METHODS=SAFECOOKIE"', "lets anybody in"],
    ["AUTH METHODS=SAFECOOKIE", "does not offer"],
    ['AUTH METHODS=SAFECOOKIE COOKIEFILE="x"', "not an absolute"],
    ['AUTH METHODS=SAFECOOKIE COOKIEFILE=""', "not an absolute"],
    ['AUTH METHODS=SAFECOOKIE COOKIEFILE="/a\\000b"', "not an absolute"],
    ['AUTH METHODS=SAFECOOKIE COOKIEFILE="/a\\777b"', "not an absolute"],
    ["VERSION", "does not offer"],
  ])("refuses %j", (text, why) => {
    expect(() => cookiePath([{ code: 250, text }])).toThrow(
      expect.objectContaining({ code: "ERR_TOR_CONTROL_AUTH", message: expect.stringContaining(why) }),
    );
  });
});
