import type { Clock } from "./clock.ts";
import { newId } from "./ids.ts";
import type { Member } from "./member.ts";
import { matchesWildcard, type Match } from "./uri.ts";

/** One pattern under one match policy, shared by all who subscribed to it. Lives while somebody does. */
export interface Subscription {
  readonly id: number;
  readonly uri: string;
  readonly match: Match;
  /** ISO 8601, UTC. */
  readonly created: string;
  readonly members: Set<Member>;
}

/** Every subscription of a realm, found by id, by pattern, by topic and by member. */
export class Subscriptions {
  readonly #clock: Clock;
  readonly #byId = new Map<number, Subscription>();
  readonly #byPattern: Record<Match, Map<string, Subscription>> = {
    exact: new Map(),
    prefix: new Map(),
    wildcard: new Map(),
  };
  readonly #byMember = new Map<Member, Set<Subscription>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(id: number): Subscription | undefined {
    return this.#byId.get(id);
  }

  lookup(uri: string, match: Match): Subscription | undefined {
    return this.#byPattern[match].get(uri);
  }

  list(match: Match): Subscription[] {
    return [...this.#byPattern[match].values()];
  }

  of(member: Member): Subscription[] {
    return [...(this.#byMember.get(member) ?? [])];
  }

  /** Those that an event on `topic` goes to; the exact one first. */
  matching(topic: string): Subscription[] {
    const found: Subscription[] = [];
    const exact = this.#byPattern.exact.get(topic);
    if (exact !== undefined) found.push(exact);
    for (const each of this.#byPattern.prefix.values()) if (topic.startsWith(each.uri)) found.push(each);
    for (const each of this.#byPattern.wildcard.values())
      if (matchesWildcard(each.uri.split("."), topic)) found.push(each);
    return found;
  }

  /** Adding twice is the same as once; `created` and `added` tell what was new. */
  add(
    member: Member,
    uri: string,
    match: Match,
  ): { subscription: Subscription; created: boolean; added: boolean } {
    let subscription = this.lookup(uri, match);
    const created = subscription === undefined;
    if (subscription === undefined) {
      const now = new Date(this.#clock.now()).toISOString();
      subscription = { id: newId(this.#byId), uri, match, created: now, members: new Set() };
      this.#byId.set(subscription.id, subscription);
      this.#byPattern[match].set(uri, subscription);
    }
    const added = !subscription.members.has(member);
    subscription.members.add(member);
    const own = this.#byMember.get(member) ?? new Set();
    this.#byMember.set(member, own.add(subscription));
    return { subscription, created, added };
  }

  /** Whether the subscription ended with it, or undefined when the member did not have it. */
  remove(member: Member, subscription: Subscription): { deleted: boolean } | undefined {
    if (!subscription.members.delete(member)) return undefined;
    const own = this.#byMember.get(member);
    own?.delete(subscription);
    if (own?.size === 0) this.#byMember.delete(member);
    if (subscription.members.size > 0) return { deleted: false };
    this.#byId.delete(subscription.id);
    this.#byPattern[subscription.match].delete(subscription.uri);
    return { deleted: true };
  }
}
