import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

const doc = read("docs/delivery.md");
const section = (heading: string) => doc.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";

describe("docs/delivery.md", () => {
  it("has each transition of the machine's tests, and no other", () => {
    const rows = [...section("Transitions at the relay").matchAll(/^\| (\S+ → [^|]+) \| ([^|]+) \|/gm)];
    const documented = rows.map(([, transition, when]) => `${transition}: ${when}`);
    const titles = read("test/relay/life.test.ts").matchAll(/"(\w+ → [^"]+: [^"]+)"/g);
    const tested = [...titles].map(([, title]) => title);
    expect(tested.length).toBeGreaterThan(20);
    expect(documented).toEqual(tested);
  });

  it("names only tests that there are", () => {
    const named = [...doc.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, path = ""]) => path);
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });
});
