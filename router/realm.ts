import { Broker } from "./broker.ts";
import type { Clock } from "./clock.ts";
import { CALL, ERROR, PUBLISH, REGISTER, SUBSCRIBE, UNREGISTER, UNSUBSCRIBE } from "./codes.ts";
import { Dealer } from "./dealer.ts";
import { RequestRefused } from "./faults.ts";
import { tell, type Member } from "./member.ts";
import type { RoutedMessage } from "./messages.ts";
import { makeMetaApi } from "./meta-api.ts";
import type { Permission } from "./permissions.ts";
import { Subscriptions } from "./subscriptions.ts";

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
    const subscriptions = new Subscriptions(clock);
    const permissionsOf = ({ identity }: Member) => roles.get(identity.role) ?? NOTHING;
    this.#broker = new Broker({ subscriptions, permissionsOf });
    this.#dealer = new Dealer({ builtIn: makeMetaApi(subscriptions), permissionsOf });
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
  }

  leave(member: Member): void {
    this.#members.delete(member.identity.session);
    this.#broker.leave(member);
    this.#dealer.leave(member);
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
        return this.#dealer.cancel(member, message.request);
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
