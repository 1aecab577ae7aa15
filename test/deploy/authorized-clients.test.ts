/** docs/onion.md and docs/crossbar.md: the check of a HiddenServiceDir's clients, before tor serves without them. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeKey } from "../../cli/key-set.ts";
import { ROOT } from "../helpers/peers.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "oh-clients-"));
  mkdirSync(join(folder, "authorized_clients"));
});
afterEach(() => rmSync(folder, { recursive: true }));

it.each(["docs/onion.md", "docs/crossbar.md"])("%s names what tor would take for no client", (page) => {
  const [check = ""] =
    /^grep -LxE .*authorized_clients.*$/m.exec(readFileSync(join(ROOT, page), "utf8")) ?? [];
  const { key, auth } = makeKey(join(folder, "keys"), "relay-onion").public;
  const faulty = { key, literal: "descriptor:x25519:…", short: auth?.slice(0, -1), nothing: "" };
  for (const [name, line] of Object.entries({ relay: auth, ...faulty })) {
    writeFileSync(join(folder, "authorized_clients", `${name}.auth`), `${line}\n`);
  }
  const here = check.replace("/var/lib/tor/onionhook", folder);
  const named = execFileSync("sh", ["-c", `${here} || true`], { encoding: "utf8" })
    .trim()
    .split("\n");
  const path = (name: string) => join(folder, "authorized_clients", `${name}.auth`);
  expect(named.toSorted()).toEqual(Object.keys(faulty).map(path).toSorted());
});
