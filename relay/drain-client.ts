import nacl from "tweetnacl";
import type { WebSocket } from "ws";
import { encodeBase64 } from "../shared/bytes.ts";
import { CHUNK_BYTES, CLOSE, DRAIN_SUBPROTOCOL, drainProof, type ToEdge } from "../shared/drain.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { keepTrying } from "../shared/host/keep-trying.ts";
import { openWebSocket } from "../shared/host/websocket.ts";
import type { Report } from "../shared/report.ts";
import type { RelayConfig } from "./config.ts";
import { type DrainIdentity, type DrainState, stepDrain } from "./drain-machine.ts";
import type { QueuedEvent } from "./queue.ts";

export interface DrainHandlers {
  /** Resolves once the event is durable here: with the builder's receipt if it had one already. */
  onEvent: (event: QueuedEvent) => Promise<string | undefined>;
  /** The drain is open: resolves with the receipts that the edge may not have accepted yet. */
  onOpened: (stream: string) => Promise<{ seq: number; receipt: string }[]>;
  /** The edge accepted a receipt, or refused it with `code`. */
  onSettled: (stream: string, seq: number, code: string | undefined) => Promise<void>;
}

export interface DrainClient {
  /** Hands the edge the builder's receipt. While the drain is down this is dropped: the edge sends the
   *  event again, and `onEvent` answers with the receipt. */
  done(seq: number, receipt: string): void;
  /** Opens the drain anew, so that the edge sends again what is not done. */
  restart(): void;
  /** Resolves when the signal has ended the drain. */
  readonly ended: Promise<void>;
}

/** Events that may be under way to this relay, not yet durable. */
const WINDOW = 64;

/**
 * Keeps the drain open until the signal: after every end it dials again, with capped backoff, on the
 * isolation credential of its own.
 */
export function startDrain(
  config: Pick<RelayConfig, "edge" | "tor">,
  handlers: DrainHandlers,
  report: Report,
  signal: AbortSignal,
): DrainClient {
  let current: WebSocket | undefined;
  const { edge, tor } = config;
  const { host } = new URL(edge.url);
  const { secretKey } = nacl.sign.keyPair.fromSeed(edge.seed);
  const identity: DrainIdentity = {
    relay: edge.relay,
    window: WINDOW,
    prove: (stream, challenge) =>
      encodeBase64(nacl.sign.detached(drainProof(host, stream, challenge), secretKey)),
  };

  async function drainOnce(): Promise<void> {
    const socket = await openWebSocket({
      url: edge.url,
      protocols: [DRAIN_SUBPROTOCOL],
      tor,
      isolation: "drain",
      maxMessageBytes: CHUNK_BYTES,
      signal,
    });
    const stop = () => socket.close(1000);
    signal.addEventListener("abort", stop);
    const { promise: closed, resolve } = Promise.withResolvers<number>();
    socket.once("close", resolve);
    let state: DrainState = { phase: "connected" };
    // One at a time and in order: the queue keeps the order in which events were added.
    let tail = Promise.resolve();

    socket.on("message", (data: Buffer, binary: boolean) => {
      try {
        const [next, outputs] = stepDrain(state, binary ? data : data.toString("utf8"), identity);
        state = next;
        for (const output of outputs) {
          if (output.do === "send") send(socket, output.message);
          else if (output.do === "opened") {
            current = socket;
            report("connected", { to: "edge", stream: output.stream });
            tail = tail.then(() => guard(socket, repeat(socket, output.stream)));
          } else if (output.do === "event") tail = tail.then(() => take(socket, output.event));
          else
            tail = tail.then(() => guard(socket, handlers.onSettled(output.stream, output.seq, output.code)));
        }
      } catch (error) {
        report("error", describeError(error));
        socket.close(CLOSE.protocol);
      }
    });
    socket.resume();
    const code = await closed;
    signal.removeEventListener("abort", stop);
    if (current === socket) {
      current = undefined;
      report("disconnected", { from: "edge" });
    }
    await tail;
    if (code === CLOSE.unauthorised) {
      throw new OnionhookError("ERR_DRAIN_UNAUTHORISED", "the edge does not know this relay", {
        hint: "put the public half of this relay's sign key into the edge's RELAYS, under this relay's name",
      });
    }
    if (code === CLOSE.superseded) {
      throw new OnionhookError("ERR_DRAIN_SUPERSEDED", "another relay took over the stream", {
        hint: "run one relay for a stream",
      });
    }
  }

  /** An acceptance may have been lost with the last connection. */
  async function repeat(socket: WebSocket, stream: string): Promise<void> {
    for (const { seq, receipt } of await handlers.onOpened(stream))
      send(socket, { type: "done", seq, receipt });
  }

  async function take(socket: WebSocket, event: QueuedEvent): Promise<void> {
    await guard(
      socket,
      (async () => {
        const receipt = await handlers.onEvent(event);
        send(socket, { type: "stored", seq: event.seq });
        if (receipt !== undefined) send(socket, { type: "done", seq: event.seq, receipt });
      })(),
    );
  }

  /** What the queue could not take, the edge still has: it sends it again on the next connection. */
  async function guard(socket: WebSocket, work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      report("error", describeError(error));
      socket.close(1011);
    }
  }

  return {
    done(seq, receipt) {
      if (current) send(current, { type: "done", seq, receipt });
    },
    restart: () => current?.close(1000),
    ended: keepTrying(drainOnce, report, signal),
  };
}

function send(socket: WebSocket, message: ToEdge): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
}
