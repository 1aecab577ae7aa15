/** How messages go up: one behind the other, in frames that a slow circuit carries soon. */
import type { WebSocket } from "ws";
import { SLOW_CIRCUIT } from "../host/upload.ts";
import { toWire } from "./passthru.ts";
import type { Serializer } from "./serializers.ts";

export interface Sender {
  send(message: unknown[]): void;
  /** Bytes sent so far. */
  sent(): number;
  /** The router has answered what was sent last of so many bytes: all of them went up. */
  arrived(bytes: number): void;
  /** Milliseconds that a slow circuit takes for what is not known to have gone up. */
  leftMs(): number;
}

/**
 * Bytes of a WebSocket frame. Autobahn, and so Crossbar.io, takes a client for dead that answers no ping and ends no
 * frame within its `auto_ping_timeout`; the answer waits behind what goes up. A slow circuit carries this in 2 s.
 */
const FRAME_BYTES = 256 * 1024;

export function makeSender(socket: WebSocket, serializer: Serializer): Sender {
  const { binary } = serializer;
  let sent = 0;
  let arrived = 0;
  return {
    send(message) {
      const written = serializer.serialize(toWire(message));
      const bytes = typeof written === "string" ? Buffer.from(written) : written;
      sent += bytes.length;
      for (let at = 0; at < bytes.length; at += FRAME_BYTES) {
        const end = at + FRAME_BYTES;
        socket.send(bytes.subarray(at, end), { binary, fin: end >= bytes.length });
      }
    },
    sent: () => sent,
    arrived: (bytes) => void (arrived = Math.max(arrived, bytes)),
    leftMs: () => (1000 * (sent - arrived)) / SLOW_CIRCUIT,
  };
}
