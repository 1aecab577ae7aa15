import nacl from "tweetnacl";
import type { WebSocket } from "ws";
import { encodeBase64 } from "../../shared/bytes.ts";
import { CHUNK_BYTES, DRAIN_SUBPROTOCOL, drainProof, HEARTBEAT, HEARTBEAT_MS } from "../../shared/drain.ts";
import { describeError, OnionhookError } from "../../shared/errors.ts";
import type { Pauses } from "../../shared/host/backoff.ts";
import { keepTrying } from "../../shared/host/keep-trying.ts";
import { openWebSocket, UpgradeRefused } from "../../shared/host/websocket.ts";
import { type Report, reportAbout } from "../../shared/report.ts";
import { isCircuitFailure, makeCircuits } from "../../shared/tor/circuits.ts";
import { NO_WATCH, type TorWatch } from "../../shared/tor/watch.ts";
import { CIRCUIT_PAUSES, type CircuitPauses, startSearch } from "./circuits.ts";
import type { RelayConfig } from "../config.ts";
import { type DrainHandlers, type OpenDrain, runDrain } from "./connection.ts";
import { CIRCUIT_ERRORS, UPGRADE_HEADERS, upgradeError } from "./upgrade-outcome.ts";

export interface DrainClient {
  /**
   * The event is safe here. Like {@link done}, this is dropped while the stream's drain is down: the edge sends the
   * event again.
   */
  stored(stream: string, seq: number): void;
  /** Hands the edge the builder's receipt, or the word that there is none to be had. */
  done(stream: string, seq: number, receipt: string | undefined): void;
  /** The drains that are open. */
  open(): OpenDrain[];
  /** Opens every drain anew, so that the edge sends again what is not done. */
  restart(): void;
  /** Resolves when the signal has ended all drains. */
  readonly ended: Promise<void>;
}

/** Events of one stream that may be under way here, neither in the queue nor done: enough to fill a slow circuit. */
const WINDOW = 256;
/** Milliseconds for the edge's answer to a heartbeat: a round trip through Tor is under a second. */
const HEARTBEAT_ANSWER_MS = 10_000;

export interface DrainOptions {
  /** Of the Tor that drains are dialled through. */
  watch?: TorWatch;
  circuitPauses?: CircuitPauses;
}

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
  { watch = NO_WATCH, circuitPauses = CIRCUIT_PAUSES }: DrainOptions = {},
): DrainClient {
  const { edge, tor } = config;
  const { host } = new URL(edge.url);
  const { secretKey } = nacl.sign.keyPair.fromSeed(edge.seed);
  const prove = (stream: string, challenge: Uint8Array) =>
    encodeBase64(nacl.sign.detached(drainProof(host, stream, challenge), secretKey));
  const drains = new Map<string, OpenDrain>();
  // One for all: the edge knows anyway that the drains of a relay belong together.
  const circuits = makeCircuits("drain");
  /** Streams of which the queue has all that it was given since this process began. */
  const intact = new Set<string>();
  /** How often `restart` was called: a drain that was being opened meanwhile has said too much. */
  let generation = 0;

  function keepDrain(stream: string | undefined): Promise<void> {
    const key = stream ?? "";
    const identity = { relay: edge.relay, window: WINDOW, stream, prove, resume: () => intact.has(key) };
    const search = startSearch(circuitPauses);
    const about = reportAbout(report, { to: "edge" });
    const reportOf: Report =
      stream === undefined ? about : (event, fields) => about(event, { ...fields, stream });

    async function attempt(reached: () => void): Promise<Pauses | void> {
      const isolation = circuits.current();
      let socket: WebSocket;
      try {
        socket = await openWebSocket({
          url: drainUrl(edge.url, stream),
          peer: "the edge",
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
        if (isCircuitFailure(error)) circuits.leave(isolation);
        if (!(error instanceof OnionhookError && CIRCUIT_ERRORS.has(error.code))) throw watch.explain(error);
        circuits.leave(isolation);
        const next = search.vain(error.code);
        if (next.report) reportOf("error", describeError(error));
        return next.pauses;
      }
      search.found();
      watch.reached();
      const dialledIn = generation;
      const onOpened = (opened: string, receipts: boolean) => {
        if (dialledIn !== generation) return drains.get(opened)?.close();
        reached();
        intact.add(key);
        handlers.onOpened(opened, receipts);
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
    stored: (stream, seq) => drains.get(stream)?.send({ type: "stored", seq }),
    done: (stream, seq, receipt) =>
      drains.get(stream)?.send({ type: "done", seq, ...(receipt !== undefined && { receipt }) }),
    open: () => [...drains.values()],
    restart() {
      generation += 1;
      intact.clear();
      for (const drain of drains.values()) drain.close();
    },
    ended: Promise.all(kept).then(() => {}),
  };
}

function drainUrl(edgeUrl: string, stream: string | undefined): string {
  const url = new URL(edgeUrl);
  if (stream !== undefined) url.searchParams.set("stream", stream);
  return url.href;
}
