/**
 * What a role may do on a URI, decided as Crossbar.io decides (`crossbar/router/role.py`, 26.10), so
 * that one configuration means the same on both:
 *
 * 1. of the exact and prefix permissions whose URI begins the asked one, the longest counts;
 *    if that one is exact and is not the whole URI, none of them counts;
 * 2. unless an exact permission was hit, a matching wildcard permission goes before a prefix;
 * 3. nothing counts: denied.
 */
import { matchesUri, type Match } from "../shared/wamp/match.ts";

export type Action = "publish" | "subscribe" | "call" | "register";

export interface Permission {
  readonly uri: string;
  readonly match: Match;
  readonly allow: ReadonlySet<Action>;
  /** Whether subscribers see who published, and callees who called. */
  readonly disclose: { readonly publisher: boolean; readonly caller: boolean };
}

/** The permission that decides over `uri`, or undefined where the default, to deny, stands. */
export function decisivePermission(permissions: readonly Permission[], uri: string): Permission | undefined {
  let literal: Permission | undefined;
  let wildcard: Permission | undefined;
  for (const permission of permissions) {
    if (permission.match === "wildcard") {
      if (matchesUri(permission.uri, "wildcard", uri)) wildcard = longer(wildcard, permission, literalHead);
    } else if (uri.startsWith(permission.uri)) {
      literal = longer(literal, permission, (each) => each.uri.length);
    }
  }
  if (literal?.match === "exact") {
    if (literal.uri === uri) return literal;
    literal = undefined;
  }
  return wildcard ?? literal;
}

/** The permission under which the action is allowed, or undefined when it is denied. */
export function allowing(
  permissions: readonly Permission[],
  action: Action,
  uri: string,
): Permission | undefined {
  const permission = decisivePermission(permissions, uri);
  return permission?.allow.has(action) === true ? permission : undefined;
}

/** Length of what stands before a wildcard's first empty component. */
function literalHead({ uri }: Permission): number {
  return uri.indexOf("..");
}

function longer(
  best: Permission | undefined,
  other: Permission,
  length: (permission: Permission) => number,
): Permission {
  return best === undefined || length(other) > length(best) ? other : best;
}
