/** WAMP's match policies, and what a pattern stands for under each. */

/** The first is the default. */
export const MATCH_POLICIES = ["exact", "prefix", "wildcard"] as const;
export type Match = (typeof MATCH_POLICIES)[number];

/**
 * Whether `uri` is one of those that the pattern stands for: it alone; those that begin with it, by characters
 * and not by components; those with as many components, and the same ones but where the pattern's is empty.
 */
export function matchesUri(pattern: string, match: Match, uri: string): boolean {
  if (match === "exact") return uri === pattern;
  if (match === "prefix") return uri.startsWith(pattern);
  const components = uri.split(".");
  const wanted = pattern.split(".");
  return (
    components.length === wanted.length && wanted.every((each, at) => each === "" || each === components[at])
  );
}
