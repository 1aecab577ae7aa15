import { OnionhookError } from "./errors.ts";

/** Every event of GitHub is published under this prefix; a builder's KeyRing needs one key, for it. */
export const TOPIC_PREFIX = "webhook.github.";

/** Every topic of an event, and nothing else. */
export const TOPIC = /^webhook\.github\.[a-z][a-z0-9_]{0,99}$/;

/** Where builders publish their receipts, and their refusals. */
export const RECEIPT_TOPIC = "webhook.receipt";

/** Where a builder asks for events that it misses: docs/protocol.md §5. */
export const REPLAY_PROCEDURE = "webhook.replay";

/** The event by which a relay tests the whole way: none of GitHub's, and no rule is run for it. */
export const CANARY_EVENT = "onionhook_canary";
export const CANARY_TOPIC = `${TOPIC_PREFIX}${CANARY_EVENT}`;

/**
 * The topic of a GitHub event, e.g. `webhook.github.push` for `push`.
 * @throws OnionhookError `ERR_EVENT_NAME` when the name is not one that a WAMP URI component may hold.
 */
export function topicOf(event: string): string {
  const name = event.toLowerCase();
  if (!/^[a-z][a-z0-9_]{0,99}$/.test(name)) {
    throw new OnionhookError("ERR_EVENT_NAME", "an event name has letters, digits and underscores only", {
      hint: "GitHub sends the name in the X-GitHub-Event header, for example push",
    });
  }
  return TOPIC_PREFIX + name;
}
