import type { WebSocket } from "ws";
import { CLOSE, type ToEdge } from "../../shared/drain.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import { type Answer, type DrainIdentity, type DrainState, stepDrain } from "./machine.ts";
import type { QueuedEvent } from "../queue/queue.ts";

export interface DrainHandlers {
  /** An event came, perhaps not for the first time. */
  onEvent: (event: QueuedEvent) => void;
  /** The drain is open. `receipts`: whether the stream's events are done by a builder's receipt alone. */
  onOpened: (stream: string, receipts: boolean) => void;
  /** The edge accepted a receipt, or refused it with `code`. */
  onSettled: (stream: string, seq: number, code: string | undefined) => void;
}

/** A drain that is open. */
export interface OpenDrain {
  readonly stream: string;
  /** What the edge lets this relay ask. */
  readonly may: readonly string[];
  /** Dropped when the connection is not open any more: the edge sends again what is not done. */
  send(message: ToEdge): void;
  /** Asks, and resolves with the answer; rejects with `ERR_NO_DRAIN` when the connection ends, `ERR_EDGE_SILENT`. */
  ask(question: (id: number) => Extract<ToEdge, { id: number }>): Promise<Answer>;
  close(): void;
}

export interface DrainConnection {
  /** Open and paused, as `openWebSocket` gives it. */
  socket: WebSocket;
  identity: DrainIdentity;
  handlers: DrainHandlers;
  /** The drains that are open, by stream: this one is in it while it is. */
  drains: Map<string, OpenDrain>;
  report: Report;
  /** Closes the connection. */
  signal: AbortSignal;
}

/** For an answer through Tor, behind what is under way: 32 MiB at 2 MiB/s and some. */
const ANSWER_MS = 30_000;

/**
 * One drain over one connection, from the edge's challenge to the end. Resolves when it closed for no reason of
 * the protocol's.
 * @throws OnionhookError `ERR_DRAIN_FRAME` when the edge sent what it must not; one of {@link endError} when the
 * edge closed with a code of the protocol.
 */
export async function runDrain(connection: DrainConnection): Promise<void> {
  const { socket, identity, handlers, drains, report, signal } = connection;
  const stop = () => socket.close(1000);
  signal.addEventListener("abort", stop);
  const { promise: closed, resolve } = Promise.withResolvers<number>();
  socket.once("close", resolve);
  const questions = makeQuestions((message) => send(socket, message));
  let state: DrainState = { phase: "connected" };
  let drain: OpenDrain | undefined;
  let fault: unknown;

  const onMessage = (data: Buffer, binary: boolean) => {
    try {
      const [next, outputs] = stepDrain(state, binary ? data : data.toString("utf8"), identity);
      state = next;
      for (const output of outputs) {
        if (output.do === "send") send(socket, output.message);
        else if (output.do === "opened") {
          const { stream, receipts, may } = output;
          drain = {
            stream,
            may,
            send: (message) => send(socket, message),
            ask: questions.ask,
            close: stop,
          };
          drains.set(stream, drain);
          report("connected", { to: "edge", stream, receipts });
          handlers.onOpened(stream, receipts);
        } else if (output.do === "event") handlers.onEvent(output.event);
        else if (output.do === "answered") questions.answer(output.answer);
        else handlers.onSettled(output.stream, output.seq, output.code);
      }
    } catch (error) {
      fault = error;
      socket.off("message", onMessage);
      socket.close(CLOSE.protocol);
    }
  };

  socket.on("message", onMessage);
  socket.resume();
  const code = await closed;
  signal.removeEventListener("abort", stop);
  questions.end();
  if (drain !== undefined) {
    if (drains.get(drain.stream) === drain) drains.delete(drain.stream);
    report("disconnected", { from: "edge", stream: drain.stream });
  }
  const error = fault ?? endError(code);
  if (error !== undefined) throw error;
}

function send(socket: WebSocket, message: ToEdge): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
}

/** Questions to the edge that wait for their answers. */
function makeQuestions(ask: (message: ToEdge) => void) {
  const open = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  let last = 0;
  let ended = false;
  const noDrain = () =>
    new OnionhookError("ERR_NO_DRAIN", "the drain ended before the answer", { retryable: true });
  return {
    async ask(question: (id: number) => Extract<ToEdge, { id: number }>): Promise<Answer> {
      if (ended) throw noDrain();
      const id = (last += 1);
      const { promise, resolve, reject } = Promise.withResolvers<Answer>();
      const timer = setTimeout(() => {
        reject(
          new OnionhookError("ERR_EDGE_SILENT", `the edge gave no answer in ${ANSWER_MS} ms`, {
            retryable: true,
          }),
        );
      }, ANSWER_MS);
      open.set(id, { resolve, reject });
      ask(question(id));
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        open.delete(id);
      }
    },
    answer: (answer: Answer) => open.get(answer.id)?.resolve(answer),
    end() {
      ended = true;
      for (const { reject } of open.values()) reject(noDrain());
    },
  };
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
