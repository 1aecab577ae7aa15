import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../relay/config.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";
import { onionAddress } from "../../shared/tor/onion-keys.ts";

const ROUTER = onionAddress(Buffer.alloc(32, 7));

describe("the relay's configuration", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-relay-"));
    writeSecretFile(join(folder, "relay.key"), formatKey("sign", "secret", new Uint8Array(32).fill(3)));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const json = (edge: Record<string, unknown>) => ({
    data_dir: "data",
    tor: "127.0.0.1:9050",
    edge: { url: "wss://hooks.example.org/drain", relay: "relay", key_file: "relay.key", ...edge },
    router: { url: `ws://${ROUTER}/`, realm: "r", authid: "relay", key_file: "relay.key" },
  });

  it("may name the streams to drain; without them there is one drain", () => {
    expect(parseConfig(json({}), folder).edge.streams).toBeUndefined();
    const streams = ["docs", "a", "s-2"];
    expect(parseConfig(json({ streams }), folder).edge.streams).toEqual(streams);
  });

  it("may name Tor's control port; without it Tor is asked nothing", () => {
    expect(parseConfig(json({}), folder).torControl).toBeUndefined();
    const named = (tor_control: string) => parseConfig({ ...json({}), tor_control }, folder).torControl;
    expect(named("unix:/run/tor/control")).toEqual({ path: "/run/tor/control" });
    expect(named("127.0.0.1:9051")).toEqual({ host: "127.0.0.1", port: 9051 });
    expect(() => named("tor.example.org:9051")).toThrow(
      expect.objectContaining({
        message: 'tor_control is "tor.example.org:9051"',
        hint: expect.stringContaining('"127.0.0.1:9051", or "unix:/run/tor/control"'),
      }),
    );
  });

  it("may name no control port without Tor, which would be asked nothing", () => {
    const here = json({ url: "ws://127.0.0.1:8787/drain" });
    const none = { ...here, tor: "none", router: { ...here.router, url: "ws+unix:/run/r.sock:/" } };
    expect(parseConfig(none, folder)).toMatchObject({ tor: "none", torControl: undefined });
    expect(() => parseConfig({ ...none, tor_control: "127.0.0.1:9051" }, folder)).toThrow(
      expect.objectContaining({
        code: "ERR_CONFIG",
        message: expect.stringMatching(/^tor_control: /),
        hint: expect.stringContaining("leave tor_control out"),
      }),
    );
  });

  it.each<[unknown, string]>([
    [[], "edge.streams: at least one stream"],
    [["docs", "docs"], "edge.streams: each stream once"],
    [["Docs"], "edge.streams.0: "],
    [["-docs"], "edge.streams.0: "],
    [["docs", "a&b"], "edge.streams.1: "],
    [["a".repeat(64)], "edge.streams.0: "],
    ["docs", "edge.streams: "],
  ])("refuses the streams %j and says which is at fault", (streams, fault) => {
    expect(() => parseConfig(json({ streams }), folder)).toThrow(
      expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringContaining(fault) }),
    );
  });

  it.each([
    ["ws://abc.onion/", {}, "ERR_TOR_ONION_ADDRESS", "Copy the address again"],
    [`ws://${"a".repeat(56)}.onion/`, {}, "ERR_TOR_ONION_ADDRESS", "Copy the address again"],
    ["ws://example.org/", {}, "ERR_PLAIN_WEBSOCKET", "use wss://"],
    ["wss://example.org/", { tor: "none" }, "ERR_NOT_LOOPBACK", "the configuration's key tor"],
    [`ws://${ROUTER}/`, { tor: "none" }, "ERR_NOT_LOOPBACK", "the configuration's key tor"],
  ])("refuses edge and router at %s with %j before anything is dialled", (url, changes, code, hint) => {
    const { router } = json({});
    for (const [field, config] of [
      ["edge.url", { ...json({ url }), router: { ...router, url: "ws://127.0.0.1/" } }],
      ["router.url", { ...json({ url: "ws://127.0.0.1/" }), router: { ...router, url } }],
    ] as const)
      expect(() => parseConfig({ ...config, ...changes }, folder)).toThrow(
        expect.objectContaining({
          code,
          message: expect.stringContaining(field),
          hint: expect.stringContaining(hint),
        }),
      );
  });

  it("names the setting of a key file that it cannot read", () => {
    expect(() => parseConfig(json({ key_file: "none.key" }), folder)).toThrow(/^edge\.key_file: .*none\.key/);
    const replay = { box_key_file: "relay.key", builders: {} };
    expect(() => parseConfig({ ...json({}), replay }, folder)).toThrow(
      /^replay\.box_key_file: .*relay\.key holds a secret key of kind sign/,
    );
  });

  it("names all that is at fault at once, form, addresses, keys and key files, each with its remedy", () => {
    writeSecretFile(join(folder, "open.key"), formatKey("sign", "secret", new Uint8Array(32).fill(5)));
    chmodSync(join(folder, "open.key"), 0o644);
    const config = {
      ...json({ url: "ws://abc.onion/", key_file: "none.key" }),
      tor: "/run/tor/socks",
      router: { url: "ws://example.org/", realm: "r", authid: "relay", key_file: "open.key" },
      replay: { box_key_file: "relay.key", builders: { one: "no key", two: "onionhook-box-public:AAAA" } },
      canary_second: 1,
    };
    expect(faultsOf(config)).toEqual([
      expect.stringMatching(/^canary_second: is not a key of this file$/),
      expect.stringMatching(/^tor is .*\n {4}Write an IP address/),
      expect.stringMatching(/edge\.url is not valid\n {4}Copy the address again/),
      expect.stringMatching(/^edge\.key_file: .*none\.key cannot be read \(ENOENT\)\n {4}make keys/),
      expect.stringMatching(/router\.url is elsewhere\n {4}use wss:/),
      expect.stringMatching(
        /^router\.key_file: .*open\.key can be read by others\n {4}chmod 600 .*open\.key$/,
      ),
      expect.stringMatching(/^replay\.builders\.one is no key of ours/),
      expect.stringMatching(/^replay\.builders\.two has 3 bytes/),
      expect.stringMatching(/^replay\.box_key_file: .* holds a secret key of kind sign/),
    ]);
  });

  it("names what can be known of a file whose form is another", () => {
    const { edge, ...others } = json({});
    expect(faultsOf({ ...others, edge: { ...edge, url: 7 }, tor: "tor:9050" })).toEqual([
      "edge.url: a string was expected, found 7",
      expect.stringMatching(/^tor is "tor:9050"/),
    ]);
    expect(faultsOf(others)).toEqual(["edge: is missing"]);
    expect(faultsOf(null)).toEqual(["the file: an object was expected, found null"]);
  });

  /** The lines of each fault. */
  function faultsOf(config: unknown): string[] {
    try {
      parseConfig(config, folder);
    } catch (error) {
      expect(error).toMatchObject({ code: "ERR_CONFIG" });
      const [, ...faults] = String(error).split(/\n {2}(?! )/);
      return faults;
    }
    return [];
  }

  it("says which setting is no address of Tor's", () => {
    expect(() => parseConfig({ ...json({}), tor: "/run/tor/socks" }, folder)).toThrow(
      expect.objectContaining({
        message: 'tor is "/run/tor/socks"',
        hint: expect.stringContaining('"unix:/run/tor/socks"'),
      }),
    );
  });
});
