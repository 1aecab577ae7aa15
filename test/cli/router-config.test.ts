import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../cli/key-set.ts";
import { waitsForRestart } from "../../cli/router-changes.ts";
import { readRouterConfig } from "../../cli/router-config.ts";
import { parseRouterConfig } from "../../router/config.ts";
import { formatKey } from "../../shared/keys.ts";
import { ROOT } from "../helpers/peers.ts";

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
    ["no clients", { clients: undefined }, "onion.clients: is missing"],
    ["nobody", { clients: {} }, "onion.clients: at least one was expected"],
    ["a key that there is not", { client: {} }, "onion.client: is not a key of this file"],
    ["a name that is no file's", { clients: { "../x": "k" } }, "letters, digits, _ and -"],
    ["a rate at the introduction points", { introduction_rate: 10 }, "deploy/tor/onion-service.torrc"],
    ["a burst below the rate", { pow: { queue_rate: 10, queue_burst: 5 } }, "at least queue_rate"],
    ["no streams at all", { max_streams: 0 }, "onion.max_streams"],
    ["a rate of nothing", { pow: { queue_rate: 0 } }, "onion.pow.queue_rate"],
  ])("refuses %s, and says what to do", (_, changes, message) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code: "ERR_CONFIG" }));
    expect(() => read(changes)).toThrow(message);
  });

  it("names the setting of an address or a key file that is at fault", () => {
    expect(() => read({ control: "9051" })).toThrow(
      expect.objectContaining({
        message: 'onion.control is "9051"',
        hint: expect.stringContaining('"127.0.0.1:9051", or "unix:/run/tor/control"'),
      }),
    );
    expect(() => read({ key_file: "none.key" })).toThrow(/^onion\.key_file: .*none\.key cannot be read/);
  });

  it("names all that is at fault at once", () => {
    const faults = { control: "9051", key_file: "none.key", clients: { relay, builder: "no key" }, pw: {} };
    for (const name of ["onion.control is", "onion.key_file: ", "onion.clients.builder is", "onion.pw: "])
      expect(() => read(faults)).toThrow(name);
  });

  it("refuses another kind of key for a client, by the client's name, without repeating it", () => {
    const wamp = makeKey(folder, "relay-wamp").public["key"] ?? "";
    expect(() => read({ clients: { relay: wamp } })).toThrow(
      /onion\.clients\.relay holds a public key of kind sign/,
    );
    expect(() => read({ clients: { relay: wamp } })).not.toThrow(wamp);
  });

  it("refuses a client's key that anybody could use, by the client's name", () => {
    const builder = formatKey("onion-client", "public", new Uint8Array(32));
    expect(() => read({ clients: { relay, builder } })).toThrow(
      expect.objectContaining({
        code: "ERR_KEY",
        message: expect.stringContaining("onion.clients.builder is a low-order point"),
      }),
    );
  });

  it("names what a running router cannot take up, and not who may connect or join", () => {
    const crossbar = (change: (worker: Worker) => unknown = () => undefined) => {
      const json = JSON.parse(readFileSync(join(ROOT, "deploy/crossbar.json"), "utf8")) as {
        workers: [Worker];
      };
      change(json.workers[0]);
      return parseRouterConfig(json, "/");
    };
    const running = { file: read({}), crossbar: crossbar() };
    const after = (changed: Partial<typeof running>) => waitsForRestart(running, { ...running, ...changed });
    expect(after({ file: read({ clients: { other: relay } }) })).toEqual([]);
    const empty = ({ transports: [{ auth }] }: Worker) => (auth.cryptosign.principals = {});
    expect(after({ crossbar: crossbar(empty) })).toEqual([]);

    makeKey(join(folder, "other"), "router-onion");
    for (const [name, changes] of Object.entries({
      "onion.control": { control: "unix:/run/other" },
      "onion.key_file": { key_file: "other/router-onion.key" },
      "onion.pow": { pow: {} },
      "onion.max_streams": { max_streams: 9 },
      "onion.introduction_grace_seconds": { introduction_grace_seconds: 9 },
    }))
      expect(after({ file: read(changes) })).toEqual([name]);
    expect(after({ file: { ...running.file, onion: undefined } })).toEqual(["onion"]);
    const permissions = ({ realms: [{ roles }] }: Worker) => roles[0].permissions.pop();
    expect(after({ crossbar: crossbar(permissions) })).toEqual(["realms"]);
    const endpoint = ({ transports: [transport] }: Worker) => (transport.endpoint.path = "/run/other");
    expect(after({ crossbar: crossbar(endpoint) })).toEqual(["transports"]);
    expect(after({ crossbar: crossbar(({ transports }) => transports.pop()) })).toEqual(["transports"]);
  });
});

interface Worker {
  realms: [{ roles: [{ permissions: unknown[] }] }];
  transports: [{ endpoint: { path: string }; auth: { cryptosign: { principals: object } } }];
}
