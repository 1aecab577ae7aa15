import { describe, expect, it } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { allowing, decisivePermission, type Action, type Permission } from "../../router/permissions.ts";
import { isPattern, isUri } from "../../router/uri.ts";
import type { Match } from "../../shared/wamp/match.ts";
import { configJson } from "./testbed.ts";

const permission = (match: Match, uri: string, ...allow: Action[]): Permission => ({
  uri,
  match,
  allow: new Set(allow),
  disclose: { publisher: false, caller: false },
});

describe("deploy/crossbar.json", () => {
  const roles = parseRouterConfig(configJson(), "/").realms.get("onionhook");
  const actions: Action[] = ["publish", "subscribe", "call", "register"];
  it.each([
    ["github", "webhook.github.push", ["publish"]],
    ["github", "webhook.receipt", ["subscribe"]],
    ["github", "webhook.replay", ["register"]],
    ["github", "wamp.subscription.match", ["subscribe", "call"]],
    ["builder", "webhook.github.push", ["subscribe"]],
    ["builder", "webhook.github.", ["subscribe"]],
    ["builder", "webhook.receipt", ["publish"]],
    ["builder", "webhook.replay", ["call"]],
    ["builder", "wamp.subscription.match", []],
    ["builder", "webhook.", []],
    ["builder", "webhook.receipt.more", []],
    ["github", "webhook.githubs", []],
    ["github", "wamp.session.list", []],
    ["github", "", []],
    ["nobody", "webhook.github.push", []],
  ])("lets %s on %j do %j and nothing else", (role, uri, expected) => {
    const allowed = actions.filter((action) => allowing(roles?.get(role) ?? [], action, uri) !== undefined);
    expect(allowed).toEqual(expected);
  });
});

describe("decisivePermission", () => {
  const all = [
    permission("prefix", "a."),
    permission("prefix", "a.b."),
    permission("exact", "a.b.c"),
    permission("wildcard", "a..z"),
    permission("wildcard", "a.b..z"),
  ];
  it.each([
    ["a.x", "a."],
    ["a.b.x", "a.b."],
    ["a.b.c", "a.b.c"],
    // As on Crossbar.io: the longest is exact and is not it, so no prefix counts any more.
    ["a.b.c.d", undefined],
    ["a.b.cd", undefined],
    ["a.q.z", "a..z"],
    ["a.b.q.z", "a.b..z"],
    ["b.a", undefined],
    ["a", undefined],
  ])("finds for %j the permission %j", (uri, expected) => {
    expect(decisivePermission(all, uri)?.uri).toBe(expected);
    expect(decisivePermission(all.toReversed(), uri)?.uri).toBe(expected);
  });
});

describe("URIs", () => {
  it.each([
    // text, one name, prefix pattern, wildcard pattern
    ["a.b", true, true, true],
    ["ä.1_-/x", true, true, true],
    ["a.", false, true, true],
    ["", false, true, true],
    [".a", false, false, true],
    ["a..b", false, false, true],
    ["a b", false, false, false],
    ["a#b", false, false, false],
    ["a.\n", false, false, false],
  ])("tells what %j may stand for", (text, name, prefix, wildcard) => {
    expect([
      isUri(text),
      isPattern(text, "exact"),
      isPattern(text, "prefix"),
      isPattern(text, "wildcard"),
    ]).toEqual([name, name, prefix, wildcard]);
  });

  it("stays fast on a name of 4 MB", () => {
    const long = `${"a".repeat(4 * 1024 * 1024)} `;
    const start = performance.now();
    expect(isUri(long)).toBe(false);
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});
