import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../builder/config.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";

const relay = nacl.box.keyPair();

describe("the builder's configuration", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-builder-config-"));
    writeSecretFile(join(folder, "sign.key"), formatKey("sign", "secret", new Uint8Array(32).fill(3)));
    writeSecretFile(join(folder, "box.key"), formatKey("box", "secret", new Uint8Array(32).fill(4)));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const parse = (changes: Record<string, unknown>) =>
    parseConfig(
      {
        data_dir: "data",
        tor: "127.0.0.1:9050",
        router: { url: "ws://router.example.org/", realm: "r", authid: "builder", key_file: "sign.key" },
        box_key_file: "box.key",
        edge_box_public: formatKey("box", "public", nacl.box.keyPair().publicKey),
        rules: [],
        ...changes,
      },
      folder,
    );

  it("needs no key of the relay, and shares with nobody unless it says so", () => {
    expect(parse({})).toMatchObject({ relayBoxPublic: undefined, share: false });
    const relay_box_public = formatKey("box", "public", relay.publicKey);
    const { relayBoxPublic, share } = parse({ relay_box_public, share: true });
    expect([Buffer.from(relayBoxPublic ?? []), share]).toEqual([Buffer.from(relay.publicKey), true]);
  });

  it("may name Tor's control port; without it Tor is asked nothing", () => {
    expect(parse({}).torControl).toBeUndefined();
    expect(parse({ tor_control: "127.0.0.1:9051" }).torControl).toEqual({ host: "127.0.0.1", port: 9051 });
  });

  it.each<[string, Record<string, unknown>, string]>([
    [
      "a rule for the canary",
      { rules: [{ name: "docs", event: "onionhook_canary", run: [["true"]] }] },
      "rules.0.event: this event is the relay's own test",
    ],
    ["a relay's key of another kind", { relay_box_public: "onionhook-sign-public:AAAA" }, "relay_box_public"],
    ["a control port whose name would have to be looked up", { tor_control: "tor:9051" }, "tor_control is"],
    ["the control port of no Tor", { tor: "none", tor_control: "127.0.0.1:9051" }, "tor_control: found the"],
    ["a share that is no truth value", { share: "yes" }, "share: "],
  ])("refuses %s", (_what, changes, fault) => {
    expect(() => parse(changes)).toThrow(fault);
  });
});
