import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../cli/key-set.ts";
import { readRouterConfig } from "../../cli/router-config.ts";

describe("router.json", () => {
  let folder: string;
  let relay: string;
  let onion: Record<string, unknown>;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-router-"));
    makeKey(folder, "router-onion");
    relay = makeKey(folder, "relay-onion").public["key"] ?? "";
    onion = { control: "unix:/run/tor/control", key_file: "router-onion.key", clients: { relay } };
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function read(changes: Record<string, unknown>) {
    const path = join(folder, "router.json");
    writeFileSync(path, JSON.stringify({ crossbar: "crossbar.json", onion: { ...onion, ...changes } }));
    return readRouterConfig(path);
  }

  it("gives clients by name, closed to others, without defences unless they are asked for", () => {
    const { crossbar, onion: read1 } = read({});
    expect(crossbar).toBe(join(folder, "crossbar.json"));
    expect(Object.keys(read1?.clients ?? {})).toEqual(["relay"]);
    expect(read1).toMatchObject({ open: false, pow: undefined, maxStreams: undefined });
    expect(read({ pow: {}, max_streams: 8 }).onion).toMatchObject({
      pow: { queueRate: 250, queueBurst: 2500 },
      maxStreams: 8,
    });
  });

  it("is open to anybody only when that is said", () => {
    expect(read({ clients: {}, open: true }).onion).toMatchObject({ clients: {}, open: true });
    expect(() => read({ clients: {} })).toThrow(/must be said: "open": true/);
    expect(() => read({ open: true })).toThrow("open and clients exclude each other");
  });

  it.each([
    ["a list of clients", { clients: ["onionhook-onion-client-public:AAAA"] }, "keys new relay-onion"],
    ["a name that is no file's", { clients: { "../x": "k" } }, "letters, digits, _ and -"],
    ["a rate at the introduction points", { introduction_rate: 10 }, "deploy/tor/onion-service.torrc"],
    ["a burst below the rate", { pow: { queue_rate: 10, queue_burst: 5 } }, "at least queue_rate"],
    ["no streams at all", { max_streams: 0 }, "onion.max_streams"],
    ["a rate of nothing", { pow: { queue_rate: 0 } }, "onion.pow.queue_rate"],
  ])("refuses %s, and says what to do", (_, changes, message) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code: "ERR_CONFIG" }));
    expect(() => read(changes)).toThrow(message);
  });

  it("refuses another kind of key for a client, by the client's name, without repeating it", () => {
    const wamp = makeKey(folder, "relay-wamp").public["key"] ?? "";
    expect(() => read({ clients: { relay: wamp } })).toThrow(
      /onion\.clients\.relay holds a public key of kind sign/,
    );
    expect(() => read({ clients: { relay: wamp } })).not.toThrow(wamp);
  });
});
