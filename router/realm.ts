import { Broker, describeSubscription } from "./broker.ts";
import type { Clock } from "./clock.ts";
import { CALL, ERROR, PUBLISH, REGISTER, SUBSCRIBE, UNREGISTER, UNSUBSCRIBE } from "./codes.ts";
import { Dealer, describeRegistration } from "./dealer.ts";
import { RequestRefused } from "./faults.ts";
import { Holdings } from "./holdings.ts";
import { makeHoldingsApi } from "./holdings-api.ts";
import { describeMember, tell, type Member } from "./member.ts";
import type { RoutedMessage } from "./messages.ts";
import type { Permission } from "./permissions.ts";
import { Registrations } from "./registrations.ts";
import { makeSessionApi } from "./session-api.ts";

type RolePermissions = ReadonlyMap<string, readonly Permission[]>;

const NOTHING: readonly Permission[] = [];

/** The members of one realm and what goes on between them. */
export class Realm {
  readonly name: string;
  readonly #roles: RolePermissions;
  readonly #members = new Map<number, Member>();
  readonly #broker: Broker;
  readonly #dealer: Dealer;

  constructor(name: string, roles: RolePermissions, clock: Clock) {
    this.name = name;
    this.#roles = roles;
    const subscriptions = new Holdings(clock, "subscriptions");
    const registrations = new Registrations(clock);
    const permissionsOf = ({ identity }: Member) => roles.get(identity.role) ?? NOTHING;
    const broker = new Broker({ subscriptions, permissionsOf });
    const builtIn = new Map([
      ...makeHoldingsApi({
        kind: "subscription",
        holders: "subscribers",
        holdings: subscriptions,
        describe: describeSubscription,
      }),
      ...makeHoldingsApi({
        kind: "registration",
        holders: "callees",
        holdings: registrations,
        describe: describeRegistration,
      }),
      ...makeSessionApi(this.#members),
    ]);
    const announce = (topic: string, args: readonly unknown[]) => broker.announce(topic, args);
    this.#broker = broker;
    this.#dealer = new Dealer({ builtIn, registrations, permissionsOf, announce, clock });
  }

  hasRole(role: string): boolean {
    return this.#roles.has(role);
  }

  /** By session id. */
  get members(): ReadonlyMap<number, Member> {
    return this.#members;
  }

  join(member: Member): void {
    this.#members.set(member.identity.session, member);
    this.#broker.announce("wamp.session.on_join", [describeMember(member)]);
  }

  leave(member: Member): void {
    const { session, authid, role } = member.identity;
    this.#members.delete(session);
    this.#broker.leave(member);
    this.#dealer.leave(member);
    this.#broker.announce("wamp.session.on_leave", [session, authid, role]);
  }

  /** @throws ProtocolFault when the member's connection must end for it. */
  route(member: Member, message: RoutedMessage): void {
    try {
      this.#dispatch(member, message);
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      const request = refusable(message);
      if (request !== undefined) tell(member, [ERROR, ...request, {}, error.uri, [error.message]]);
    }
  }

  #dispatch(member: Member, message: RoutedMessage): void {
    switch (message.type) {
      case "publish":
        return this.#broker.publish(member, message);
      case "subscribe":
        return this.#broker.subscribe(member, message);
      case "unsubscribe":
        return this.#broker.unsubscribe(member, message.request, message.subscription);
      case "call":
        return this.#dealer.call(member, message);
      case "cancel":
        return this.#dealer.cancel(member, message);
      case "yield":
        return this.#dealer.yield(member, message);
      case "invocationError":
        return this.#dealer.invocationError(member, message);
      case "register":
        return this.#dealer.register(member, message);
      case "unregister":
        return this.#dealer.unregister(member, message.request, message.registration);
    }
  }
}

/** The beginning of the ERROR that refuses a message, or undefined where WAMP has no answer to it. */
function refusable(message: RoutedMessage): readonly unknown[] | undefined {
  const code = REQUEST_CODES[message.type];
  if (code === undefined || !("request" in message)) return undefined;
  return message.type === "publish" && !message.acknowledge ? undefined : [code, message.request];
}

const REQUEST_CODES: Readonly<Record<RoutedMessage["type"], number | undefined>> = {
  publish: PUBLISH,
  subscribe: SUBSCRIBE,
  unsubscribe: UNSUBSCRIBE,
  call: CALL,
  register: REGISTER,
  unregister: UNREGISTER,
  cancel: undefined,
  yield: undefined,
  invocationError: undefined,
};
