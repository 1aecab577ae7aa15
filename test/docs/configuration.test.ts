/** docs/configuration.md: its whole files are what the programs take, once keys and addresses are filled in. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfig as parseBuilder } from "../../builder/config.ts";
import { isKeyName, type KeyName, makeKey } from "../../cli/key-set.ts";
import { readRouterConfig } from "../../cli/router-config.ts";
import { parseConfig as parseRelay } from "../../relay/config.ts";
import { parseRouterConfig } from "../../router/config.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const page = read("docs/configuration.md");

/** Whose public half each `…` stands for, in the page's order. */
const PUBLIC: Record<string, KeyName[]> = {
  "relay.json": ["builder-box"],
  "builder.json": ["edge-box", "relay-box"],
  "router.json": ["relay-onion", "builder-onion"],
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "oh-configuration-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const halves = (name: KeyName) => makeKey(join(folder, "keys"), name).public;

/** The only JSON block of a section, with what a reader fills in, and its key files made. */
function example(file: string): string {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${file}\n`)) ?? "";
  const blocks = [...section.matchAll(/^```json\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  expect(blocks).toHaveLength(1);
  for (const [, name = ""] of page.matchAll(/"keys\/([\w-]+)\.key"/g)) {
    if (!isKeyName(name)) throw new Error(`there is no key ${name}`);
    halves(name);
  }
  const names = (PUBLIC[file] ?? []).values();
  const filled = (blocks[0] ?? "")
    .replace(/onionhook-[\w-]+-public:…/g, (found) => {
      const { key = "" } = halves(names.next().value ?? "webhook");
      expect(key.split(":")[0]).toBe(found.split(":")[0]);
      return key;
    })
    .replaceAll("ADDRESS.onion", halves("router-onion")["address"] ?? "");
  expect([...names]).toEqual([]);
  expect(filled).not.toContain("…");
  return filled;
}

describe("docs/configuration.md", () => {
  it("has a whole relay.json, whose relay deploy/crossbar.json knows", () => {
    const { router, edge, replay } = parseRelay(JSON.parse(example("relay.json")), folder);
    expect(principals()).toContainEqual([router.authid, router.realm]);
    expect(edge.url).toBe("wss://hooks.example.org/drain");
    expect(replay?.sharedKeys).toHaveLength(1);
  });

  it("has a whole builder.json, whose builder deploy/crossbar.json knows", () => {
    const { router, rules, relayBoxPublic } = parseBuilder(JSON.parse(example("builder.json")), folder);
    expect(principals()).toContainEqual([router.authid, router.realm]);
    expect(rules).toMatchObject([{ event: "push", directory: "/srv/docs" }]);
    expect(relayBoxPublic).toBeDefined();
  });

  it("has a whole router.json", () => {
    const path = join(folder, "router.json");
    writeFileSync(path, example("router.json"));
    const { crossbar, onion } = readRouterConfig(path);
    expect(crossbar).toBe(join(folder, "crossbar.json"));
    expect(Object.keys(onion?.clients ?? {})).toEqual(["relay", "builder"]);
    writeFileSync(path, /`(\{ "crossbar": [^`]*\})` is all/.exec(page)?.[1] ?? "");
    expect(readRouterConfig(path).onion).toBeUndefined();
  });

  it("names the folders that the units make", () => {
    const { dataDir } = parseRelay(JSON.parse(example("relay.json")), folder);
    expect(dataDir).toBe(`/var/lib/${stateDirectory("relay")}/relay`);
    const builder = parseBuilder(JSON.parse(example("builder.json")), folder);
    expect(builder.dataDir).toBe(`/var/lib/${stateDirectory("builder")}`);
  });
});

/** Who may join by deploy/crossbar.json, and which realm. */
function principals(): [string, string][] {
  const { transports } = parseRouterConfig(JSON.parse(read("deploy/crossbar.json")), "/");
  return transports.flatMap(({ principals: all }) =>
    [...all].map(([name, { realm }]) => [name, realm] as [string, string]),
  );
}

function stateDirectory(part: string): string {
  return /^StateDirectory=(.+)$/m.exec(read(`deploy/systemd/onionhook-${part}.service`))?.[1] ?? "";
}
