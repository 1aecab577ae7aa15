/**
 * Which subscribers a publisher wants, or does not want, to get its event: WAMP Advanced Profile,
 * "Subscriber Black- and Whitelisting" and "Publisher Exclusion".
 */
import { malformed } from "./faults.ts";
import type { Identity, Member } from "./member.ts";
import type { Dict } from "./payload.ts";

export type Audience = (member: Member) => boolean;

const LISTS: ReadonlyArray<readonly [suffix: string, property: keyof Identity]> = [
  ["", "session"],
  ["_authid", "authid"],
  ["_authrole", "role"],
];

/**
 * A list that lets nobody in lets nobody in (Crossbar.io overlooks an empty one).
 *
 * @throws ProtocolFault for a list that is no list of names, or of session ids.
 */
export function parseAudience(options: Dict, publisher: Member): Audience {
  const tests: Audience[] = [];
  if (options["exclude_me"] !== false) tests.push((member) => member !== publisher);
  for (const [suffix, property] of LISTS) {
    const eligible = names(options[`eligible${suffix}`], property);
    const excluded = names(options[`exclude${suffix}`], property);
    if (eligible !== undefined) tests.push(({ identity }) => eligible.has(identity[property]));
    if (excluded !== undefined) tests.push(({ identity }) => !excluded.has(identity[property]));
  }
  return (member) => tests.every((test) => test(member));
}

function names(value: unknown, property: keyof Identity): ReadonlySet<string | number> | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw malformed("a list of subscribers must be a list");
  return new Set(
    value.map((each: unknown) => {
      if (property !== "session" && typeof each === "string") return each;
      if (property === "session" && (typeof each === "number" || typeof each === "bigint"))
        return Number(each);
      throw malformed("a list of subscribers holds something else");
    }),
  );
}
