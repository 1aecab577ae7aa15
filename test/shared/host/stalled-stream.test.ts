/** Streams that stay open and carry nothing, or next to nothing: heartbeats end them, whichever direction is dead. */
import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { openWebSocket } from "../../../shared/host/websocket.ts";

/** Milliseconds; long enough for a busy machine to answer in, where it is to. */
const BEAT_MS = 300;
const MESSAGE_BYTES = 8 * 1024 * 1024;

type Direction = "to the peer" | "from the peer";

/** A stream between us and the peer that can stop carrying, without ending. */
interface Wire {
  readonly url: string;
  stall(...directions: Direction[]): void;
  /** Bytes that come to us from now on, the peer's own being held back. */
  inject(bytes: Buffer): void;
}

describe("a stream that stalls", () => {
  const closing: (() => void)[] = [];
  afterEach(() => closing.splice(0).forEach((close) => close()));

  async function peer(onConnection: (socket: WebSocket) => void = () => {}): Promise<number> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => "test.1" });
    await once(server, "listening");
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      // As the edge answers the text heartbeat.
      socket.on("message", (data: Buffer) => data.length < 100 && socket.send("pong"));
      onConnection(socket);
    });
    closing.push(() => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    });
    return (server.address() as net.AddressInfo).port;
  }

  async function wire(port: number): Promise<Wire> {
    const stalled = new Set<Direction>();
    let client: net.Socket | undefined;
    const server = net.createServer((near) => {
      client = near;
      const far = net.connect(port, "127.0.0.1");
      for (const [from, to, direction] of [
        [near, far, "to the peer"],
        [far, near, "from the peer"],
      ] as const) {
        from.on("error", () => {});
        from.on("close", () => to.destroy());
        from.on("data", (chunk: Buffer) => {
          if (stalled.has(direction)) from.pause();
          else if (!to.write(chunk)) {
            from.pause();
            to.once("drain", () => from.resume());
          }
        });
      }
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closing.push(() => {
      client?.destroy();
      server.close();
    });
    return {
      url: `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}/`,
      stall: (...directions) => directions.forEach((direction) => stalled.add(direction)),
      inject: (bytes) => void client?.write(bytes),
    };
  }

  async function open({ url }: Wire, text: string | undefined): Promise<WebSocket> {
    const beats = { everyMs: BEAT_MS, answerMs: BEAT_MS };
    const socket = await openWebSocket({
      url,
      peer: "the edge",
      protocols: ["test.1"],
      tor: "none",
      isolation: "test",
      maxMessageBytes: MESSAGE_BYTES,
      heartbeat: text === undefined ? beats : { ...beats, text },
      signal: new AbortController().signal,
    });
    closing.push(() => socket.terminate());
    socket.resume();
    return socket;
  }

  /** The beginning of a text frame of 1 MiB, whose rest may never come (RFC 6455, "Base Framing Protocol"). */
  const frameHead = Buffer.concat([Buffer.of(0x81, 127), Buffer.alloc(4), Buffer.of(0, 0x10, 0, 0)]);

  describe.each([
    ["pings", undefined],
    ["a text heartbeat", "ping"],
  ])("with %s", (_name, text) => {
    it.each<[string, Direction[]]>([
      ["to the peer", ["to the peer"]],
      ["from the peer", ["from the peer"]],
      ["both ways", ["to the peer", "from the peer"]],
    ])("is ended when nothing passes %s", async (_what, directions) => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const closed = once(socket, "close");
      between.stall(...directions);
      await closed;
    });

    it("is ended when bytes trickle and no frame is ever whole", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const closed = once(socket, "close");
      between.stall("to the peer", "from the peer");
      between.inject(frameHead);
      const trickle = setInterval(() => between.inject(Buffer.of(0x20)), 5);
      closing.push(() => clearInterval(trickle));
      await closed;
    });

    it("stays while a large message comes slowly, and gives it whole", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const received = once(socket, "message");
      const size = 1024 * 1024;
      between.stall("from the peer");
      between.inject(frameHead);
      // 20 pieces, about 50 ms apart: over several heartbeats, whose answers wait behind them.
      for (let piece = 0; piece < 20; piece += 1) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        expect(socket.readyState).toBe(socket.OPEN);
        between.inject(
          Buffer.alloc(Math.ceil(size / 20), 0x20).subarray(0, size - piece * Math.ceil(size / 20)),
        );
      }
      const [data] = (await received) as [Buffer];
      expect(data.length).toBe(size);
    });

    it("is ended when the peer takes no more of a large message", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const closed = once(socket, "close");
      between.stall("to the peer", "from the peer");
      socket.send(Buffer.alloc(MESSAGE_BYTES));
      await vi.waitFor(() => expect(socket.bufferedAmount).toBeGreaterThan(0));
      await closed;
    });
  });
});
