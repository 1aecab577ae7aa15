import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Patterns } from "../../router/patterns.ts";
import { matchesUri, type Match } from "../../shared/wamp/match.ts";

function patternsOf(...all: ReadonlyArray<readonly [match: Match, uri: string]>) {
  const patterns = new Patterns<{ match: Match; uri: string }>();
  for (const [match, uri] of all) patterns.add({ match, uri });
  return patterns;
}

describe("patterns", () => {
  // The examples of the WAMP Advanced Profile, "Calls matching multiple registrations"; but there the prefix
  // `a1.b2.c3` is not one of `a1.b2.c33…`, which its section on prefix matching says it is: here it is `x33`.
  const specified = patternsOf(
    ["exact", "a1.b2.c3.d4.e55"],
    ["prefix", "a1.b2.c3"],
    ["prefix", "a1.b2.c3.d4"],
    ["wildcard", "a1.b2..d4.e5"],
    ["wildcard", "a1.b2.x33..e5"],
    ["wildcard", "a1.b2..d4.e5..g7"],
    ["wildcard", "a1.b2..d4..f6.g7"],
  );
  it.each([
    ["a1.b2.c3.d4.e55", "a1.b2.c3.d4.e55"],
    ["a1.b2.c3.d98.e74", "a1.b2.c3"],
    ["a1.b2.c3.d4.e325", "a1.b2.c3.d4"],
    ["a1.b2.c55.d4.e5", "a1.b2..d4.e5"],
    ["a1.b2.x33.d4.e5", "a1.b2.x33..e5"],
    ["a1.b2.c88.d4.e5.f6.g7", "a1.b2..d4.e5..g7"],
    ["a2.b2.c2.d2.e2", undefined],
  ])("that stand for %s: the best is %s", (uri, best) => {
    expect(specified.matching(uri)[0]?.uri).toBe(best);
  });

  it("with fewer wildcards go before those with more", () => {
    const patterns = patternsOf(["wildcard", "a..c."], ["wildcard", "a..c.d"], ["wildcard", "..."]);
    expect(patterns.matching("a.b.c.d").map(({ uri }) => uri)).toEqual(["a..c.d", "a..c.", "..."]);
  });

  it("are in the same order, in whichever they came, also after some are gone", () => {
    const all = ["a..", ".b.", "..c", "a.b.", "a..c", ".b.c", "..", "a."].map(
      (uri) => ["wildcard", uri] as const,
    );
    const expected = ["a.b.", "a..c", "a..", ".b.c", ".b.", "..c", ".."];
    fc.assert(
      fc.property(fc.shuffledSubarray(all), (some) => {
        const patterns = patternsOf(...some);
        const uris = new Set<string>(some.map(([, uri]) => uri));
        expect(patterns.matching("a.b.c").map(({ uri }) => uri)).toEqual(
          expected.filter((uri) => uris.has(uri)),
        );
        for (const uri of some.slice(0, 2).map(([, each]) => each)) {
          patterns.delete(patterns.get(uri, "wildcard")!);
          uris.delete(uri);
        }
        expect(patterns.matching("a.b.c").map(({ uri }) => uri)).toEqual(
          expected.filter((uri) => uris.has(uri)),
        );
      }),
    );
  });

  it("of thousands of shapes take one more at little cost", { timeout: 120_000 }, () => {
    const patterns = patternsOf();
    const started = performance.now();
    // Bits of the number are the empty components, among as many as a URI has room for.
    for (let shape = 1; shape <= 10_000; shape += 1) {
      const components = Array.from({ length: 200 }, (_, at) => (shape & (1 << at) && at < 14 ? "" : "a"));
      patterns.add({ match: "wildcard", uri: components.join(".") });
    }
    expect(patterns.list("wildcard")).toHaveLength(10_000);
    // It takes 3 s, and to sort all of them for each took 50 s.
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it("are those, and only those, that a plain search finds, also after some are gone", () => {
    const textOf = (...components: string[]) =>
      fc
        .array(fc.constantFrom(...components), { minLength: 1, maxLength: 4 })
        .map((parts) => parts.join("."));
    const pattern = fc.tuple(fc.constantFrom<Match>("exact", "prefix", "wildcard"), textOf("a", "b", ""));
    fc.assert(
      fc.property(
        fc.uniqueArray(pattern, { selector: String }),
        fc.nat(10),
        textOf("a", "b"),
        (all, gone, uri) => {
          const patterns = patternsOf(...all);
          for (const [match, each] of all.slice(0, gone)) patterns.delete(patterns.get(each, match)!);
          const expected = all.slice(gone).filter(([match, each]) => matchesUri(each, match, uri));
          const found = patterns.matching(uri).map((each) => String([each.match, each.uri]));
          expect(found).toHaveLength(expected.length);
          expect(new Set(found)).toEqual(new Set(expected.map(String)));
        },
      ),
    );
  });
});
