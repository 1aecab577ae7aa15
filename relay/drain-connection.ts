import type { WebSocket } from "ws";
import { CLOSE, type ToEdge } from "../shared/drain.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
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

export interface DrainConnection {
  /** Open and paused, as `openWebSocket` gives it. */
  socket: WebSocket;
  identity: DrainIdentity;
  handlers: DrainHandlers;
  /** The drains that are open, by stream: this one is in it while it is. */
  drains: Map<string, WebSocket>;
  report: Report;
  /** Closes the connection. */
  signal: AbortSignal;
}

/**
 * One drain over one connection, from the edge's challenge to the end. Resolves when it closed for no reason of
 * the protocol's, and all that came was handled.
 * @throws OnionhookError `ERR_DRAIN_FRAME` when the edge sent what it must not; one of {@link endError} when the
 * edge closed with a code of the protocol.
 */
export async function runDrain(connection: DrainConnection): Promise<void> {
  const { socket, identity, handlers, drains, report, signal } = connection;
  const stop = () => socket.close(1000);
  signal.addEventListener("abort", stop);
  const { promise: closed, resolve } = Promise.withResolvers<number>();
  socket.once("close", resolve);
  let state: DrainState = { phase: "connected" };
  let opened: string | undefined;
  let fault: unknown;
  // One at a time and in order: the queue keeps the order in which events were added.
  let tail = Promise.resolve();

  const onMessage = (data: Buffer, binary: boolean) => {
    try {
      const [next, outputs] = stepDrain(state, binary ? data : data.toString("utf8"), identity);
      state = next;
      for (const output of outputs) {
        if (output.do === "send") send(socket, output.message);
        else if (output.do === "opened") {
          opened = output.stream;
          drains.set(output.stream, socket);
          report("connected", { to: "edge", stream: output.stream });
          tail = tail.then(() => guard(repeat(output.stream)));
        } else if (output.do === "event") tail = tail.then(() => guard(take(output.event)));
        else tail = tail.then(() => guard(handlers.onSettled(output.stream, output.seq, output.code)));
      }
    } catch (error) {
      fault = error;
      socket.off("message", onMessage);
      socket.close(CLOSE.protocol);
    }
  };

  /** An acceptance may have been lost with the last connection. */
  async function repeat(stream: string): Promise<void> {
    for (const { seq, receipt } of await handlers.onOpened(stream)) {
      send(socket, { type: "done", seq, receipt });
    }
  }

  async function take(event: QueuedEvent): Promise<void> {
    const receipt = await handlers.onEvent(event);
    send(socket, { type: "stored", seq: event.seq });
    if (receipt !== undefined) send(socket, { type: "done", seq: event.seq, receipt });
  }

  /** What the queue could not take, the edge still has: it sends it again on the next connection. */
  async function guard(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      report("error", describeError(error));
      socket.close(1011);
    }
  }

  socket.on("message", onMessage);
  socket.resume();
  const code = await closed;
  signal.removeEventListener("abort", stop);
  if (opened !== undefined) {
    if (drains.get(opened) === socket) drains.delete(opened);
    report("disconnected", { from: "edge", stream: opened });
  }
  await tail;
  const error = fault ?? endError(code);
  if (error !== undefined) throw error;
}

/** Drops the message when the connection is not open any more: the edge sends again what is not done. */
export function send(socket: WebSocket, message: ToEdge): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
}

/** What the edge means by a close code of the protocol. */
function endError(code: number): OnionhookError | undefined {
  switch (code) {
    case CLOSE.unauthorised:
      return new OnionhookError("ERR_DRAIN_UNAUTHORISED", "the edge does not know this relay", {
        hint: "the edge's RELAYS needs the public half of this relay's sign key under this relay's name, and edge.url the host under which the edge sees itself",
      });
    case CLOSE.protocol:
      return new OnionhookError("ERR_DRAIN_PROTOCOL", "the edge did not expect what this relay sent", {
        hint: "deploy edge and relay of the same version",
      });
    case CLOSE.superseded:
      return new OnionhookError(
        "ERR_DRAIN_SUPERSEDED",
        "another drain of the stream was opened in this relay's name",
        {
          hint: "give each relay a name and a key of its own, in its edge.relay and in the edge's RELAYS",
        },
      );
    case CLOSE.silent:
      return new OnionhookError("ERR_DRAIN_SILENT", "the edge heard nothing of this relay for too long", {
        hint: "Tor or this machine was slow, or asleep; the drain is opened anew by itself",
        retryable: true,
      });
    case CLOSE.crowded:
      return new OnionhookError(
        "ERR_DRAIN_CROWDED",
        "too many others wait at the edge to prove who they are",
        {
          hint: "the drain is tried again by itself; if it stays, limit the rate at the edge (deploy/cloudflare)",
          retryable: true,
        },
      );
    default:
      return undefined;
  }
}
