/**
 * The procedures below `wamp.session.`: who is there, and how to send them away. After the WAMP Advanced
 * Profile, "Session Meta API"; what is told of a session is in `member.ts`.
 */
import { RequestRefused } from "./faults.ts";
import { describeMember, type Member } from "./member.ts";
import { argsOf, idArg, invalidArgument, kwargsOf, textArg } from "./procedure.ts";
import type { Procedure, ProcedureCall } from "./procedure.ts";
import { isUri } from "./uri.ts";

/** Characters of a reason or a message that a killed session is told. */
const LONGEST_FAREWELL = 1_024;

export function makeSessionApi(
  /** By session id. */
  members: ReadonlyMap<number, Member>,
): ReadonlyArray<readonly [name: string, Procedure]> {
  /** Sends away those that `isMeant` names, but never the caller. */
  const kill = (call: ProcedureCall, isMeant: (member: Member) => boolean): number[] => {
    const { reason, message } = farewellOf(call);
    const killed = [...members.values()].filter((member) => member !== call.caller && isMeant(member));
    for (const member of killed) member.end(reason, message);
    return killed.map(({ identity }) => identity.session);
  };
  const another = (id: unknown, caller?: Member): Member => {
    const member = members.get(idArg(id, "session id"));
    if (member === undefined || member === caller)
      throw new RequestRefused("wamp.error.no_such_session", "no such session");
    return member;
  };
  return [
    ["wamp.session.count", (call) => [listed(members, call).length]],
    ["wamp.session.list", (call) => [listed(members, call)]],
    ["wamp.session.get", (call) => [describeMember(another(argsOf(call)[0]))]],
    [
      "wamp.session.kill",
      (call) => {
        const meant = another(argsOf(call)[0], call.caller);
        kill(call, (member) => member === meant);
        return [null];
      },
    ],
    [
      "wamp.session.kill_by_authid",
      (call) => {
        const authid = textArg(argsOf(call)[0], "authid");
        return [kill(call, ({ identity }) => identity.authid === authid)];
      },
    ],
    [
      "wamp.session.kill_by_authrole",
      (call) => {
        const role = textArg(argsOf(call)[0], "authrole");
        return [kill(call, ({ identity }) => identity.role === role).length];
      },
    ],
    ["wamp.session.kill_all", (call) => [kill(call, () => true).length]],
  ];
}

function listed(members: ReadonlyMap<number, Member>, call: ProcedureCall): number[] {
  const [roles] = argsOf(call);
  if (roles !== undefined && roles !== null && !Array.isArray(roles))
    throw invalidArgument("list of authroles");
  const all = [...members.values()].map(({ identity }) => identity);
  return all
    .filter(({ role }) => !Array.isArray(roles) || roles.includes(role))
    .map(({ session }) => session);
}

function farewellOf(call: ProcedureCall): { reason: string; message: string | undefined } {
  const { reason = "wamp.close.normal", message } = kwargsOf(call);
  if (typeof reason !== "string" || !isUri(reason) || reason.length > LONGEST_FAREWELL)
    throw new RequestRefused("wamp.error.invalid_uri", "the reason is no URI");
  if (message === undefined || message === null) return { reason, message: undefined };
  // JSON has text that begins with U+0000 for bytes.
  if (typeof message !== "string" || message.length > LONGEST_FAREWELL || message.startsWith("\0"))
    throw invalidArgument("message");
  return { reason, message };
}
