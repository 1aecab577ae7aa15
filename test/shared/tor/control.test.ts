import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cookiePath } from "../../../shared/tor/control-auth.ts";
import { connectControl } from "../../../shared/tor/control.ts";

const COOKIE = Buffer.alloc(32, 7);
let folder: string;
let server: net.Server | undefined;
let lines: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "control-"));
  lines = [];
});

afterEach(async () => {
  const open = server;
  server = undefined;
  if (open !== undefined) await new Promise((resolve) => open.close(resolve));
  await rm(folder, { recursive: true });
});

interface FakeTor {
  /** What tor believes the cookie to be. */
  cookie?: Buffer;
  cookieFile?: string;
  /** Answers a command after authentication. */
  answer?: (line: string, socket: net.Socket) => string | undefined;
}

/** A control port that authenticates as tor does. */
async function fakeTor({ cookie = COOKIE, cookieFile = join(folder, "cookie"), answer }: FakeTor = {}) {
  const path = join(folder, "control");
  server = net.createServer((socket) => {
    let clientHash = "";
    let rest = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      const pieces = (rest + chunk.toString("latin1")).split("\r\n");
      rest = pieces.pop() ?? "";
      for (const line of pieces) {
        lines.push(line);
        const [verb, ...words] = line.split(" ");
        if (verb === "PROTOCOLINFO") {
          const quoted = cookieFile.replace(/["\\]/g, "\\$&");
          socket.write(`250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE="${quoted}"\r\n`);
          socket.write('250-VERSION Tor="0.4.9.11"\r\n250 OK\r\n');
        } else if (verb === "AUTHCHALLENGE") {
          const serverNonce = Buffer.alloc(32, 9);
          const message = Buffer.concat([cookie, Buffer.from(words[1] ?? "", "hex"), serverNonce]);
          const hash = (name: string) =>
            createHmac("sha256", name).update(message).digest("hex").toUpperCase();
          clientHash = hash("Tor safe cookie authentication controller-to-server hash");
          const serverHash = hash("Tor safe cookie authentication server-to-controller hash");
          socket.write(
            `250 AUTHCHALLENGE SERVERHASH=${serverHash} SERVERNONCE=${serverNonce.toString("hex").toUpperCase()}\r\n`,
          );
        } else if (verb === "AUTHENTICATE") {
          socket.write(
            words[0]?.toUpperCase() === clientHash ? "250 OK\r\n" : "515 Authentication failed\r\n",
          );
        } else {
          socket.write(answer?.(line, socket) ?? "250 OK\r\n");
        }
      }
    });
  });
  server.listen(path);
  await once(server, "listening");
  await writeFile(join(folder, "cookie"), COOKIE);
  return { path };
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

  it("finds a cookie whose path has quotes and backslashes", async () => {
    const cookieFile = join(folder, 'a "quoted" \\ path');
    await writeFile(cookieFile, COOKIE);
    const control = await connectControl(await fakeTor({ cookieFile }));
    control.close();
    await control.closed;
  });

  it("says when the cookie cannot be read, may be retried", async () => {
    const address = await fakeTor({ cookieFile: join(folder, "none") });
    await expect(connectControl(address)).rejects.toMatchObject({
      code: "ERR_TOR_CONTROL_AUTH",
      retryable: true,
    });
  });

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

  it("refuses a command of two lines", async () => {
    const control = await connectControl(await fakeTor());
    await expect(control.command("GETINFO x\r\nSIGNAL HALT")).rejects.toThrow(RangeError);
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
  it("understands every escape of a quoted string", () => {
    const text = 'AUTH METHODS=SAFECOOKIE COOKIEFILE="/a \\"b\\"\\\\\\303\\251\\tc"';
    expect(cookiePath([{ code: 250, text }])).toBe('/a "b"\\é\tc');
  });

  it.each(["AUTH METHODS=NULL", 'AUTH METHODS=COOKIE COOKIEFILE="/x"', "VERSION"])("refuses %j", (text) => {
    expect(() => cookiePath([{ code: 250, text }])).toThrow(
      expect.objectContaining({ code: "ERR_TOR_CONTROL_AUTH" }),
    );
  });
});
