import { timingSafeEqual } from "node:crypto";
import { parseVerifyKey } from "./cryptosign.ts";

/** Who may join, and as what. */
export interface Principal {
  readonly realm: string;
  readonly role: string;
  /** Ed25519 public keys, 32 bytes each; with none, nobody joins under this name. */
  readonly keys: readonly Uint8Array[];
}

export type Principals = ReadonlyMap<string, Principal>;

/** A principal that somebody claims to be, and the key with which to prove it. */
export interface Claim {
  readonly authid: string;
  readonly principal: Principal;
  readonly key: Uint8Array;
}

/**
 * Whom a client claims to be. Without an authid the key alone must name exactly one principal, as on
 * Crossbar.io. Undefined when there is nobody of that name with that key.
 */
export function findClaim(
  principals: Principals,
  authid: string | undefined,
  pubkey: string,
): Claim | undefined {
  const key = parseVerifyKey(pubkey);
  if (key === undefined) return undefined;
  const claims = [...principals]
    .filter(([name, principal]) => (authid === undefined || name === authid) && holds(principal, key))
    .map(([name, principal]) => ({ authid: name, principal, key }));
  return claims.length === 1 ? claims[0] : undefined;
}

/** Whether a claim that was made before still stands: same name, same key, same place. */
export function isHeld({ authid, principal, key }: Claim, principals: Principals): boolean {
  const now = principals.get(authid);
  return now !== undefined && now.realm === principal.realm && now.role === principal.role && holds(now, key);
}

function holds(principal: Principal, key: Uint8Array): boolean {
  return principal.keys.filter((each) => timingSafeEqual(each, key)).length > 0;
}
