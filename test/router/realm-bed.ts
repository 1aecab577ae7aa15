/** A realm without a network: members say lists, and what they hear is there at once. */
import type { Member } from "../../router/member.ts";
import { parseMessage } from "../../router/messages.ts";
import type { Action, Permission } from "../../router/permissions.ts";
import { Realm } from "../../router/realm.ts";
import type { Match } from "../../shared/wamp/match.ts";
import type { Serializer } from "../../shared/wamp/serializers.ts";
import { ManualClock } from "./manual-clock.ts";
import { serializerOf } from "./raw-client.ts";

export const permit = (
  match: Match,
  uri: string,
  allow: readonly Action[] = ["publish", "subscribe", "call", "register"],
): Permission => ({
  uri,
  match,
  allow: new Set(allow),
  disclose: { publisher: false, caller: false },
});

export interface Actor {
  readonly member: Member;
  readonly session: number;
  /** Says one message and returns what it has heard since the last time. */
  readonly say: (...message: unknown[]) => unknown[][];
  /** What it has heard since the last time. */
  readonly heard: () => unknown[][];
  readonly leave: () => void;
}

export function makeMember(
  session: number,
  options: {
    role?: string;
    authid?: string;
    serializer?: Serializer;
    features?: Partial<Member["features"]>;
  } = {},
) {
  const { role = "all", authid = "someone", serializer = serializerOf("json"), features } = options;
  const inbox: unknown[][] = [];
  const member: Member = {
    identity: { session, realm: "r", authid, role },
    features: { callCanceling: false, progressiveCallResults: false, ...features },
    serializer,
    send: (frame) => void inbox.push(serializer.parse(frame)),
    end: (reason, message) => void inbox.push(["ended", reason, message]),
  };
  return { member, inbox };
}

export function startRealm(
  roles: Readonly<Record<string, readonly Permission[]>> = { all: [permit("prefix", "")] },
) {
  const clock = new ManualClock();
  const realm = new Realm("r", new Map(Object.entries(roles)), clock);
  let sessions = 0;
  const join = (options?: Parameters<typeof makeMember>[1]): Actor => {
    const { member, inbox } = makeMember((sessions += 1), options);
    const heard = () => inbox.splice(0);
    realm.join(member);
    return {
      member,
      session: member.identity.session,
      heard,
      say: (...message) => {
        realm.route(member, routed(message));
        return heard();
      },
      leave: () => realm.leave(member),
    };
  };
  return { realm, clock, join };
}

function routed(list: readonly unknown[]) {
  const message = parseMessage(list);
  switch (message.type) {
    case "hello":
    case "authenticate":
    case "goodbye":
    case "abort":
      throw new TypeError("no message for a realm");
    default:
      return message;
  }
}
