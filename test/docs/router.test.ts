import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { features } from "../../router/features.ts";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

const doc = read("docs/router.md");

/** The rows of the table under a heading: the name, and what the next cell says. */
function rows(heading: string): string[][] {
  const section = doc.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";
  return [...section.matchAll(/^\| `?([^|`]+)`? \| ([^|]*) \|/gm)].map(([, name = "", next = ""]) => [
    name,
    next,
  ]);
}

describe("docs/router.md", () => {
  it.each([
    ["Broker", features.broker.features],
    ["Dealer", features.dealer.features],
  ])("says of the %s's features that those are announced which WELCOME announces", (heading, announced) => {
    const listed = rows(heading).filter(([, said]) => said === "yes" || said === "no");
    expect(listed.length).toBeGreaterThan(10);
    const yes = listed.filter(([, said]) => said === "yes").map(([name]) => name);
    expect(new Set(yes)).toEqual(new Set(Object.keys(announced)));
    expect(new Set(listed.map(([name]) => name)).size).toBe(listed.length);
  });

  it("has a test for every feature that is announced", () => {
    const lines = doc.split("\n").filter((line) => line.includes("| yes |"));
    expect(lines.filter((line) => !line.includes("`test/"))).toEqual([]);
  });

  it("names only tests that there are, by titles that they have", () => {
    const named = [...doc.matchAll(/`(test\/[\w/.-]+)`((?:,? "[^"]+")*)/g)];
    expect(named.length).toBeGreaterThan(30);
    for (const [, path = "", titles = ""] of named) {
      expect(existsSync(new URL(path, root)), path).toBe(true);
      const source = read(path);
      for (const [, title = ""] of titles.matchAll(/"([^"]+)"/g)) expect(source, path).toContain(title);
    }
  });

  it("has the limits that are in the code", () => {
    const limits = doc.slice(doc.indexOf("## Limits"));
    const constant = (path: string, name: string) => {
      const [, text] = new RegExp(`const ${name} = ([\\d_]+)`).exec(read(path)) ?? [];
      return Number(text?.replaceAll("_", "")).toLocaleString("en-US");
    };
    const has = (what: string, row: RegExp) =>
      expect(
        limits.split("\n").some((line) => row.test(line)),
        what,
      ).toBe(true);
    has(
      "MOST_HELD",
      new RegExp(`^\\| subscriptions.* \\| ${constant("router/holdings.ts", "MOST_HELD")} each`),
    );
    has(
      "LONGEST_URI",
      new RegExp(`^\\| URI.* \\| ${constant("router/holdings.ts", "LONGEST_URI")} characters`),
    );
    has(
      "MOST_CALLS",
      new RegExp(`^\\| open calls.* \\| ${constant("router/invocations.ts", "MOST_CALLS")} \\|`),
    );
    has(
      "MOST_FOR_ONE",
      new RegExp(`one slow reader \\| ${constant("router/backlog.ts", "MOST_FOR_ONE")} MiB`),
    );
    has(
      "MOST_FOR_ALL, COUNT_EVERY",
      new RegExp(
        `all slow readers \\| ${constant("router/backlog.ts", "MOST_FOR_ALL")} MiB.* every ${constant("router/backlog.ts", "COUNT_EVERY")} MiB`,
      ),
    );
    has(
      "MAX_HANDSHAKE",
      new RegExp(
        `\\| ${constant("router/connection.ts", "MAX_HANDSHAKE_FRAME")} KiB a message, ${constant("router/connection.ts", "MAX_HANDSHAKE")} KiB`,
      ),
    );
    has(
      "MOST_FRAGMENTS",
      new RegExp(`^\\| pieces.* \\| ${constant("router/listener.ts", "MOST_FRAGMENTS")},`),
    );
    expect(read("router/listener.ts")).toContain("const JOIN_DEADLINE = 10_000;");
    has("JOIN_DEADLINE", /\| 10 s from the TCP connection/);
  });
});
