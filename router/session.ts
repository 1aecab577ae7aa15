/**
 * A session from its first message to its last, as a pure machine.
 *
 * | state       | hello                | authenticate        | goodbye       | abort | anything else |
 * |-------------|----------------------|---------------------|---------------|-------|---------------|
 * | `opened`    | CHALLENGE, or ABORT  | fault               | fault         | over  | fault         |
 * | `challenged`| fault                | WELCOME, or ABORT   | fault         | over  | fault         |
 * | `joined`    | fault                | fault               | GOODBYE, over | over  | is routed     |
 * | `over`      | nothing              | nothing             | nothing       | …     | nothing       |
 *
 * A challenge is answered once: after a wrong answer the connection ends. Who is refused learns the
 * class of the reason only; which check it was goes to the log.
 */
import { answersChallenge } from "./cryptosign.ts";
import { ABORT, CHALLENGE, CLOSE_NORMAL, GOODBYE, WELCOME } from "./codes.ts";
import { features } from "./features.ts";
import { malformed } from "./faults.ts";
import { describeIdentity, type Identity } from "./member.ts";
import type { CalleeFeatures, ClientMessage, Hello, RoutedMessage } from "./messages.ts";
import { findClaim, type Claim, type Principals } from "./principals.ts";

export type SessionState =
  | { readonly phase: "opened" }
  | {
      readonly phase: "challenged";
      readonly claim: Claim;
      readonly challenge: Uint8Array;
      readonly callee: CalleeFeatures;
    }
  | { readonly phase: "joined" }
  | { readonly phase: "over" };

/** Why somebody may not join, for the log. */
export type Refusal =
  | "no_such_realm"
  | "no_auth_method"
  | "channel_binding"
  | "unknown_principal"
  | "other_realm"
  | "no_such_role"
  | "wrong_signature";

export type SessionOutput =
  | { readonly do: "send"; readonly message: readonly unknown[] }
  | {
      readonly do: "join";
      readonly claim: Claim;
      readonly identity: Identity;
      readonly features: CalleeFeatures;
    }
  | { readonly do: "route"; readonly message: RoutedMessage }
  | { readonly do: "refuse"; readonly why: Refusal; readonly authid: string | undefined }
  | { readonly do: "close"; readonly code: number; readonly why: "goodbye" | "abort" | "refused" };

/** What the machine asks of the world. */
export interface SessionWorld {
  readonly principals: () => Principals;
  readonly hasRealm: (realm: string) => boolean;
  readonly hasRole: (realm: string, role: string) => boolean;
  /** Fresh random bytes, as many as cryptosign's challenge has. */
  readonly newChallenge: () => Uint8Array;
  readonly newSessionId: (realm: string) => number;
}

/** What the client is told. */
const ABORT_REASONS: Readonly<Record<Refusal, string>> = {
  no_such_realm: "wamp.error.no_such_realm",
  no_auth_method: "wamp.error.no_auth_method",
  no_such_role: "wamp.error.no_such_role",
  channel_binding: "wamp.error.not_authorized",
  unknown_principal: "wamp.error.not_authorized",
  other_realm: "wamp.error.not_authorized",
  wrong_signature: "wamp.error.not_authorized",
};

type Step = readonly [SessionState, readonly SessionOutput[]];

export const opened: SessionState = { phase: "opened" };
const JOINED: SessionState = { phase: "joined" };
const OVER: SessionState = { phase: "over" };

/** @throws ProtocolFault for a message that does not belong here; the machine is over then. */
export function step(state: SessionState, message: ClientMessage, world: SessionWorld): Step {
  if (state.phase === "over") return [OVER, []];
  if (message.type === "abort") return [OVER, [{ do: "close", code: CLOSE_NORMAL, why: "abort" }]];
  switch (state.phase) {
    case "opened":
      if (message.type === "hello") return challenge(message, world);
      break;
    case "challenged":
      if (message.type === "authenticate") return authenticate(state, message.signature, world);
      break;
    case "joined":
      if (message.type === "goodbye") return farewell();
      if (message.type !== "hello" && message.type !== "authenticate")
        return [state, [{ do: "route", message }]];
      break;
  }
  throw malformed("a message out of turn");
}

function challenge(hello: Hello, world: SessionWorld): Step {
  const claim = checkHello(hello, world);
  if (typeof claim === "string") return refuse(claim);
  const bytes = world.newChallenge();
  const extra = { challenge: Buffer.from(bytes).toString("hex"), channel_binding: null };
  return [
    { phase: "challenged", claim, challenge: bytes, callee: hello.callee },
    [{ do: "send", message: [CHALLENGE, "cryptosign", extra] }],
  ];
}

function checkHello(hello: Hello, { principals, hasRealm, hasRole }: SessionWorld): Claim | Refusal {
  if (hello.realm !== undefined && !hasRealm(hello.realm)) return "no_such_realm";
  if (!hello.authmethods.includes("cryptosign")) return "no_auth_method";
  if (hello.channelBinding !== undefined) return "channel_binding";
  const claim = findClaim(principals(), hello.authid, hello.pubkey ?? "");
  if (claim === undefined) return "unknown_principal";
  const { realm, role } = claim.principal;
  if (hello.realm !== undefined && hello.realm !== realm) return "other_realm";
  if (!hasRealm(realm)) return "no_such_realm";
  return hasRole(realm, role) ? claim : "no_such_role";
}

function authenticate(
  { claim, challenge: bytes, callee }: Extract<SessionState, { phase: "challenged" }>,
  signature: string,
  world: SessionWorld,
): Step {
  const { authid, key, principal } = claim;
  if (!answersChallenge(signature, bytes, key)) return refuse("wrong_signature", authid);
  const { realm, role } = principal;
  const identity: Identity = { session: world.newSessionId(realm), realm, authid, role };
  const details = { realm, ...describeIdentity(identity), roles: features };
  return [
    JOINED,
    [
      { do: "send", message: [WELCOME, identity.session, details] },
      { do: "join", claim, identity, features: callee },
    ],
  ];
}

/** We end the connection too; a session that wants to join again dials again. */
function farewell(): Step {
  return [
    OVER,
    [
      { do: "send", message: [GOODBYE, {}, "wamp.close.goodbye_and_out"] },
      { do: "close", code: CLOSE_NORMAL, why: "goodbye" },
    ],
  ];
}

function refuse(why: Refusal, authid?: string): Step {
  return [
    OVER,
    [
      { do: "refuse", why, authid },
      { do: "send", message: [ABORT, { message: "not admitted" }, ABORT_REASONS[why]] },
      { do: "close", code: CLOSE_NORMAL, why: "refused" },
    ],
  ];
}
