/**
 * The procedures below `wamp.subscription.` and `wamp.registration.`: what there is, and by how many it is
 * held. Names, arguments and answers as the WAMP Advanced Profile and Crossbar.io have them
 * (`crossbar/router/service.py`, 26.10); what the router announces itself (`on_create` …) is the broker's and
 * the dealer's.
 *
 * What is held of `wamp.` is nobody's business: it is not listed.
 */
import { MATCH_POLICIES } from "../shared/wamp/match.ts";
import { RequestRefused } from "./faults.ts";
import type { Holding, Holdings } from "./holdings.ts";
import { argsOf, idArg, invalidArgument, textArg, type Procedure } from "./procedure.ts";
import { isDict } from "./payload.ts";
import { isMatch, isReserved } from "./uri.ts";

export interface HoldingsApiParts<Extra extends object> {
  readonly kind: "subscription" | "registration";
  /** What a holder is called, as in `list_subscribers`. */
  readonly holders: "subscribers" | "callees";
  readonly holdings: Holdings<Extra>;
  readonly describe: (holding: Holding & Extra) => unknown;
}

export function makeHoldingsApi<Extra extends object>(
  parts: HoldingsApiParts<Extra>,
): ReadonlyArray<readonly [name: string, Procedure]> {
  const { kind, holders, holdings, describe } = parts;

  function existing(id: unknown): Holding & Extra {
    const holding = holdings.get(idArg(id, `${kind} id`));
    if (holding === undefined) throw new RequestRefused(`wamp.error.no_such_${kind}`, `no such ${kind}`);
    if (!isPublic(holding))
      throw new RequestRefused("wamp.error.not_authorized", `not authorized for this ${kind}`);
    return holding;
  }

  const procedures: Record<string, (args: readonly unknown[]) => unknown> = {
    list: () =>
      Object.fromEntries(
        MATCH_POLICIES.map((match) => [match, holdings.list(match).filter(isPublic).map(idOf)]),
      ),
    lookup: ([uri, options]) => {
      const match = isDict(options) ? (options["match"] ?? "exact") : "exact";
      if (!isMatch(match)) throw invalidArgument("match");
      const holding = holdings.lookup(textArg(uri, "URI"), match);
      return holding !== undefined && isPublic(holding) ? holding.id : null;
    },
    // An event goes to every subscription that matches, a call to the best registration.
    match: ([uri]) => {
      const ids = holdings.matching(textArg(uri, "URI")).filter(isPublic).map(idOf);
      if (ids.length === 0) return null;
      return kind === "subscription" ? ids : ids[0];
    },
    get: ([id]) => describe(existing(id)),
    [`list_${holders}`]: ([id]) => [...existing(id).members].map(({ identity }) => identity.session),
    [`count_${holders}`]: ([id]) => existing(id).members.size,
  };
  return Object.entries(procedures).map(([name, answer]) => [
    `wamp.${kind}.${name}`,
    (call) => [answer(argsOf(call))],
  ]);
}

function isPublic({ uri }: Holding): boolean {
  return !isReserved(uri);
}

function idOf({ id }: Holding): number {
  return id;
}
