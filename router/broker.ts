import type { Serializer } from "../shared/wamp/serializers.ts";
import { parseAudience } from "./audience.ts";
import { EVENT, PUBLISHED, SUBSCRIBED, UNSUBSCRIBED } from "./codes.ts";
import { RequestRefused } from "./faults.ts";
import { newId } from "./ids.ts";
import { disclosure, tell, toFrame, withPayload, type Member } from "./member.ts";
import type { RequestId } from "./fields.ts";
import type { Holding, Holdings } from "./holdings.ts";
import type { Publish, Subscribe } from "./messages.ts";
import type { Payload } from "./payload.ts";
import { allowing, type Permission } from "./permissions.ts";
import { isPattern, isReserved } from "./uri.ts";

type Subscription = Holding;

/** What the broker announces of subscriptions, as topics below `wamp.subscription.`. */
type Announcement = "on_create" | "on_subscribe" | "on_unsubscribe" | "on_delete";

export interface BrokerParts {
  readonly subscriptions: Holdings;
  readonly permissionsOf: (member: Member) => readonly Permission[];
}

/** An event on its way: who published what, where, and who shall have it. */
interface Event {
  readonly topic: string;
  readonly publication: number;
  readonly details: Readonly<Record<string, unknown>>;
  readonly payload: Payload;
  readonly wants: (member: Member) => boolean;
}

type Delivery = readonly [to: Member, frame: Uint8Array];

/** Publish and subscribe within one realm. Refusals are thrown as {@link RequestRefused}. */
export class Broker {
  readonly #subscriptions: Holdings;
  readonly #permissionsOf: BrokerParts["permissionsOf"];

  constructor({ subscriptions, permissionsOf }: BrokerParts) {
    this.#subscriptions = subscriptions;
    this.#permissionsOf = permissionsOf;
  }

  /**
   * Sends the event to everybody who is to have it, after its acknowledgement. Nobody gets it, and it is
   * refused, when it cannot be written in the serializer of one of them.
   */
  publish(from: Member, { request, topic, acknowledge, options, payload }: Publish): void {
    if (isReserved(topic))
      throw new RequestRefused("wamp.error.invalid_uri", "this topic is the router's own");
    const permission = allowing(this.#permissionsOf(from), "publish", topic);
    if (permission === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to publish");
    const publication = newId();
    const details = permission.disclose.publisher ? disclosure("publisher", from) : {};
    const wants = parseAudience(options, from);
    const deliveries = this.#prepare({ topic, publication, details, payload, wants });
    if (acknowledge) tell(from, [PUBLISHED, request, publication]);
    for (const [member, frame] of deliveries) member.send(frame);
  }

  subscribe(member: Member, { request, topic, match }: Subscribe): void {
    if (!isPattern(topic, match)) throw new RequestRefused("wamp.error.invalid_uri", "malformed topic");
    if (allowing(this.#permissionsOf(member), "subscribe", topic) === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to subscribe");
    const { holding, created, added } = this.#subscriptions.add(member, topic, match, {});
    tell(member, [SUBSCRIBED, request, holding.id]);
    if (created) this.#announce("on_create", member, holding, describeSubscription(holding));
    if (added) this.#announce("on_subscribe", member, holding, holding.id);
  }

  unsubscribe(member: Member, request: RequestId, id: number): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined || !subscription.members.has(member))
      throw new RequestRefused("wamp.error.no_such_subscription", "no such subscription");
    tell(member, [UNSUBSCRIBED, request]);
    this.#remove(member, subscription);
  }

  /** Ends all subscriptions of a member that has left. */
  leave(member: Member): void {
    for (const subscription of this.#subscriptions.of(member)) this.#remove(member, subscription);
  }

  #remove(member: Member, subscription: Subscription): void {
    const removed = this.#subscriptions.remove(member, subscription);
    if (removed === undefined) return;
    this.#announce("on_unsubscribe", member, subscription, subscription.id);
    if (removed.deleted) this.#announce("on_delete", member, subscription, subscription.id);
  }

  /** Publishes as the router, to everybody who may see it. */
  announce(topic: string, args: readonly unknown[]): void {
    const payload = { tail: [args], encoding: {} };
    const event = { topic, publication: newId(), details: {}, payload, wants: () => true };
    for (const [to, frame] of this.#prepare(event)) to.send(frame);
  }

  /** Subscriptions to the announcements themselves are not announced. */
  #announce(what: Announcement, { identity }: Member, { uri }: Subscription, detail: unknown): void {
    if (!isReserved(uri)) this.announce(`wamp.subscription.${what}`, [identity.session, detail]);
  }

  /** One frame for each subscription and serializer, however many get it. */
  #prepare(event: Event): Delivery[] {
    const deliveries: Delivery[] = [];
    for (const subscription of this.#subscriptions.matching(event.topic)) {
      const frames = new Map<Serializer, Uint8Array>();
      const mayHave = this.#audience(subscription, event.topic);
      for (const member of subscription.members) {
        if (!event.wants(member) || !mayHave(member)) continue;
        let frame = frames.get(member.serializer);
        if (frame === undefined) {
          frame = eventFrame(member.serializer, subscription, event);
          frames.set(member.serializer, frame);
        }
        deliveries.push([member, frame]);
      }
    }
    return deliveries;
  }

  /**
   * A permission to subscribe is asked with the pattern's text (as on Crossbar.io), which may stand for
   * more topics than the role may see: those are held back here, which Crossbar.io does not do. Each role
   * is asked once.
   */
  #audience({ match }: Subscription, topic: string): (member: Member) => boolean {
    if (match === "exact") return () => true;
    const roles = new Map<string, boolean>();
    return (member) => {
      const { role } = member.identity;
      let allowed = roles.get(role);
      if (allowed === undefined) {
        allowed = allowing(this.#permissionsOf(member), "subscribe", topic) !== undefined;
        roles.set(role, allowed);
      }
      return allowed;
    };
  }
}

/** A subscription as the meta API tells it. */
export function describeSubscription({ id, created, uri, match }: Subscription) {
  return { id, created, uri, match };
}

/** @throws RequestRefused when the payload has no form in this serializer, e.g. is nested too deep. */
function eventFrame(serializer: Serializer, { id, match }: Subscription, event: Event): Uint8Array {
  const details = match === "exact" ? event.details : { ...event.details, topic: event.topic };
  try {
    return toFrame(serializer, withPayload([EVENT, id, event.publication], details, event.payload));
  } catch {
    throw new RequestRefused(
      "wamp.error.invalid_argument",
      `the payload cannot be written as ${serializer.id}`,
    );
  }
}
