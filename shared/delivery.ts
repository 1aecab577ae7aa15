import * as v from "valibot";

/** What the edge says of a delivery inside the seal: the last key, `_delivery`, of the event's kwargs. */
export interface DeliveryRecord {
  v: 1;
  /** GitHub's GUID, from `X-GitHub-Delivery`; the same again on a redelivery. */
  id: string;
  /** `X-GitHub-Event`, lower case. */
  event: string;
  /** The body's own `hook_id`, of an event that has one; else `X-GitHub-Hook-ID`, if it was sent. */
  hook_id: number | null;
  /** When the edge took it: ISO 8601, UTC, milliseconds. */
  received_at: string;
  stream: string;
  /** Gapless from 1 within the stream. */
  seq: number;
  /** Whether the same body had been stored under the same GUID before. */
  redelivery: boolean;
  /** `X-Hub-Signature-256` as GitHub sent it. */
  signature: string;
  /** Size of the raw body. */
  body_bytes: number;
  /** True when `signature` does not cover the body: it came as a form, or strings beginning with U+0000 were rewritten. */
  altered: boolean;
}

/** A name of ours: of a stream, a recipient or a relay. Safe in a queue's job id, a WAMP URI and a file name. */
export const NAME = /^[a-z][a-z0-9-]{0,62}$/;

/** GitHub sends a UUID; anything of its alphabet and length is taken. */
export const DELIVERY_ID = /^[0-9A-Za-z-]{8,64}$/;

/** GitHub sends lower case; the digits of a proxy that does not are as good. */
export const SIGNATURE = /^sha256=[0-9a-fA-F]{64}$/;

export const deliveryRecord = v.object({
  v: v.literal(1),
  id: v.pipe(v.string(), v.regex(DELIVERY_ID)),
  event: v.string(),
  hook_id: v.nullable(v.number()),
  received_at: v.pipe(v.string(), v.isoTimestamp()),
  stream: v.pipe(v.string(), v.regex(NAME)),
  seq: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  redelivery: v.boolean(),
  signature: v.pipe(v.string(), v.regex(SIGNATURE)),
  body_bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(2)),
  altered: v.boolean(),
});
