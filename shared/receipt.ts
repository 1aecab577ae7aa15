/**
 * A receipt is the builder's word that it has an event safe in its journal, sealed to the edge with
 * the pair of keys that sealed the event. The relay carries it and cannot make one: docs/protocol.md §4.
 */
import * as v from "valibot";
import { decodeUtf8, encodeUtf8 } from "./bytes.ts";
import { open, seal } from "./cryptobox.ts";
import { DELIVERY_ID, NAME } from "./delivery.ts";
import { OnionhookError } from "./errors.ts";

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const stream = v.pipe(v.string(), v.regex(NAME));

/** The inside. `kind` keeps it apart from an event, which is sealed with the same shared key. */
const receiptSchema = v.strictObject({
  v: v.literal(1),
  kind: v.literal("receipt"),
  stream,
  seq,
  delivery: v.pipe(v.string(), v.regex(DELIVERY_ID)),
  /** `sealTag` of the sealed event. */
  tag: v.string(),
});

export type Receipt = Omit<v.InferOutput<typeof receiptSchema>, "v" | "kind">;

/** The outside: the kwargs of what the builder publishes, so that the relay can match it. */
export const receiptMessage = v.object({
  stream,
  seq,
  /** The sealed receipt in base64. */
  receipt: v.pipe(v.string(), v.base64(), v.maxLength(2048)),
});

export type ReceiptMessage = v.InferOutput<typeof receiptMessage>;

/**
 * What a builder publishes beside receipts: it cannot take the event whose seal has this tag. Unsealed, since nothing is
 * done on it but to try again, and at last to keep the event for a person to look at.
 */
export const refusalMessage = v.object({
  /** `sealTag` of the sealed event. */
  tag: v.pipe(v.string(), v.base64(), v.maxLength(64)),
  refused: v.pipe(v.string(), v.regex(/^ERR_[A-Z_]{1,50}$/)),
});

export type RefusalMessage = v.InferOutput<typeof refusalMessage>;

export function sealReceipt(receipt: Receipt, shared: Uint8Array): Uint8Array<ArrayBuffer> {
  return seal(encodeUtf8(JSON.stringify({ v: 1, kind: "receipt", ...receipt })), shared);
}

/** @throws OnionhookError `ERR_NOT_OPENED` when it is not from the builder, `ERR_RECEIPT` when it is no receipt. */
export function openReceipt(sealed: Uint8Array, shared: Uint8Array): Receipt {
  const plaintext = open(sealed, shared);
  let inside: unknown;
  try {
    inside = JSON.parse(decodeUtf8(plaintext));
  } catch (cause) {
    throw new OnionhookError("ERR_RECEIPT", "the opened receipt is not JSON", { cause });
  }
  const receipt = v.safeParse(receiptSchema, inside);
  if (!receipt.success) throw new OnionhookError("ERR_RECEIPT", "what was opened is not a receipt");
  return receipt.output;
}
