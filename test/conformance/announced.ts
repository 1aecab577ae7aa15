/** The features that our router announces in WELCOME, and the scenarios that show each. */
import { meta } from "./meta.ts";
import { pubsub } from "./pubsub.ts";
import { registrations } from "./registrations.ts";
import { rpc } from "./rpc.ts";
import { wireCalls } from "./wire-calls.ts";
import { wire } from "./wire.ts";

const titles = [...pubsub, ...rpc, ...registrations, ...meta, ...wire, ...wireCalls].map(
  ({ title }) => title,
);

/** By the beginning of their titles. */
const SHOWN_BY: Readonly<Record<string, readonly string[]>> = {
  publisher_identification: ["the publisher is disclosed"],
  publisher_exclusion: ["who gets it: exclude_me false"],
  subscriber_blackwhite_listing: ["who gets it: exclude", "who gets it: eligible"],
  pattern_based_subscription: ["each of a session's overlapping subscriptions"],
  subscription_meta_api: ["subscriptions are looked up", "the life of a subscription"],
  session_meta_api: ["sessions are counted", "joining and leaving"],
  payload_transparency: ["sealed bytes come unread", "sealed calls and results"],
  payload_encryption_cryptobox: ["sealed bytes come unread", "sealed calls and results"],
  caller_identification: ["the caller is disclosed"],
  call_canceling: ["a canceled call ends", "killnowait", "kill:", "skip"],
  call_timeout: ["a call that takes too long"],
  progressive_call_results: ["progressive results come", "progress that was asked for"],
  pattern_based_registration: ["of the registrations that match"],
  shared_registration: ["callees that share a procedure"],
  registration_meta_api: ["registrations are looked up", "the life of a registration"],
};

/** The scenarios for a feature; undefined for one that none is known for. */
export function scenariosFor(feature: string): readonly string[] | undefined {
  return SHOWN_BY[feature]?.flatMap((start) => titles.filter((title) => title.startsWith(start)));
}
