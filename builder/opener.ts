import { createHmac, timingSafeEqual } from "node:crypto";
import { OnionhookError } from "../shared/errors.ts";
import { decodeEvent, type OpenedEvent } from "../shared/event.ts";
import type { Keyring } from "../shared/keyring.ts";
import { openSealed, type SealedMessage } from "../shared/sealed-payload.ts";
import { CANARY_TOPIC, TOPIC } from "../shared/topic.ts";

/** `altered`: strings were rewritten (docs/protocol.md §2), so that GitHub's signature cannot match. */
export type SignatureCheck = "verified" | "unchecked" | "altered";

/**
 * Opens an event and checks it: sealed by the edge, for this topic, and, where the webhook's secret is
 * known here, signed by GitHub. `shared`: the key that it was sealed with.
 * @param requireSignature what the signature does not cover is refused, since a forger may call it altered.
 * @throws OnionhookError `ERR_NO_KEY`, `ERR_PLAINTEXT`, `ERR_NOT_OPENED`, `ERR_EVENT_URI`, `ERR_EVENT_FORMAT`,
 * `ERR_SIGNATURE`, `ERR_ALTERED`
 */
export function openEvent(
  topic: string,
  payload: SealedMessage | undefined,
  keyring: Keyring,
  webhookSecret: string | undefined,
  requireSignature: boolean,
): OpenedEvent & { signature: SignatureCheck; shared: Uint8Array } {
  if (!TOPIC.test(topic))
    throw new OnionhookError("ERR_EVENT_URI", "an event came on a topic that is none of GitHub's");
  const { plaintext, shared } = openSealed(payload, keyring.keysFor("responder", topic));
  const event = decodeEvent(topic, plaintext);
  return { ...event, signature: checkSignature(event, webhookSecret, requireSignature), shared };
}

function checkSignature(
  { topic, delivery, rawBody }: OpenedEvent,
  secret: string | undefined,
  required: boolean,
): SignatureCheck {
  // GitHub signs no canary, and nothing is run for it.
  if (secret === undefined || topic === CANARY_TOPIC) return "unchecked";
  if (delivery.altered) {
    if (!required) return "altered";
    throw new OnionhookError(
      "ERR_ALTERED",
      "GitHub's signature does not cover the body that the edge sealed",
      {
        hint: "choose application/json at GitHub's webhook; or take require_signature out of builder.json",
      },
    );
  }
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
