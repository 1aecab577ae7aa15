import { expect, it } from "vitest";
import { matchesUri, type Match } from "../../../shared/wamp/match.ts";

it.each<[pattern: string, match: Match, uri: string, matches: boolean]>([
  ["a.b", "exact", "a.b", true],
  ["a.b", "exact", "a.b.c", false],
  ["a.b", "prefix", "a.b", true],
  ["a.b", "prefix", "a.bc", true],
  ["", "prefix", "a.b", true],
  ["a.b", "prefix", "a", false],
  ["a..c", "wildcard", "a.b.c", true],
  ["a..c", "wildcard", "a.b.c.d", false],
  ["a..c", "wildcard", "a.c", false],
  ["a..c", "wildcard", "a.b.d", false],
  ["..", "wildcard", "a.b.c", true],
  ["", "wildcard", "a", true],
  ["", "wildcard", "a.b", false],
])("%j under %s stands for %s: %s", (pattern, match, uri, matches) => {
  expect(matchesUri(pattern, match, uri)).toBe(matches);
});
