/** Streams that stay open and carry nothing, or next to nothing: heartbeats end them, whichever direction is dead. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { openWebSocket } from "../../../shared/host/websocket.ts";
import { until } from "../../helpers/until.ts";

/** Milliseconds; long enough for a busy machine to answer in, where it is to. */
const BEAT_MS = 300;
const MESSAGE_BYTES = 8 * 1024 * 1024;
/**
 * The slowest circuit of use, here: it takes longer than a heartbeat for what the system holds. Milliseconds a whole
 * connection is given for that (4 MiB), and for the heartbeat.
 */
const SLOW_BYTES_PER_S = 4 * 1024 * 1024;
const BOUND_MS = 1000 + 2 * BEAT_MS;

type Direction = "to the peer" | "from the peer";

/** A stream between us and the peer that can stop carrying, without ending. */
interface Wire {
  readonly url: string;
  stall(...directions: Direction[]): void;
  /** From now on no more than so many bytes a second pass to the peer. */
  slow(bytesPerS: number): void;
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
    let bytesPerS = Infinity;
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
        let freeAt = 0;
        from.on("data", (chunk: Buffer) => {
          if (stalled.has(direction)) {
            from.pause();
            return;
          }
          if (direction === "to the peer" && bytesPerS < Infinity) {
            const now = performance.now();
            // A timer that came late on a busy machine is made good, or this would be slower than it says.
            freeAt = Math.max(freeAt || now, now - BEAT_MS) + (1000 * chunk.length) / bytesPerS;
            from.pause();
            setTimeout(() => from.resume(), Math.max(0, freeAt - now));
          }
          if (!to.write(chunk)) {
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
      slow: (rate) => void (bytesPerS = rate),
      inject: (bytes) => void client?.write(bytes),
    };
  }

  async function open({ url }: Wire, text: string | undefined): Promise<WebSocket> {
    const beats = { everyMs: BEAT_MS, answerMs: BEAT_MS, leastBytesPerS: SLOW_BYTES_PER_S };
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

    it("stays while a large message goes up slowly, and brings it whole", async () => {
      const { promise: taken, resolve } = Promise.withResolvers<Buffer>();
      const port = await peer((server) => {
        server.on("message", (data: Buffer) => data.length > 100 && resolve(data));
      });
      const between = await wire(port);
      const socket = await open(between, text);
      const closed = once(socket, "close").then(() => Promise.reject(new Error("ended")));
      between.slow(1.2 * SLOW_BYTES_PER_S);
      const message = randomBytes(25 * 1024 * 1024);
      socket.send(message);
      const began = performance.now();
      const data = await Promise.race([taken, closed]);
      expect(data.equals(message)).toBe(true);
      expect(performance.now() - began).toBeGreaterThan(10 * BEAT_MS);
      closed.catch(() => {});
    });

    it("stays when much was sent at once, all of which the system took", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      between.slow(1.2 * SLOW_BYTES_PER_S);
      socket.send(Buffer.alloc(2.5 * 1024 * 1024));
      const ended = once(socket, "close");
      const answered = once(socket, text === undefined ? "pong" : "message");
      await Promise.race([answered, ended.then(() => Promise.reject(new Error("ended")))]);
      ended.catch(() => {});
    });

    it("is ended within the bound when nobody takes the rest of a message that went up steadily", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const closed = once(socket, "close");
      between.slow(1.2 * SLOW_BYTES_PER_S);
      socket.send(Buffer.alloc(25 * 1024 * 1024));
      await new Promise((resolve) => setTimeout(resolve, 5 * BEAT_MS));
      expect(socket.readyState).toBe(socket.OPEN);
      between.stall("to the peer", "from the peer");
      const stalledAt = performance.now();
      await closed;
      // Twice: the wire's own buffer takes some more.
      expect(performance.now() - stalledAt).toBeLessThan(2 * BOUND_MS);
    });

    it("is ended when the peer takes no more of a large message", async () => {
      const between = await wire(await peer());
      const socket = await open(between, text);
      const closed = once(socket, "close");
      between.stall("to the peer", "from the peer");
      socket.send(Buffer.alloc(MESSAGE_BYTES));
      await until(() => expect(socket.bufferedAmount).toBeGreaterThan(0));
      await closed;
    });
  });
});
