/**
 * WAMP URIs and patterns, checked loosely as Crossbar.io does by default: components between dots,
 * without whitespace and `#`. Where a component may be empty depends on the match policy.
 */
import type { Match } from "../shared/wamp/match.ts";

/**
 * Whitespace, also what only Python takes for it: an Autobahn|Python client ends its session when it is told such a
 * URI. And U+0000 at the beginning, since JSON has such text for bytes.
 */
// oxlint-disable-next-line no-control-regex
const UNUSABLE = /^\0|[\s#\x1C-\x1F\x85]/u;

export function isMatch(value: unknown): value is Match {
  return value === "exact" || value === "prefix" || value === "wildcard";
}

/** Whether it names one topic or procedure: no empty components. */
export function isUri(text: string): boolean {
  return isPattern(text, "prefix") && text !== "" && !text.endsWith(".");
}

/** Whether it may be subscribed to, or be granted, under `match`. */
export function isPattern(text: string, match: Match): boolean {
  // Not one regular expression: these stay linear on a URI of 60 MB.
  if (UNUSABLE.test(text)) return false;
  if (match === "wildcard") return true;
  if (text.startsWith(".") || text.includes("..")) return false;
  return match === "prefix" || (text !== "" && !text.endsWith("."));
}

/** Whether the router keeps this URI for itself: only it may publish or register there. */
export function isReserved(uri: string): boolean {
  return uri.startsWith("wamp.");
}
