/**
 * The payload of a sealed call or its answer, as Autobahn's cryptobox has it: docs/protocol.md §5. The `uri` inside is
 * the procedure's, so that nothing sealed for one purpose is good for another.
 */
import * as v from "valibot";
import { decodeUtf8, encodeUtf8 } from "./bytes.ts";
import { open, seal } from "./cryptobox.ts";
import { OnionhookError } from "./errors.ts";

const envelope = v.object({ uri: v.string(), kwargs: v.record(v.string(), v.unknown()) });

export function sealKwargs(
  uri: string,
  kwargs: Readonly<Record<string, unknown>>,
  shared: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return seal(encodeUtf8(JSON.stringify({ uri, args: [], kwargs })), shared);
}

/** @throws OnionhookError `ERR_NOT_OPENED` when it is sealed with another key, `ERR_SEALED_CALL` when it is not for `uri`. */
export function openKwargs(uri: string, sealed: Uint8Array, shared: Uint8Array): Record<string, unknown> {
  const plaintext = open(sealed, shared);
  let inside: unknown;
  try {
    inside = JSON.parse(decodeUtf8(plaintext));
  } catch (cause) {
    throw new OnionhookError("ERR_SEALED_CALL", "what was opened is not JSON", { cause });
  }
  const call = v.safeParse(envelope, inside);
  if (!call.success || call.output.uri !== uri)
    throw new OnionhookError("ERR_SEALED_CALL", "what was opened was not sealed for this procedure");
  return call.output.kwargs;
}
