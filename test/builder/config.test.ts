import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../builder/config.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";
import { onionAddress } from "../../shared/tor/onion-keys.ts";

const relay = nacl.box.keyPair();
const ROUTER = onionAddress(Buffer.alloc(32, 7));

describe("the builder's configuration", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-builder-config-"));
    writeSecretFile(join(folder, "sign.key"), formatKey("sign", "secret", new Uint8Array(32).fill(3)));
    writeSecretFile(join(folder, "box.key"), formatKey("box", "secret", new Uint8Array(32).fill(4)));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const router = { url: `ws://${ROUTER}/`, realm: "r", authid: "builder", key_file: "sign.key" };
  const parse = (changes: Record<string, unknown>) =>
    parseConfig(
      {
        data_dir: "data",
        tor: "127.0.0.1:9050",
        router,
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

  it("requires GitHub's signature only where that is said, and its secret is named", () => {
    writeSecretFile(join(folder, "webhook.key"), "a webhook's secret of GitHub");
    const webhook_secret_file = "webhook.key";
    expect(parse({ webhook_secret_file }).requireSignature).toBe(false);
    expect(parse({ webhook_secret_file, require_signature: true }).requireSignature).toBe(true);
  });

  it("takes as many box keys as there are, the current one first", () => {
    writeSecretFile(join(folder, "old.key"), formatKey("box", "secret", new Uint8Array(32).fill(5)));
    const secrets = (box_key_file: string | string[]) =>
      parse({ box_key_file }).boxSecrets.map(([first]) => first);
    expect(secrets("box.key")).toEqual([4]);
    expect(secrets(["old.key", "box.key", "old.key"])).toEqual([5, 4, 5]);
  });

  it("names all that is at fault at once", () => {
    const faults = {
      router: { ...router, key_file: "none.key" },
      edge_box_public: "no key",
      tor: "tor:9050",
    };
    for (const name of ["router.key_file: ", "edge_box_public is no key", 'tor is "tor:9050"'])
      expect(() => parse(faults)).toThrow(name);
  });

  it("may name Tor's control port; without it Tor is asked nothing", () => {
    expect(parse({}).torControl).toBeUndefined();
    expect(parse({ tor_control: "127.0.0.1:9051" }).torControl).toEqual({ host: "127.0.0.1", port: 9051 });
  });

  it.each<[string, Record<string, unknown>, string | RegExp]>([
    [
      "a rule for the canary",
      { rules: [{ name: "docs", event: "onionhook_canary", run: [["true"]] }] },
      "rules.0.event: this event is the relay's own test",
    ],
    ["a relay's key of another kind", { relay_box_public: "onionhook-sign-public:AAAA" }, "relay_box_public"],
    ["a control port whose name would have to be looked up", { tor_control: "tor:9051" }, "tor_control is"],
    ["the control port of no Tor", { tor: "none", tor_control: "127.0.0.1:9051" }, "tor_control: found the"],
    ["a share that is no truth value", { share: "yes" }, 'share: true or false was expected, found "yes"'],
    [
      "a command that is no list",
      { rules: [{ name: "docs", event: "push", run: "make html" }] },
      "rules.0.run: a list of commands was expected, each a list",
    ],
    [
      "a list that is one command",
      { rules: [{ name: "docs", event: "push", run: ["make", "html"] }] },
      "rules.0.run.0: a list of commands was expected, each a list",
    ],
    ["a key that there is not", { onoin: {} }, "onoin: is not a key of this file"],
    [
      "a list of no box key",
      { box_key_file: [] },
      "box_key_file: a file, or a list of files, the current one first, was expected",
    ],
    [
      "a box key that is not there in a list",
      { box_key_file: ["box.key", "none.key"] },
      "none.key cannot be",
    ],
    [
      "a box key that is not there",
      { box_key_file: "none.key" },
      /^box_key_file: .*none\.key cannot be read \(ENOENT\)$/,
    ],
    [
      "a key of another kind",
      { router: { ...router, key_file: "box.key" } },
      /^router\.key_file: .*box\.key holds a secret key/,
    ],
    [
      "our key as the webhook's secret",
      { webhook_secret_file: "box.key" },
      /^webhook_secret_file: .*box\.key holds a key of ours/,
    ],
    [
      "a required signature that nothing can check",
      { require_signature: true },
      "require_signature: webhook_secret_file was expected beside it",
    ],
  ])("refuses %s", (_what, changes, fault) => {
    expect(() => parse(changes)).toThrow(fault);
  });

  it.each([
    ["ws://abc.onion/", {}, "ERR_TOR_ONION_ADDRESS", "Copy the address again"],
    [`ws://${"a".repeat(56)}.onion/`, {}, "ERR_TOR_ONION_ADDRESS", "Copy the address again"],
    ["ws://example.org/", {}, "ERR_PLAIN_WEBSOCKET", "use wss://"],
    ["wss://example.org/", { tor: "none" }, "ERR_NOT_LOOPBACK", "the configuration's key tor"],
    [`ws://${ROUTER}/`, { tor: "none" }, "ERR_NOT_LOOPBACK", "the configuration's key tor"],
  ])("refuses the router's URL %s with %j before anything is dialled", (url, changes, code, hint) => {
    expect(() => parse({ ...changes, router: { ...router, url } })).toThrow(
      expect.objectContaining({
        code,
        message: expect.stringContaining("router.url"),
        hint: expect.stringContaining(hint),
      }),
    );
  });
});
