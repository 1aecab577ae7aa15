/** The builder's part: opens what the relay drained, and seals the receipt for it. */
import { open, sealTag } from "../../shared/cryptobox.ts";
import { decodeEvent, type OpenedEvent } from "../../shared/event.ts";
import { sealReceipt } from "../../shared/receipt.ts";
import { STREAM, shared } from "./parties.ts";
import type { DrainedEvent } from "./relay-socket.ts";

export function openDrained({ topic, sealed }: DrainedEvent, key = shared): OpenedEvent {
  return decodeEvent(topic, open(sealed, key));
}

export function receiptFor(
  event: Pick<DrainedEvent, "seq" | "delivery" | "sealed">,
  key = shared,
  stream = STREAM,
): Uint8Array {
  const { seq, delivery, sealed } = event;
  return sealReceipt({ stream, seq, delivery, tag: sealTag(sealed) }, key);
}
