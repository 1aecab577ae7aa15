import nacl from "tweetnacl";
import type { WebSocket } from "ws";
import { encodeBase64 } from "../shared/bytes.ts";
import { CHUNK_BYTES, DRAIN_SUBPROTOCOL, drainProof, HEARTBEAT, HEARTBEAT_MS } from "../shared/drain.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import type { Pauses } from "../shared/host/backoff.ts";
import { keepTrying } from "../shared/host/keep-trying.ts";
import { openWebSocket, UpgradeRefused } from "../shared/host/websocket.ts";
import type { Report } from "../shared/report.ts";
import { CIRCUIT_PAUSES, type CircuitPauses, makeCircuits, startSearch } from "./circuits.ts";
import type { RelayConfig } from "./config.ts";
import { type DrainHandlers, runDrain, send } from "./drain-connection.ts";
import { CIRCUIT_ERRORS, UPGRADE_HEADERS, upgradeError } from "./upgrade-outcome.ts";

export interface DrainClient {
  /** Hands the edge the builder's receipt. While the stream's drain is down this is dropped: the edge sends the
   *  event again, and `onEvent` answers with the receipt. */
  done(stream: string, seq: number, receipt: string): void;
  /** Opens every drain anew, so that the edge sends again what is not done. */
  restart(): void;
  /** Resolves when the signal has ended all drains. */
  readonly ended: Promise<void>;
}

/** Events of one stream that may be under way to this relay, not yet durable. */
const WINDOW = 64;
/** Milliseconds for the edge's answer to a heartbeat: a round trip through Tor is under a second. */
const HEARTBEAT_ANSWER_MS = 10_000;

/**
 * Keeps one drain open for each of `edge.streams`, or a single one, until the signal. Each is tried by itself: after
 * every end it is dialled again with capped backoff, through Tor or not at all; when the front door turns away an
 * exit, on another circuit. What `report` gets of a drain whose stream is configured has `stream`.
 */
export function startDrains(
  config: Pick<RelayConfig, "edge" | "tor">,
  handlers: DrainHandlers,
  report: Report,
  signal: AbortSignal,
  circuitPauses: CircuitPauses = CIRCUIT_PAUSES,
): DrainClient {
  const { edge, tor } = config;
  const { host } = new URL(edge.url);
  const { secretKey } = nacl.sign.keyPair.fromSeed(edge.seed);
  const prove = (stream: string, challenge: Uint8Array) =>
    encodeBase64(nacl.sign.detached(drainProof(host, stream, challenge), secretKey));
  const drains = new Map<string, WebSocket>();
  const circuits = makeCircuits();
  /** Streams of which the queue has all that it was given since this process began. */
  const intact = new Set<string>();

  function keepDrain(stream: string | undefined): Promise<void> {
    const key = stream ?? "";
    const identity = { relay: edge.relay, window: WINDOW, stream, prove, resume: () => intact.has(key) };
    const search = startSearch(circuitPauses);
    const reportOf: Report =
      stream === undefined ? report : (event, fields) => report(event, { ...fields, stream });

    async function attempt(): Promise<Pauses | void> {
      const isolation = circuits.current();
      let socket: WebSocket;
      try {
        socket = await openWebSocket({
          url: drainUrl(edge.url, stream),
          protocols: [DRAIN_SUBPROTOCOL],
          tor,
          isolation,
          maxMessageBytes: CHUNK_BYTES,
          headers: UPGRADE_HEADERS,
          heartbeat: { text: HEARTBEAT, everyMs: HEARTBEAT_MS, answerMs: HEARTBEAT_ANSWER_MS },
          signal,
        });
      } catch (thrown) {
        const error = thrown instanceof UpgradeRefused ? upgradeError(thrown.answer) : thrown;
        if (!(error instanceof OnionhookError && CIRCUIT_ERRORS.has(error.code))) throw error;
        circuits.leave(isolation);
        const next = search.vain(error.code);
        if (next.report) reportOf("error", describeError(error));
        return next.pauses;
      }
      search.found();
      const onOpened = (opened: string) => {
        intact.add(key);
        return handlers.onOpened(opened);
      };
      await runDrain({
        socket,
        identity,
        handlers: { ...handlers, onOpened },
        drains,
        report: reportOf,
        signal,
      });
    }
    return keepTrying(attempt, reportOf, signal);
  }

  const kept = (edge.streams ?? [undefined]).map(keepDrain);
  return {
    done(stream, seq, receipt) {
      const socket = drains.get(stream);
      if (socket) send(socket, { type: "done", seq, receipt });
    },
    restart() {
      intact.clear();
      for (const socket of drains.values()) socket.close(1000);
    },
    ended: Promise.all(kept).then(() => {}),
  };
}

function drainUrl(edgeUrl: string, stream: string | undefined): string {
  const url = new URL(edgeUrl);
  if (stream !== undefined) url.searchParams.set("stream", stream);
  return url.href;
}
