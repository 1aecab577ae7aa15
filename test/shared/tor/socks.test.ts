import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { OnionhookError } from "../../../shared/errors.ts";
import type { LocalAddress } from "../../../shared/tor/local-socket.ts";
import { SOCKS_CODES } from "../../../shared/tor/socks-reply.ts";
import { dial, parseSocksProxy } from "../../../shared/tor/socks.ts";
import { reply, scriptedProxy, type Script, type ScriptedProxy } from "./scripted-proxy.ts";

const ONION = `${"a".repeat(56)}.onion`;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function proxy(script: Script, path?: string): Promise<ScriptedProxy> {
  const made = await scriptedProxy(script, path);
  cleanups.push(made.close);
  return made;
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "socks-"));
  cleanups.push(() => rm(path, { recursive: true }));
  return path;
}

/** A server that is no proxy: says `words` at once, or when it is spoken to. */
async function stranger(words: string | Buffer, speaksFirst: boolean): Promise<LocalAddress> {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    if (speaksFirst) socket.write(words);
    else socket.once("data", () => socket.end(words));
    socket.resume();
    cleanups.push(async () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => server.close());
  return { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port };
}

async function dialled(script: Script, isolation?: string): Promise<net.Socket> {
  const { address } = await proxy(script);
  const socket = await dial(address, ONION, 80, isolation === undefined ? {} : { isolation });
  cleanups.push(async () => socket.destroy());
  return socket;
}

async function failure(promise: Promise<unknown>): Promise<OnionhookError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof OnionhookError)) throw new Error("expected an OnionhookError", { cause: error });
  return error;
}

/** Everything that comes until `bytes` are there, and a moment longer to see that no more follows. */
async function received(socket: net.Socket, bytes: number): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  while (text.length < bytes) await once(socket, "data");
  await sleep(20);
  return text;
}

describe("dial", () => {
  it.each([
    [0x01, "ERR_TOR_REFUSED", true],
    [0x02, "ERR_TOR_NOT_ALLOWED", false],
    [0x03, "ERR_TOR_HOST_UNREACHABLE", true],
    [0x04, "ERR_TOR_HOST_UNREACHABLE", true],
    [0x05, "ERR_TOR_REFUSED", true],
    [0x06, "ERR_TOR_TIMEOUT", true],
    [0x07, "ERR_TOR_PROXY", false],
    [0x08, "ERR_TOR_PROXY", false],
    [0xf0, "ERR_TOR_ONION_NOT_FOUND", true],
    [0xf1, "ERR_TOR_ONION_DESCRIPTOR", true],
    [0xf2, "ERR_TOR_ONION_INTRO", true],
    [0xf3, "ERR_TOR_ONION_RENDEZVOUS", true],
    [0xf4, "ERR_TOR_CLIENT_AUTH_MISSING", false],
    [0xf5, "ERR_TOR_CLIENT_AUTH_WRONG", false],
    [0xf6, "ERR_TOR_ONION_ADDRESS", false],
    [0xf7, "ERR_TOR_ONION_TIMEOUT", true],
    [0x42, "ERR_TOR_PROXY", false],
  ])(
    "tells reply code %i as %s (retryable: %s), over TCP and unix, whole, byte by byte and cut off",
    async (...row) => {
      const [code, name, retryable] = row;
      const path = join(await folder(), "s");
      for (const packets of [[reply(code)], [reply(code, 4)], [reply(code).subarray(0, 2)]]) {
        for (const [bytewise, unix] of [
          [false, undefined],
          [true, undefined],
          [true, path],
        ] as const) {
          const { address, close } = await proxy({ packets, end: true, bytewise }, unix);
          const error = await failure(dial(address, ONION, 80, { isolation: "drain", peer: "the router" }));
          expect(error).toMatchObject({ code: name, retryable });
          expect(error.hint).toMatch(/[.?]$/);
          expect(error.message).toContain(name === "ERR_TOR_PROXY" ? "the SOCKS proxy" : "the router");
          expect(error.message).not.toContain(ONION);
          await close();
        }
      }
    },
  );

  it("knows every reply code of RFC 1928 and of Tor's proposal 304", () => {
    expect(SOCKS_CODES).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7]);
  });

  const text = "first bytes of the stream";
  for (const type of [1, 3, 4]) {
    const whole = reply(0, type);
    it.each<[string, Script]>([
      ["together with the reply", { packets: [Buffer.concat([whole, Buffer.from(text)])] }],
      ["after the reply", { packets: [whole, Buffer.from(text)] }],
      ["byte by byte", { packets: [whole, Buffer.from(text)], bytewise: true }],
      [
        "in the reply's last packet",
        { packets: [whole.subarray(0, 7), Buffer.concat([whole.subarray(7), Buffer.from(text)])] },
      ],
    ])(`loses and leaks nothing when data comes %s (ATYP ${type})`, async (_, script) => {
      for (const isolation of [undefined, "drain"]) {
        const socket = await dialled(script, isolation);
        await sleep(isolation === undefined ? 0 : 30); // also for a caller who is late
        expect(await received(socket, text.length)).toBe(text);
      }
    });
  }

  it("hands over a socket without listeners, neither paused nor flowing, that may be awaited for long", async () => {
    const fresh = new net.Socket();
    const socket = await dialled({ packets: [Buffer.concat([reply(0), Buffer.from("x")])] });
    for (const event of ["data", "error", "close", "connect", "readable", "timeout"]) {
      expect([event, socket.listenerCount(event)]).toEqual([event, fresh.listenerCount(event)]);
    }
    expect(socket.readableFlowing).toBeNull();
    fresh.destroy();
  });

  it("passes names to the proxy, unresolved, and the purpose as password", async () => {
    const made = await proxy({ packets: [reply(0)] });
    for (const [host, isolation] of [
      [ONION, "drain"],
      ["hooks.example.org", "router"],
      ["127.0.0.1", "drain"],
    ] as const) {
      (await dial(made.address, host, 443, { isolation })).destroy();
    }
    expect(made.requests).toEqual([
      { user: "onionhook", password: "drain", type: 3, host: ONION, port: 443 },
      { user: "onionhook", password: "router", type: 3, host: "hooks.example.org", port: 443 },
      { user: "onionhook", password: "drain", type: 1, host: "127.0.0.1", port: 443 },
    ]);
  });

  it("refuses a proxy that ignores the isolation credential", async () => {
    const { address } = await proxy({ method: 0, packets: [reply(0)] });
    expect(await failure(dial(address, ONION, 80, { isolation: "drain" }))).toMatchObject({
      code: "ERR_TOR_PROXY",
    });
  });

  it("works over a unix socket, whose replies have ATYP 4", async () => {
    const path = join(await folder(), "s");
    const { address } = await proxy({ packets: [reply(0, 4), Buffer.from(text)] }, path);
    const socket = await dial(address, ONION, 80, { isolation: "drain" });
    expect(await received(socket, text.length)).toBe(text);
    socket.destroy();
  });

  it("dials nothing when there is no Tor, and says so", async () => {
    const { address, close } = await scriptedProxy({ packets: [] });
    await close();
    for (const missing of [address, { path: "/nonexistent/socks" }]) {
      const error = await failure(dial(missing, "127.0.0.1", 80));
      expect(error).toMatchObject({ code: "ERR_TOR_UNREACHABLE", retryable: true });
      expect(error.hint).toContain("Is tor running");
    }
  });

  it("may be retried when Tor dies in the middle of the handshake", async () => {
    const { address } = await proxy({ packets: [], end: true });
    expect(await failure(dial(address, ONION, 80))).toMatchObject({
      code: "ERR_TOR_UNREACHABLE",
      retryable: true,
    });
  });

  it("says when what answers is not a SOCKS proxy", async () => {
    const server = http.createServer((_, response) => response.end());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const bound = server.address() as net.AddressInfo;
    const error = await failure(dial({ host: "127.0.0.1", port: bound.port }, ONION, 80));
    expect(error).toMatchObject({ code: "ERR_TOR_PROXY", retryable: false });
    await new Promise((resolve) => server.close(resolve));
  });

  it.each<[string, string | Buffer, boolean]>([
    ["an SSH server", "SSH-2.0-OpenSSH_9.2p1\r\n", true],
    ["an HTTP proxy", "HTTP/1.1 400 Bad Request\r\n\r\n", false],
    // A fatal alert, unexpected_message (RFC 8446, "Alert Protocol").
    ["a TLS server", Buffer.of(0x15, 3, 3, 0, 2, 2, 10), false],
    ["a SOCKS4 proxy", Buffer.of(0, 0x5b, 0, 0, 0, 0, 0, 0), false],
    ["a SOCKS5 proxy that wants another method", Buffer.of(5, 0xff), false],
  ])("tells %s from Tor", async (_what, words, speaksFirst) => {
    const error = await failure(dial(await stranger(words, speaksFirst), ONION, 80, { isolation: "drain" }));
    expect(error).toMatchObject({ code: "ERR_TOR_PROXY", retryable: false });
    expect(error.hint).toContain("SocksPort");
  });

  it("refuses a reply whose address is of no known type, for nobody knows where the stream would begin", async () => {
    const packets = [Buffer.concat([reply(0, 9), Buffer.from("first bytes")])];
    for (const isolation of [undefined, "drain"]) {
      const { address } = await proxy({ packets });
      const options = isolation === undefined ? {} : { isolation };
      expect(await failure(dial(address, ONION, 80, options))).toMatchObject({ code: "ERR_TOR_PROXY" });
    }
  });

  it("gives up after its time, and tells a proxy that is silent from one that looks for a circuit", async () => {
    const { address } = await proxy({ packets: [] });
    const error = await failure(dial(address, ONION, 80, { timeoutMs: 500, peer: "the edge" }));
    expect(error).toMatchObject({ code: "ERR_TOR_TIMEOUT", retryable: true });
    expect(error.message).toContain("the edge");
    const silent = await failure(dial(await stranger("", true), ONION, 80, { timeoutMs: 50 }));
    expect(silent).toMatchObject({ code: "ERR_TOR_SILENT", retryable: true });
    expect(silent.hint).toContain("SocksPort");
  });

  it.each([0, 1, 2, 3, 4, 9])("may be retried when a good reply breaks off after %i bytes", async (bytes) => {
    const { address } = await proxy({ packets: [reply(0).subarray(0, bytes)], end: true });
    expect(await failure(dial(address, ONION, 80))).toMatchObject({
      code: "ERR_TOR_UNREACHABLE",
      retryable: true,
    });
  });

  it("stops when it is told to, with the caller's reason, before and during the handshake", async () => {
    const { address } = await proxy({ packets: [] });
    const reason = new Error("enough");
    await expect(dial(address, ONION, 80, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const stopper = new AbortController();
    const dialling = dial(address, ONION, 80, { signal: stopper.signal });
    setTimeout(() => stopper.abort(reason), 30);
    await expect(dialling).rejects.toBe(reason);
  });

  it("leaves the stream alone when the caller's signal aborts later", async () => {
    const { address } = await proxy({ packets: [reply(0)] });
    const stopper = new AbortController();
    const socket = await dial(address, ONION, 80, { signal: stopper.signal, timeoutMs: 40 });
    stopper.abort();
    await sleep(60);
    expect(socket.destroyed).toBe(false);
    socket.destroy();
  });

  it("carries a WebSocket of ws", async () => {
    // The WebSocket server is reached by a proxy that connects to it after the reply.
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    server.on("connection", (peer) => peer.on("message", (data) => peer.send(data)));
    const { port } = server.address() as net.AddressInfo;
    const relay = net.createServer((client) => {
      client.on("error", () => undefined);
      client.once("data", () => {
        client.write(Buffer.of(5, 0));
        client.once("data", () => {
          const upstream = net.connect(port, "127.0.0.1", () => client.write(reply(0, 4)));
          client.pipe(upstream).pipe(client);
        });
      });
    });
    relay.listen(0, "127.0.0.1");
    await once(relay, "listening");
    const proxyAddress = { host: "127.0.0.1", port: (relay.address() as net.AddressInfo).port };
    const socket = await dial(proxyAddress, ONION, 80);
    await sleep(20);
    const webSocket = new WebSocket(`ws://${ONION}/`, { createConnection: () => socket });
    await once(webSocket, "open");
    webSocket.send("hello");
    expect(String((await once(webSocket, "message"))[0])).toBe("hello");
    webSocket.close();
    await once(webSocket, "close");
    await new Promise((resolve) => server.close(resolve));
    await new Promise((resolve) => relay.close(resolve));
  });

  it.each([
    ["", 80, undefined],
    ["x".repeat(256), 80, undefined],
    ["host", 0, undefined],
    ["host", 65_536, undefined],
    ["host", 80, ""],
    ["host", 80, "x".repeat(256)],
  ])("refuses host %j, port %i, isolation %j", async (host, port, isolation) => {
    const options = isolation === undefined ? {} : { isolation };
    await expect(dial({ path: "/none" }, host, port, options)).rejects.toThrow(RangeError);
  });

  it("refuses a proxy whose name would have to be looked up", async () => {
    await expect(dial({ host: "tor.example.org", port: 9050 }, ONION, 80)).rejects.toThrow(RangeError);
  });
});

describe("parseSocksProxy", () => {
  it.each([
    ["127.0.0.1:9050", { host: "127.0.0.1", port: 9050 }],
    ["localhost:9050", { host: "127.0.0.1", port: 9050 }],
    ["[::1]:9050", { host: "::1", port: 9050 }],
    ["unix:/run/tor/socks", { path: "/run/tor/socks" }],
  ])("reads %s", (value, expected) => expect(parseSocksProxy(value)).toEqual(expected));

  it.each([
    "",
    "9050",
    "tor.example.org:9050",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "unix:socks",
    "/run/tor/socks",
    "::1:9050",
  ])("names what it found instead: %j", (value) => {
    try {
      parseSocksProxy(value);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        code: "ERR_TOR_ADDRESS",
        message: `tor is ${JSON.stringify(value)}`,
      });
      expect((error as OnionhookError).hint).toContain("127.0.0.1:9050");
    }
  });
});
