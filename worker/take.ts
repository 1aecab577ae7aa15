/**
 * What the Worker hands to an outbox with a payload. After a deploy the two may be of different versions for
 * minutes: a field is only ever added, with a default; a change that the other side must not misread
 * raises `v`, and an outbox that does not know it refuses, so that GitHub shows the delivery as failed.
 */
import * as v from "valibot";
import { OnionhookError } from "../shared/errors.ts";

/** Payloads above go as a stream, and one at a time: each fills a part of the object's memory. */
export const LARGE_BYTES = 1024 * 1024;

const schema = v.object({
  v: v.literal(1),
  /** GitHub's GUID. */
  id: v.string(),
  event: v.string(),
  topic: v.string(),
  hookId: v.nullable(v.number()),
  signature: v.string(),
  /** Size of the payload, which follows. */
  bytes: v.number(),
  /** Whether `signature` is not of the payload itself. */
  form: v.optional(v.boolean(), false),
  leadingNul: v.array(v.number()),
  bodyTag: v.string(),
  /** Whether the same body may be meant twice: it is a duplicate only until it is done. */
  repeatable: v.optional(v.boolean(), false),
});

export type TakeCall = v.InferInput<typeof schema>;
export type TakeRequest = v.InferOutput<typeof schema>;

/** What an outbox answers for a delivery that it holds durably. */
export interface Taken {
  stream: string;
  seq: number;
  /** Whether it was there already: nothing new was stored. */
  duplicate: boolean;
}

/** @throws OnionhookError `ERR_VERSION` */
export function parseTake(call: unknown): TakeRequest {
  const request = v.safeParse(schema, call);
  if (!request.success)
    throw new OnionhookError("ERR_VERSION", "Worker and outbox are of versions that do not fit together");
  return request.output;
}

/** Read from a stream at a time. */
const FILL_BYTES = 1024 * 1024;

/** @throws OnionhookError `ERR_BODY_LENGTH` when there are not exactly as many bytes as there is room. */
export async function fill(
  room: Uint8Array,
  payload: Uint8Array | ReadableStream<Uint8Array>,
): Promise<void> {
  if (payload instanceof Uint8Array) {
    if (payload.length !== room.length) throw wrongLength();
    return room.set(payload);
  }
  const reader = payload.getReader({ mode: "byob" });
  // As it comes, a stream has pieces of 4 KiB, each of which costs its turn.
  let piece = new Uint8Array(FILL_BYTES);
  for (let at = 0; ;) {
    const { done, value } = await reader.readAtLeast(piece.length, piece);
    if (value) {
      if (at + value.length > room.length) throw wrongLength();
      room.set(value, at);
      at += value.length;
    }
    if (done || !value || value.length < FILL_BYTES) {
      if (at !== room.length) throw wrongLength();
      return;
    }
    piece = new Uint8Array(value.buffer);
  }
}

function wrongLength(): OnionhookError {
  return new OnionhookError("ERR_BODY_LENGTH", "the payload has another size than was announced");
}
