/**
 * The edge as it is deployed: the bundle that wrangler makes, under bare workerd on loopback; a client that
 * says HTTP/1.1 byte by byte; and a relay and a builder in one, which drain what the edge took.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import nacl from "tweetnacl";
import { WebSocket } from "ws";
import { sharedKey } from "../../shared/shared-key.ts";
import { prepareEdge } from "../../cli/dev/edge.ts";
import { takePort } from "../../cli/dev/ports.ts";
import { concatBytes, decodeBase64, encodeBase64 } from "../../shared/bytes.ts";
import { open, sealTag } from "../../shared/cryptobox.ts";
import { CHUNK_BYTES, DRAIN_SUBPROTOCOL, drainProof, parseToRelay, type ToEdge } from "../../shared/drain.ts";
import { decodeEvent, type OpenedEvent } from "../../shared/event.ts";
import { formatKey } from "../../shared/keys.ts";
import { sealReceipt } from "../../shared/receipt.ts";
import { ROOT } from "./peers.ts";

const LOOPBACK = "127.0.0.1";
const STREAM = "builder";
const RELAY = "relay";
const SECRET = "It's a Secret to Everybody";
const HEALTH_MS = 20_000;
const HEALTH_POLL_MS = 25;

export interface Edge {
  port: number;
  /** Of the Host header, and of the drain's proof. */
  host: string;
  /** The webhook's secret. */
  secret: string;
  /** What Autobahn's KeyRing needs to open what was sealed here; base64. */
  keyring: { responder_priv: string; originator_pub: string };
  pid: number;
  /** Whether that very process still runs. */
  isAlive(): boolean;
  /** A line of /proc/PID/status in bytes: `VmRSS` is what is resident now, `VmHWM` the most that ever was. */
  memory(line: "VmRSS" | "VmHWM"): number;
  /** What the Worker and workerd itself printed. */
  log(): string;
  connect(): Promise<HttpConnection>;
  drain(): Promise<Drain>;
  open(event: DrainedEvent): OpenedEvent;
  stop(): Promise<void>;
}

/** Bundles and starts an edge of its own keys, port and folder; resolves once it takes requests. */
export async function startEdge(): Promise<Edge> {
  const folder = mkdtempSync(join(tmpdir(), "oh-edge-"));
  const edgeBox = nacl.box.keyPair();
  const builderBox = nacl.box.keyPair();
  const relaySign = nacl.sign.keyPair();
  const shared = sharedKey(edgeBox.publicKey, builderBox.secretKey);
  const secretFile = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const port = await takePort(0, "port");
  const [program = "", ...args] = await prepareEdge({
    root: ROOT,
    env: {},
    folder,
    port,
    webhookSecretFile: secretFile("webhook-secret", SECRET),
    boxKeyFile: secretFile("box-key", formatKey("box", "secret", edgeBox.secretKey)),
    recipients: { [STREAM]: { box_public: formatKey("box", "public", builderBox.publicKey) } },
    relays: { [RELAY]: formatKey("sign", "public", relaySign.publicKey) },
  });
  const logFile = join(folder, "edge.log");
  const output = openSync(logFile, "a", 0o600);
  const child = spawn(program, args, { stdio: ["ignore", output, output] });
  closeSync(output);
  const killOnExit = () => void child.kill("SIGKILL");
  process.once("exit", killOnExit);
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const log = () => readFileSync(logFile, "utf8");
  const host = `${LOOPBACK}:${port}`;
  const stop = async () => {
    // It would wait for open WebSockets on any other signal.
    child.kill("SIGKILL");
    await exited;
    process.off("exit", killOnExit);
    rmSync(folder, { recursive: true, force: true });
  };
  if (!(await isHealthy(host, child))) {
    const said = log();
    await stop();
    throw new Error(`the edge did not start\n${said}`);
  }
  return {
    port,
    host,
    secret: SECRET,
    keyring: {
      responder_priv: encodeBase64(builderBox.secretKey),
      originator_pub: encodeBase64(edgeBox.publicKey),
    },
    pid: child.pid ?? 0,
    isAlive: () => child.exitCode === null && child.signalCode === null,
    memory: (line) => memoryOf(child.pid ?? 0, line),
    log,
    connect: () => HttpConnection.open(port),
    drain: () => Drain.open(host, relaySign.secretKey, shared),
    open: ({ topic, sealed }) => decodeEvent(topic, open(sealed, shared)),
    stop,
  };
}

async function isHealthy(host: string, child: ChildProcess): Promise<boolean> {
  const end = performance.now() + HEALTH_MS;
  while (child.exitCode === null && performance.now() < end) {
    const response = await fetch(`http://${host}/health`).catch(() => undefined);
    if (response) return response.ok;
    await sleep(HEALTH_POLL_MS);
  }
  return false;
}

function memoryOf(pid: number, line: string): number {
  const found = new RegExp(`^${line}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (!found) throw new Error(`/proc/${pid}/status has no ${line}`);
  return Number(found[1]) * 1024;
}

export interface HttpAnswer {
  status: number;
  /** By lower-case name; the last of a doubled one. */
  headers: ReadonlyMap<string, string>;
  body: string;
}

/** One keep-alive connection. Requests are bytes, whether or not they are HTTP; answers come in their order. */
export class HttpConnection {
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>;
  isOpen = true;
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #wake = (): void => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => {
      this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    // What the sender notices is the end, which follows.
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.isOpen = false;
        this.#wake();
        resolve();
      });
    });
  }

  static open(port: number): Promise<HttpConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: LOOPBACK, port, noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new HttpConnection(socket));
      });
    });
  }

  /** Text is one byte a character. Resolves when there is room for more. */
  send(bytes: Uint8Array | string): Promise<void> {
    const raw = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    if (!this.isOpen || this.#socket.write(raw)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#socket.once("drain", resolve);
      void this.closed.then(resolve);
    });
  }

  /**
   * The next answer, of which `headOnly` says that it has no body, as one to HEAD; undefined when the
   * connection ended instead.
   */
  async answer(headOnly = false): Promise<HttpAnswer | undefined> {
    for (;;) {
      const parsed = parseAnswer(this.#received, headOnly, !this.isOpen);
      if (parsed) {
        this.#received = this.#received.subarray(parsed.end);
        return parsed.answer;
      }
      if (!this.isOpen) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Whether this byte comes, at once or later, before the connection ends. */
  async hears(byte: number): Promise<boolean> {
    while (!this.#received.includes(byte)) {
      if (!this.isOpen) return false;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return true;
  }

  /** Says that nothing more will be sent; answers may still come. */
  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }
}

function parseAnswer(
  bytes: Buffer,
  headOnly: boolean,
  isOver: boolean,
): { answer: HttpAnswer; end: number } | undefined {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(statusLine)?.[1]);
  if (!(status >= 100)) throw new Error(`no HTTP answer: ${statusLine}`);
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const start = headEnd + 4;
  const done = (body: string, end: number) => ({ answer: { status, headers, body }, end });
  if (headOnly || status < 200 || status === 204) return done("", start);
  if (headers.get("transfer-encoding") === "chunked") {
    const end = bytes.indexOf("0\r\n\r\n", start);
    return end < 0 ? undefined : done(joinChunks(bytes.toString("utf8", start, end)), end + 5);
  }
  const length = headers.get("content-length");
  if (length === undefined) return isOver ? done(bytes.toString("utf8", start), bytes.length) : undefined;
  const end = start + Number(length);
  return bytes.length < end ? undefined : done(bytes.toString("utf8", start, end), end);
}

/** The answers here are short texts of ASCII without line breaks of their own. */
function joinChunks(chunked: string): string {
  return chunked
    .split("\r\n")
    .filter((_, index) => index % 2 === 1)
    .join("");
}

export interface DrainedEvent {
  seq: number;
  topic: string;
  delivery: string;
  sealed: Uint8Array;
}

/** Room for the largest frame, and its header. */
const MAX_FRAME_BYTES = CHUNK_BYTES + 1024;
/** Events under way. */
const CREDIT = 100;

/** A relay that has every event done at once, with the receipt of the builder that it also is. */
export class Drain {
  readonly events: DrainedEvent[] = [];
  readonly #socket: WebSocket;
  readonly #shared: Uint8Array;
  #frames: Uint8Array[] = [];
  #under: { seq: number; topic: string; delivery: string; missing: number } | undefined;
  #accepted = 0;
  #fault: Error | undefined;
  #wake = (): void => {};

  private constructor(socket: WebSocket, shared: Uint8Array) {
    this.#socket = socket;
    this.#shared = shared;
  }

  static async open(host: string, signSecret: Uint8Array, shared: Uint8Array): Promise<Drain> {
    const socket = new WebSocket(`ws://${host}/drain`, DRAIN_SUBPROTOCOL, {
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
    });
    const drain = new Drain(socket, shared);
    await new Promise<void>((resolve, reject) => {
      socket.once("close", (code) => reject(new Error(`the drain was closed with ${code}`)));
      socket.once("error", reject);
      socket.on("message", (data: Buffer, isBinary) => {
        try {
          if (isBinary) drain.#takeFrame(data);
          else drain.#takeText(data.toString("utf8"), host, signSecret, resolve);
        } catch (error) {
          drain.#fail(error as Error);
          reject(error);
        }
      });
    });
    socket.on("close", (code) => drain.#fail(new Error(`the drain was closed with ${code}`)));
    return drain;
  }

  /** Resolves when the edge has accepted that so many events are done. */
  async done(count: number, timeoutMs: number): Promise<void> {
    const timer = setTimeout(
      () => this.#fail(new Error(`${this.#accepted} of ${count} events are done after ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      while (this.#accepted < count) {
        if (this.#fault) throw this.#fault;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    this.#socket.removeAllListeners("close");
    const closed = new Promise((resolve) => this.#socket.once("close", resolve));
    this.#socket.close();
    await closed;
  }

  #takeText(frame: string, host: string, signSecret: Uint8Array, welcome: () => void): void {
    const message = parseToRelay(frame);
    switch (message.type) {
      case "challenge": {
        const proof = drainProof(host, message.stream, decodeBase64(message.challenge));
        this.#send({
          type: "hello",
          relay: RELAY,
          signature: encodeBase64(nacl.sign.detached(proof, signSecret)),
        });
        return;
      }
      case "welcome":
        this.#send({ type: "credit", events: CREDIT });
        return welcome();
      case "event": {
        const { seq, topic, delivery, bytes } = message;
        if (this.#under) throw new Error("an event inside an event");
        this.#under = { seq, topic, delivery, missing: bytes };
        return;
      }
      case "accepted":
        this.#accepted += 1;
        return this.#wake();
      default:
        throw new Error(`not expected of the edge: ${frame}`);
    }
  }

  #takeFrame(frame: Uint8Array): void {
    if (!this.#under) throw new Error("a binary frame outside an event");
    this.#frames.push(frame);
    this.#under.missing -= frame.length;
    if (this.#under.missing > 0) return;
    const { seq, topic, delivery } = this.#under;
    const sealed = concatBytes(...this.#frames);
    this.events.push({ seq, topic, delivery, sealed });
    this.#frames = [];
    this.#under = undefined;
    const receipt = sealReceipt({ stream: STREAM, seq, delivery, tag: sealTag(sealed) }, this.#shared);
    this.#send({ type: "stored", seq });
    this.#send({ type: "done", seq, receipt: encodeBase64(receipt) });
  }

  #send(message: ToEdge): void {
    this.#socket.send(JSON.stringify(message));
  }

  #fail(error: Error): void {
    this.#fault ??= error;
    this.#wake();
  }
}
