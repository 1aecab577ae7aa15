import * as v from "valibot";
import { CLOSE, HEARTBEAT, HEARTBEAT_ANSWER } from "../../shared/drain.ts";
import { challengedSchema, type Drain, type Open, openSchema } from "./machine.ts";

const drainSchema = v.variant("phase", [challengedSchema, openSchema]);

/** The object's WebSockets with their drains, which hibernate as attachments. */
export class DrainSockets {
  readonly #state: DurableObjectState;
  /** In the order in which they came, as far as that is known after a hibernation. */
  readonly #drains = new Map<WebSocket, Drain>();

  constructor(state: DurableObjectState) {
    this.#state = state;
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(HEARTBEAT, HEARTBEAT_ANSWER));
    for (const socket of state.getWebSockets()) {
      // Some may be closing already.
      if (socket.readyState !== WebSocket.OPEN) continue;
      const drain = drainOf(socket);
      if (drain) this.#drains.set(socket, drain);
      else socket.close(CLOSE.protocol, "this socket is of another version of the edge");
    }
  }

  accept(socket: WebSocket, drain: Drain): void {
    this.#state.acceptWebSocket(socket);
    this.keep(socket, drain);
  }

  keep(socket: WebSocket, drain: Drain): void {
    socket.serializeAttachment(drain);
    this.#drains.set(socket, drain);
  }

  get(socket: WebSocket): Drain | undefined {
    return this.#drains.get(socket);
  }

  /** The socket is over: what its drain was, the first time that this is asked. */
  forget(socket: WebSocket): Drain | undefined {
    const drain = this.#drains.get(socket) ?? drainOf(socket);
    this.#drains.delete(socket);
    socket.serializeAttachment(null);
    return drain;
  }

  /** Those that are open; the one that was sent the newest event comes first, so that a relay keeps the order. */
  open(): [WebSocket, Open][] {
    const open: [WebSocket, Open][] = [];
    for (const [socket, drain] of this.#drains) if (drain.phase === "open") open.push([socket, drain]);
    return open.toSorted(([, a], [, b]) => b.cursor - a.cursor);
  }

  /** Those that did not prove who they are, the oldest first, and since when they may. */
  unproven(): [WebSocket, number][] {
    const waiting: [WebSocket, number][] = [];
    for (const [socket, drain] of this.#drains)
      if (drain.phase === "challenged") waiting.push([socket, drain.since]);
    return waiting.toSorted(([, a], [, b]) => a - b);
  }

  /** When the relay was last heard, its heartbeats included, which wake nobody; ms since 1970. */
  heardAt(socket: WebSocket, { heardAt }: Open): number {
    return Math.max(heardAt, this.#state.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0);
  }
}

/** Undefined for an attachment that another version wrote. */
function drainOf(socket: WebSocket): Drain | undefined {
  const drain = v.safeParse(drainSchema, socket.deserializeAttachment());
  return drain.success ? drain.output : undefined;
}
