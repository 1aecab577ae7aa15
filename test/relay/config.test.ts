import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../relay/config.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";

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
    router: { url: "ws://router.example.org/", realm: "r", authid: "relay", key_file: "relay.key" },
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
    expect(() => named("tor.example.org:9051")).toThrow(/^tor_control is "tor.example.org:9051"$/);
  });

  it("may name no control port without Tor, which would be asked nothing", () => {
    const none = { ...json({}), tor: "none" };
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
});
