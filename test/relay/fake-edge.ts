/**
 * An edge's outbox over the drain protocol: it numbers nothing and seals nothing, keeps what a test puts into it until
 * it is done, and sends what is not done again on a new connection, as docs/protocol.md §3 says.
 */
import type { WebSocket } from "ws";
import type { QueuedEvent } from "../../relay/queue/queue.ts";
import type { ToEdge } from "../../shared/drain.ts";
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { plainEvent } from "./builder-peer.ts";
import { type FrontDoor, sendTo, startFrontDoor } from "./drain/front-door.ts";

export interface FakeEdge {
  readonly url: string;
  /** Sends it now, and on each connection until it is done. */
  put(...events: QueuedEvent[]): void;
  /** Numbers that the relay said were stored. */
  readonly stored: number[];
  /** Each `done`, in order. */
  readonly done: [seq: number, receipt: string | undefined][];
  /** Numbers that are not done. */
  undone(): number[];
  /** What to answer to a `done`: accepted, unless this says otherwise. */
  judge: (seq: number, receipt: string | undefined) => "accept" | "say nothing" | `ERR_${string}`;
  /** Ends every connection without a word. */
  hangUp(): void;
  close(): Promise<void>;
}

export async function startFakeEdge(
  welcome: { receipts?: boolean; may?: string[] } = {},
  stream = "docs",
): Promise<FakeEdge> {
  const undone = new Map<number, QueuedEvent>();
  const kept = new Map<number, QueuedEvent>();
  const atRelay = new Set<number>();
  let open: WebSocket | undefined;
  let resumes = false;

  function transmit({ seq, topic, delivery, sealed }: QueuedEvent, replay = false): void {
    if (!open) return;
    sendTo(open, {
      type: "event",
      seq,
      topic,
      delivery,
      bytes: sealed.length,
      ...(replay && { replay: true }),
    });
    open.send(sealed);
  }
  function put(...events: QueuedEvent[]): void {
    for (const event of events) {
      undone.set(event.seq, event);
      kept.set(event.seq, event);
      transmit(event);
    }
  }
  function onDone(socket: WebSocket, seq: number, receipt: string | undefined): void {
    edge.done.push([seq, receipt]);
    const judgement = edge.judge(seq, receipt);
    if (judgement === "say nothing") return;
    if (judgement !== "accept") return sendTo(socket, { type: "refused", seq, code: judgement });
    undone.delete(seq);
    sendTo(socket, { type: "accepted", seq });
  }
  function onMessage(message: ToEdge, socket: WebSocket): void {
    switch (message.type) {
      case "hello":
        resumes = message.resume === true;
        return;
      case "credit":
        open = socket;
        if (!resumes) atRelay.clear();
        for (const [seq, event] of undone) if (!atRelay.has(seq)) transmit(event);
        return;
      case "stored":
        atRelay.add(message.seq);
        edge.stored.push(message.seq);
        return;
      case "done":
        return onDone(socket, message.seq, message.receipt);
      case "canary": {
        const underWay = [...undone.values()].find(({ topic }) => topic === CANARY_TOPIC);
        const seq = underWay?.seq ?? Math.max(0, ...kept.keys()) + 1;
        sendTo(socket, { type: "canary", id: message.id, seq });
        return underWay ? undefined : put(plainEvent(seq, stream, { topic: CANARY_TOPIC }));
      }
      case "replay": {
        const { of } = message;
        const found = [...kept.values()].filter(({ seq }) => "from" in of && seq >= of.from && seq <= of.to);
        sendTo(socket, { type: "replaying", id: message.id, events: found.length });
        for (const event of found) transmit(event, true);
        return;
      }
      default:
    }
  }

  const door: FrontDoor = await startFrontDoor({
    exit: {
      address: { host: "127.0.0.1", port: 0 },
      credentials: [],
      credentialOf: () => undefined,
      close: async () => {},
    },
    streamOf: () => stream,
    onMessage,
    ...welcome,
  });
  const edge: FakeEdge = {
    url: `ws://127.0.0.1:${door.port}/drain`,
    put,
    stored: [],
    done: [],
    undone: () => [...undone.keys()],
    judge: () => "accept",
    hangUp() {
      open = undefined;
      for (const socket of door.sockets) socket.terminate();
    },
    close: () => door.close(),
  };
  return edge;
}
