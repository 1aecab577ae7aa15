import { encodeUtf8 } from "../../shared/bytes.ts";
import type { OpenedEvent } from "../../shared/event.ts";

/** An opened push, number `seq` of its stream. */
export function someEvent(seq: number, body: string, stream = "builder"): OpenedEvent {
  return {
    topic: "webhook.github.push",
    rawBody: encodeUtf8(body),
    delivery: {
      v: 1,
      id: `delivery-${seq}`,
      event: "push",
      hook_id: null,
      received_at: "2026-11-21T00:00:00.000Z",
      stream,
      seq,
      redelivery: false,
      signature: `sha256=${"0".repeat(64)}`,
      body_bytes: body.length,
      altered: false,
    },
  };
}
