import { createServer, type Server } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { openWebSocket } from "../../../shared/host/websocket.ts";

const signal = new AbortController().signal;
const target = (url: string, tor: Parameters<typeof openWebSocket>[0]["tor"] = "none") => ({
  url,
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

  it.each([
    "ws://192.0.2.1/",
    "wss://hooks.example.org/drain",
    "ws://abcdefgh.onion/",
    "ws://127.0.0.1.example.org/",
    "ws://[2001:db8::1]/",
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

  it("dials nothing at all when Tor's port is closed, not even on loopback", async () => {
    let connections = 0;
    const server = createServer();
    server.on("connection", () => (connections += 1));
    const host = await listen(server);
    const refused = openWebSocket(target(`ws://${host}/`, { host: "127.0.0.1", port: 1 }));
    await expect(refused).rejects.toEqual(code("ERR_TOR_UNREACHABLE"));
    expect(connections).toBe(0);
  });

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

  it("names the status when the server answers no upgrade", async () => {
    const server = createServer((_request, response) => response.writeHead(403).end("<html>"));
    server.on("upgrade", (_request, socket) =>
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
    );
    const host = await listen(server);
    await expect(openWebSocket(target(`ws://${host}/`))).rejects.toThrow("answered 403");
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
