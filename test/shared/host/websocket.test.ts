import dns from "node:dns";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { inspect } from "node:util";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { openWebSocket, UpgradeRefused } from "../../../shared/host/websocket.ts";
import { until } from "../../helpers/until.ts";
import { selfSigned } from "./self-signed.ts";

const signal = new AbortController().signal;
const target = (url: string, tor: Parameters<typeof openWebSocket>[0]["tor"] = "none") => ({
  url,
  peer: "the edge",
  protocols: ["test.1"],
  tor,
  isolation: "test",
  maxMessageBytes: 1000,
  signal,
});
const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe("openWebSocket", () => {
  const closing: (() => void)[] = [];
  afterEach(() => closing.splice(0).forEach((close) => close()));

  const listen = async (server: Server): Promise<string> => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closing.push(() => server.close());
    const address = server.address();
    return `127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  };

  /** Answers an upgrade with these bytes, and no more than `write` sends. */
  const answering = (write: (socket: Duplex) => void) => {
    const server = createServer();
    server.on("upgrade", (_request, socket) => {
      socket.on("error", () => {});
      write(socket);
    });
    return listen(server);
  };
  const refusal = async (host: string) => {
    const error: unknown = await openWebSocket(target(`ws://${host}/`)).catch((thrown: unknown) => thrown);
    if (!(error instanceof UpgradeRefused)) throw new Error("no refusal", { cause: error });
    return error;
  };

  it.each([
    "ws://192.0.2.1/",
    "wss://hooks.example.org/drain",
    "ws://abcdefgh.onion/",
    "ws://127.0.0.1.example.org/",
    "ws://[2001:db8::1]/",
    "ws://localhost./",
    "ws://localhost.localdomain/",
    "ws://0.0.0.0/",
    "ws://1/",
    "ws://[::]/",
    "ws://[::ffff:127.0.0.1]/",
  ])("without Tor does not dial %s", async (url) => {
    await expect(openWebSocket(target(url))).rejects.toEqual(code("ERR_NOT_LOOPBACK"));
  });

  it.each(["ws://192.0.2.1/", "ws://edge.example.org/drain"])(
    "does not speak plainly through an exit to %s",
    async (url) => {
      const opening = openWebSocket(target(url, { host: "127.0.0.1", port: 1 }));
      await expect(opening).rejects.toEqual(code("ERR_PLAIN_WEBSOCKET"));
    },
  );

  it("does not ask Tor for an onion address that is none", async () => {
    const opening = openWebSocket(target("ws://abcdefgh.onion/", { host: "127.0.0.1", port: 1 }));
    await expect(opening).rejects.toEqual(code("ERR_TOR_ONION_ADDRESS"));
  });

  it.each(["localhost", "127.0.0.1", "127.1", "0x7f000001"])(
    "dials %s without Tor, and looks up no name for it",
    async (name) => {
      const server = createServer();
      const sockets = new WebSocketServer({ server, handleProtocols: () => "test.1" });
      closing.push(() => sockets.close());
      const [, port] = (await listen(server)).split(":");
      const lookup = vi.spyOn(dns, "lookup");
      closing.push(() => lookup.mockRestore());
      (await openWebSocket(target(`ws://${name}:${port}/`))).terminate();
      expect(lookup).not.toHaveBeenCalled();
    },
  );

  it("follows no redirect", async () => {
    let connections = 0;
    const elsewhere = createServer();
    elsewhere.on("connection", () => (connections += 1));
    const away = await listen(elsewhere);
    const host = await answering((socket) =>
      socket.end(`HTTP/1.1 301 Moved Permanently\r\nlocation: ws://${away}/\r\ncontent-length: 0\r\n\r\n`),
    );
    expect((await refusal(host)).answer.status).toBe(301);
    expect(connections).toBe(0);
  });

  it("dials nothing at all when Tor's port is closed, not even on loopback", async () => {
    let connections = 0;
    const server = createServer();
    server.on("connection", () => (connections += 1));
    const host = await listen(server);
    const refused = openWebSocket(target(`ws://${host}/`, { host: "127.0.0.1", port: 1 }));
    await expect(refused).rejects.toEqual(code("ERR_TOR_UNREACHABLE"));
    expect(connections).toBe(0);
  });

  it.each(["none", { host: "127.0.0.1", port: 1 }] as const)(
    "dials a unix socket, which is on this machine, past Tor (%o)",
    async (tor) => {
      const folder = mkdtempSync(join(tmpdir(), "oh-websocket-"));
      closing.push(() => rmSync(folder, { recursive: true }));
      const server = createServer();
      const sockets = new WebSocketServer({ server, handleProtocols: () => "test.1" });
      closing.push(() => sockets.close());
      await new Promise<void>((resolve) => server.listen(join(folder, "router.sock"), resolve));
      closing.push(() => server.close());
      const socket = await openWebSocket(target(`ws+unix:${folder}/router.sock:/`, tor));
      expect(socket.protocol).toBe("test.1");
      socket.terminate();
    },
  );

  it("hands over what the server says with its first breath", async () => {
    const server = createServer();
    const sockets = new WebSocketServer({ server, handleProtocols: () => "test.1" });
    sockets.on("connection", (socket) => socket.send("first"));
    closing.push(() => sockets.close());
    const socket = await openWebSocket(target(`ws://${await listen(server)}/`));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const first = new Promise((resolve) =>
      socket.once("message", (data: Buffer) => resolve(data.toString())),
    );
    socket.resume();
    expect(await first).toBe("first");
    socket.terminate();
  });

  it("tells what the server answered when that is no upgrade, and shows nothing of its body", async () => {
    const error = await refusal(
      await answering((socket) =>
        socket.end("HTTP/1.1 403 Forbidden\r\ncf-mitigated: challenge\r\ncontent-length: 6\r\n\r\nSECRET"),
      ),
    );
    expect(error).toMatchObject({ code: "ERR_UPGRADE", retryable: true });
    expect(error.message).toBe("the edge answered 403 instead of a WebSocket");
    expect(error.answer).toMatchObject({
      status: 403,
      body: "SECRET",
      headers: { "cf-mitigated": "challenge" },
    });
    expect(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error)).not.toContain("SECRET");
  });

  it("reads only the beginning of a body that never ends, and hangs up", async () => {
    let hungUp = false;
    let sent = 0;
    const host = await answering((socket) => {
      socket.on("close", () => (hungUp = true));
      socket.write("HTTP/1.1 403 Forbidden\r\n\r\n");
      const more = () => {
        do sent += 1;
        while (socket.write("é".repeat(8192)));
      };
      socket.on("drain", more);
      more();
    });
    const { answer } = await refusal(host);
    expect(Buffer.byteLength(answer.body)).toBeLessThanOrEqual(4096);
    expect(answer.body).toMatch(/^é{2000}/);
    await until(() => expect(hungUp).toBe(true));
    // What was on its way in the system's buffers, not a whole download.
    expect(sent).toBeLessThan(2000);
  });

  it("does not wait for the rest of a body that stalls", async () => {
    const host = await answering((socket) => {
      socket.write("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100\r\n\r\nhalf");
    });
    expect((await refusal(host)).answer).toMatchObject({ status: 503, body: "half" });
  });

  it("takes what there is of a body that breaks off", async () => {
    const host = await answering((socket) => {
      socket.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 100\r\n\r\nhalf");
    });
    expect((await refusal(host)).answer).toMatchObject({ status: 502, body: "half" });
  });

  it("tells a certificate that proves nothing from no TLS at all, and from no server", async () => {
    const secure = await listen(createTlsServer(selfSigned));
    const port = (host: string) => host.split(":")[1] ?? "";
    const unproven = openWebSocket(target(`wss://localhost:${port(secure)}/`));
    await expect(unproven).rejects.toMatchObject({
      code: "ERR_CERTIFICATE",
      message: expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT"),
    });
    const plain = await listen(createServer());
    await expect(openWebSocket(target(`wss://localhost:${port(plain)}/`))).rejects.toEqual(code("ERR_TLS"));
    await expect(openWebSocket(target("wss://localhost:1/"))).rejects.toEqual(code("ERR_UNREACHABLE"));
  });

  describe("keeps a socket alive", () => {
    const serving = async (onConnection: (socket: WebSocket) => void, autoPong = true) => {
      const server = createServer();
      const sockets = new WebSocketServer({ server, handleProtocols: () => "test.1", autoPong });
      sockets.on("connection", onConnection);
      closing.push(() => sockets.clients.forEach((socket) => socket.terminate()));
      return `ws://${await listen(server)}/`;
    };
    /** @param ms long enough for a busy machine to answer in, where it is to */
    const opening = async (url: string, ms: number, text?: string) => {
      const beats = { everyMs: ms, answerMs: ms };
      const heartbeat = text === undefined ? beats : { ...beats, text };
      const socket = await openWebSocket({ ...target(url), heartbeat });
      socket.resume();
      return socket;
    };

    it("by a text frame instead of pings, while it is answered", async () => {
      const texts: string[] = [];
      let pings = 0;
      const url = await serving((peer) => {
        peer.on("ping", () => (pings += 1));
        peer.on("message", (data: Buffer) => {
          texts.push(data.toString());
          peer.send("pong");
        });
      });
      const socket = await opening(url, 200, "ping");
      await until(() => expect(texts.length).toBeGreaterThan(2));
      expect(socket.readyState).toBe(socket.OPEN);
      expect(new Set(texts)).toEqual(new Set(["ping"]));
      expect(pings).toBe(0);
      socket.terminate();
    });

    it.each([
      ["a text frame", "ping"],
      ["a ping", undefined],
    ])("and ends it when %s is not answered", async (_what, text) => {
      const socket = await opening(await serving(() => {}, false), 20, text);
      await new Promise((resolve) => socket.once("close", resolve));
    });

    it("while anything comes, whether it is an answer or not", async () => {
      let heartbeats = 0;
      const url = await serving((peer) => {
        const talk = setInterval(() => peer.send("something else"), 2);
        peer.on("close", () => clearInterval(talk));
        peer.on("message", () => (heartbeats += 1));
      });
      const socket = await opening(url, 200, "ping");
      await until(() => expect(heartbeats).toBeGreaterThan(2));
      expect(socket.readyState).toBe(socket.OPEN);
      socket.terminate();
    });
  });

  it("ends at the signal while the server is silent", async () => {
    const silent = createTcpServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    closing.push(() => silent.close());
    const address = silent.address();
    const stop = new AbortController();
    const port = typeof address === "object" && address ? address.port : 0;
    const opening = openWebSocket({ ...target(`ws://127.0.0.1:${port}/`), signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    await expect(opening).rejects.toEqual(code("ERR_STOPPED"));
  });
});
