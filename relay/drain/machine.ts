/**
 * The relay's side of the drain protocol (docs/protocol.md §3) as a pure machine over frames.
 *
 * | phase       | frame                  | next        | outputs                         |
 * |-------------|------------------------|-------------|---------------------------------|
 * | `connected` | `challenge`            | `proving`   | `hello` with the proof          |
 * | `proving`   | `welcome`              | `open`      | opened, `credit`                |
 * | `open`      | `event`                | `receiving` |                                 |
 * | `receiving` | binary, more to come   | `receiving` |                                 |
 * | `receiving` | binary, the last       | `open`      | the event                       |
 * | `open`      | `accepted`, `refused`  | `open`      | settled                         |
 * | `open`      | `replaying`, `redelivered`, `canary` | `open` | answered            |
 * | any         | `pong`                 | the same    |                                 |
 * | any         | anything else          | —           | `ERR_DRAIN_FRAME` is thrown     |
 *
 * The answer to a heartbeat comes whenever it likes, also between an event's header and its bytes: the
 * edge's runtime sends it, not the edge. A challenge for another stream than the one that was asked for is
 * refused before it is answered: an edge that lies gets no proof that it could use elsewhere.
 */
import { concatBytes, decodeBase64 } from "../../shared/bytes.ts";
import { CHUNK_BYTES, parseToRelay, type ToEdge, type ToRelay } from "../../shared/drain.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { QueuedEvent } from "../queue/queue.ts";

type Header = Extract<ToRelay, { type: "event" }>;

export type DrainState =
  | { phase: "connected" }
  | { phase: "proving"; stream: string }
  | { phase: "open"; stream: string }
  | { phase: "receiving"; stream: string; header: Header; chunks: Uint8Array[]; missing: number };

export type DrainOutput =
  | { do: "send"; message: ToEdge }
  /** `may`: what the edge lets this relay ask. */
  | { do: "opened"; stream: string; receipts: boolean; may: readonly string[] }
  | { do: "event"; event: QueuedEvent }
  /** `code`: why the edge refused the receipt; undefined when it accepted. */
  | { do: "settled"; stream: string; seq: number; code: string | undefined }
  | { do: "answered"; answer: Answer };

/** The edge's answer to a question with an `id`. */
export type Answer = Extract<ToRelay, { id: number }>;

/** What this relay is: its name at the edge, its proof, and how many events it takes at a time. */
export interface DrainIdentity {
  relay: string;
  window: number;
  /** The only stream that is proven for; undefined: whichever the edge names, it has one. */
  stream: string | undefined;
  /** Whether the queue still has all that was said `stored` for on this stream. */
  resume(): boolean;
  /** Signs the proof for a stream and a challenge; base64. */
  prove(stream: string, challenge: Uint8Array): string;
}

/** More than 25 MiB sealed and padded: an edge that announces more is wrong. */
const MAX_SEALED_BYTES = 32 * 1024 * 1024;

/** @throws OnionhookError `ERR_DRAIN_FRAME` */
export function stepDrain(
  state: DrainState,
  frame: string | Uint8Array,
  identity: DrainIdentity,
): [DrainState, DrainOutput[]] {
  if (typeof frame !== "string") return receive(state, frame);
  const message = parseToRelay(frame);
  if (message.type === "pong") return [state, []];
  if (state.phase === "connected" && message.type === "challenge") {
    const { stream } = message;
    if (identity.stream !== undefined && stream !== identity.stream) {
      throw unexpected("a challenge for another stream than the one that was asked for");
    }
    const signature = identity.prove(stream, decodeBase64(message.challenge));
    return [
      { phase: "proving", stream },
      [
        {
          do: "send",
          message: { type: "hello", relay: identity.relay, signature, resume: identity.resume() },
        },
      ],
    ];
  }
  if (state.phase === "proving" && message.type === "welcome") {
    const { stream } = state;
    return [
      { phase: "open", stream },
      [
        { do: "opened", stream, receipts: message.receipts, may: message.may },
        { do: "send", message: { type: "credit", events: identity.window } },
      ],
    ];
  }
  if (state.phase === "open") {
    const { stream } = state;
    if (message.type === "event" && message.bytes <= MAX_SEALED_BYTES) {
      return [{ phase: "receiving", stream, header: message, chunks: [], missing: message.bytes }, []];
    }
    if (message.type === "accepted" || message.type === "refused") {
      const code = message.type === "refused" ? message.code : undefined;
      return [state, [{ do: "settled", stream, seq: message.seq, code }]];
    }
    if ("id" in message) return [state, [{ do: "answered", answer: message }]];
  }
  throw unexpected(`${message.type} while ${state.phase}`);
}

function receive(state: DrainState, chunk: Uint8Array): [DrainState, DrainOutput[]] {
  if (state.phase !== "receiving") throw unexpected(`a binary frame while ${state.phase}`);
  const missing = state.missing - chunk.length;
  if (missing < 0 || chunk.length > CHUNK_BYTES) throw unexpected("a binary frame that is too long");
  if (chunk.length === 0) throw unexpected("an empty binary frame");
  const chunks = [...state.chunks, chunk];
  if (missing > 0) return [{ ...state, chunks, missing }, []];
  const { seq, topic, delivery } = state.header;
  const event = { stream: state.stream, seq, topic, delivery, sealed: concatBytes(...chunks) };
  return [{ phase: "open", stream: state.stream }, [{ do: "event", event }]];
}

function unexpected(what: string): OnionhookError {
  return new OnionhookError("ERR_DRAIN_FRAME", `the edge sent ${what}`);
}
