import { createHmac, timingSafeEqual } from "node:crypto";
import { CRYPTOBOX, open } from "../shared/cryptobox.ts";
import { OnionhookError } from "../shared/errors.ts";
import { decodeEvent, type OpenedEvent } from "../shared/event.ts";
import { CANARY_TOPIC, TOPIC } from "../shared/topic.ts";
import type { Passthru } from "../shared/wamp/passthru.ts";

/** `altered`: strings were rewritten (docs/protocol.md §2), so that GitHub's signature cannot match. */
export type SignatureCheck = "verified" | "unchecked" | "altered";

/**
 * Opens an event and checks it: sealed by the edge, for this topic, and, where the webhook's secret is
 * known here, signed by GitHub. `sharedKeys`: one for each of our box keys; the one that it was sealed
 * with comes back.
 * @throws OnionhookError `ERR_PLAINTEXT`, `ERR_NOT_OPENED`, `ERR_EVENT_URI`, `ERR_EVENT_FORMAT`,
 * `ERR_SIGNATURE`
 */
export function openEvent(
  topic: string,
  payload: Passthru | undefined,
  sharedKeys: readonly Uint8Array[],
  webhookSecret: string | undefined,
): OpenedEvent & { signature: SignatureCheck; shared: Uint8Array } {
  if (!TOPIC.test(topic))
    throw new OnionhookError("ERR_EVENT_URI", "an event came on a topic that is none of GitHub's");
  if (payload?.algo !== CRYPTOBOX || payload.serializer !== "json") {
    throw new OnionhookError("ERR_PLAINTEXT", "an event that is not sealed was refused", {
      hint: "somebody who may publish on these topics is not our relay",
    });
  }
  const [plaintext, shared] = openWithOne(payload.bytes, sharedKeys);
  const event = decodeEvent(topic, plaintext);
  return { ...event, signature: checkSignature(event, webhookSecret), shared };
}

function openWithOne(
  sealed: Uint8Array,
  [shared, ...others]: readonly Uint8Array[],
): [Uint8Array, Uint8Array] {
  if (!shared) throw new RangeError("no key");
  try {
    return [open(sealed, shared), shared];
  } catch (error) {
    if (others.length === 0) throw error;
    return openWithOne(sealed, others);
  }
}

function checkSignature(
  { topic, delivery, rawBody }: OpenedEvent,
  secret: string | undefined,
): SignatureCheck {
  // GitHub signs no canary, and nothing is run for it.
  if (secret === undefined || topic === CANARY_TOPIC) return "unchecked";
  if (delivery.altered) return "altered";
  const expected = createHmac("sha256", secret).update(rawBody).digest();
  const stated = Buffer.from(delivery.signature.slice("sha256=".length), "hex");
  if (stated.length !== expected.length || !timingSafeEqual(stated, expected)) {
    throw new OnionhookError(
      "ERR_SIGNATURE",
      "GitHub's signature does not match the body that the edge sealed",
      {
        hint: "the webhook's secret here and at the edge must be the same",
      },
    );
  }
  return "verified";
}
