/**
 * The procedures below `wamp.subscription.`: what is subscribed to, and by how many. Names, arguments
 * and answers as Crossbar.io's (`crossbar/router/service.py`, 26.10); what the router announces itself
 * (`on_create` …) is the broker's.
 *
 * Subscriptions to `wamp.` topics are nobody's business: they are not listed.
 */
import { describeSubscription } from "./broker.ts";
import { RequestRefused } from "./faults.ts";
import { isDict } from "./payload.ts";
import type { Subscription, Subscriptions } from "./subscriptions.ts";
import { isMatch, isReserved, type Match } from "./uri.ts";

/** Takes a call's args, returns what it answers; refuses with {@link RequestRefused}. */
export type Procedure = (args: readonly unknown[]) => unknown;

export function makeMetaApi(subscriptions: Subscriptions): ReadonlyMap<string, Procedure> {
  const listed = (match: Match) => subscriptions.list(match).filter(isPublic).map(idOf);
  return new Map<string, Procedure>([
    [
      "wamp.subscription.list",
      () => ({ exact: listed("exact"), prefix: listed("prefix"), wildcard: listed("wildcard") }),
    ],
    [
      "wamp.subscription.lookup",
      ([topic, options]) => {
        const match = isDict(options) ? (options["match"] ?? "exact") : "exact";
        if (!isMatch(match)) throw invalid("match");
        const subscription = subscriptions.lookup(topicOf(topic), match);
        return subscription !== undefined && isPublic(subscription) ? subscription.id : null;
      },
    ],
    [
      "wamp.subscription.match",
      ([topic]) => {
        const ids = subscriptions.matching(topicOf(topic)).filter(isPublic).map(idOf);
        return ids.length > 0 ? ids : null;
      },
    ],
    ["wamp.subscription.get", ([id]) => describeSubscription(existing(subscriptions, id))],
    [
      "wamp.subscription.list_subscribers",
      ([id]) => [...existing(subscriptions, id).members].map(({ identity }) => identity.session),
    ],
    ["wamp.subscription.count_subscribers", ([id]) => existing(subscriptions, id).members.size],
  ]);
}

function existing(subscriptions: Subscriptions, id: unknown): Subscription {
  if (typeof id !== "number" && typeof id !== "bigint") throw invalid("subscription id");
  const subscription = subscriptions.get(Number(id));
  if (subscription === undefined)
    throw new RequestRefused("wamp.error.no_such_subscription", "no such subscription");
  if (!isPublic(subscription))
    throw new RequestRefused("wamp.error.not_authorized", "not authorized for this subscription");
  return subscription;
}

function topicOf(value: unknown): string {
  if (typeof value !== "string") throw invalid("topic");
  return value;
}

function invalid(what: string): RequestRefused {
  return new RequestRefused("wamp.error.invalid_argument", `not a ${what}`);
}

function isPublic({ uri }: Subscription): boolean {
  return !isReserved(uri);
}

function idOf({ id }: Subscription): number {
  return id;
}
