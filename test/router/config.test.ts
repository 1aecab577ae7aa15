import { ed25519 } from "@noble/curves/ed25519.js";
import { describe, expect, it } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { parseVerifyKey } from "../../router/cryptosign.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { configJson, deployJson, PRINCIPALS, TRANSPORT, type Change } from "./testbed.ts";

const KEYS = `${PRINCIPALS}.relay.authorized_keys`;
const PERMISSIONS = "workers.0.realms.0.roles.0.permissions";

function faultsOf(json: unknown): string[] {
  try {
    parseRouterConfig(json, "/etc/onionhook");
  } catch (error) {
    if (!(error instanceof OnionhookError)) throw error;
    expect(error.code).toBe("ERR_ROUTER_CONFIG");
    return error.message.split("\n  ").slice(1);
  }
  return [];
}

describe("parseRouterConfig", () => {
  it("reads deploy/crossbar.json, under which nobody may join before keys are filled in", () => {
    const config = parseRouterConfig(deployJson(), "/etc/onionhook");
    expect([...config.realms.keys()]).toEqual(["onionhook"]);
    expect([...(config.realms.get("onionhook")?.keys() ?? [])]).toEqual(["github", "builder"]);
    expect(config.transports).toEqual(
      ["onion", "local"].map((name) => ({
        endpoint: { type: "unix", path: `/run/onionhook-crossbar/${name}/router.sock` },
        serializers: ["msgpack", "cbor", "json"],
        principals: new Map([
          ["relay", { realm: "onionhook", role: "github", keys: [] }],
          ["builder", { realm: "onionhook", role: "builder", keys: [] }],
        ]),
        maxMessageBytes: 64 * 1024 * 1024,
        pingIntervalMs: 10_000,
        pingTimeoutMs: 10_000,
        maxConnections: undefined,
      })),
    );
  });

  it("listens on 127.0.0.1 where Crossbar.io, told no interface, would listen everywhere", () => {
    const [transport] = parseRouterConfig(
      configJson([`${TRANSPORT}.endpoint.interface`, undefined]),
      "/",
    ).transports;
    expect(transport?.endpoint).toMatchObject({ host: "127.0.0.1" });
  });

  it("finds relative socket paths from the base folder", () => {
    const json = configJson([`${TRANSPORT}.endpoint`, { type: "unix", path: "run/router.sock" }]);
    const [transport] = parseRouterConfig(json, "/var/lib/onionhook").transports;
    expect(transport?.endpoint).toEqual({ type: "unix", path: "/var/lib/onionhook/run/router.sock" });
  });

  const cases: ReadonlyArray<readonly [name: string, change: Change, fault: string]> = [
    ["another version", ["version", 1], "version: found 1, expected 2"],
    ["a missing part", ["workers", undefined], "workers: found nothing, expected this key"],
    ["a second worker", ["workers.1", { type: "container" }], 'workers[1].type: found "container"'],
    [
      "an interface for all",
      [`${TRANSPORT}.endpoint.interface`, "0.0.0.0"],
      'found "0.0.0.0", expected a loopback',
    ],
    ["a host name", [`${TRANSPORT}.endpoint.interface`, "localhost"], "expected a loopback"],
    ["a port from the environment", [`${TRANSPORT}.endpoint.port`, "$PORT"], "expected a port"],
    ["TLS", [`${TRANSPORT}.endpoint.tls`, {}], "endpoint.tls: found an object, expected nothing"],
    ["an onion endpoint", [`${TRANSPORT}.endpoint.type`, "onion"], 'endpoint.type: found "onion"'],
    [
      "another transport",
      [`${TRANSPORT}.type`, "rawsocket"],
      'type: found "rawsocket", expected "websocket"',
    ],
    [
      "anonymous clients",
      [`${TRANSPORT}.auth.anonymous`, { role: "github" }],
      "auth.anonymous: found an object",
    ],
    ["tickets", [`${TRANSPORT}.auth.ticket`, {}], "auth.ticket: found an object, expected nothing"],
    ["no authentication", [`${TRANSPORT}.auth`, undefined], "auth: found nothing"],
    [
      "dynamic cryptosign",
      [`${TRANSPORT}.auth.cryptosign.type`, "dynamic"],
      'found "dynamic", expected "static"',
    ],
    ["cookies", [`${TRANSPORT}.cookie`, {}], "cookie: found an object, expected nothing"],
    ["compression", [`${TRANSPORT}.options.compression`, {}], "options.compression: found an object"],
    [
      "seconds for milliseconds",
      [`${TRANSPORT}.options.auto_ping_interval`, 30],
      "found 30, expected milliseconds",
    ],
    ["messages without limit", [`${TRANSPORT}.options.max_message_size`, 0], "found 0, expected bytes"],
    ["an unknown serializer", [`${TRANSPORT}.serializers.0`, "ubjson"], 'serializers[0]: found "ubjson"'],
    ["no serializer", [`${TRANSPORT}.serializers`, []], "expected at least one"],
    ["an upper-case key", [`${KEYS}.0`, "AB".repeat(32)], "expected an Ed25519 public key"],
    ["a short key", [`${KEYS}.0`, "ab".repeat(31)], "authorized_keys[0]: found a string that is none"],
    ["the all-zero key", [`${KEYS}.0`, "00".repeat(32)], "expected an Ed25519 public key"],
    ["a role that is not there", [`${PRINCIPALS}.relay.role`, "admin"], 'relay.role: found "admin"'],
    ["a realm that is not there", [`${PRINCIPALS}.relay.realm`, "agent"], 'relay.realm: found "agent"'],
    ["a dynamic authorizer", ["workers.0.realms.0.roles.0.authorizer", "a.b"], "authorizer: found"],
    [
      "a permission without match",
      [`${PERMISSIONS}.0.match`, undefined],
      "permissions[0].match: found nothing",
    ],
    ["a starred permission", [`${PERMISSIONS}.1.uri`, "webhook.#"], 'permissions[1].uri: found "webhook.#"'],
    ["an exact permission ending in a dot", [`${PERMISSIONS}.1.uri`, "a."], "expected a URI for its match"],
    ["a flag that is text", [`${PERMISSIONS}.0.allow.publish`, "yes"], 'allow.publish: found "yes"'],
    [
      "a misspelt action",
      [`${PERMISSIONS}.0.allow.pubish`, true],
      "allow.pubish: found true, expected nothing",
    ],
    ["a permission given twice", [`${PERMISSIONS}.1.uri`, "webhook.github."], "expected a URI for its match"],
    ["a role given twice", ["workers.0.realms.0.roles.1.name", "github"], 'found "github" twice'],
    [
      "validation of payloads",
      [`${PERMISSIONS}.0.validate`, {}],
      "validate: found an object, expected nothing",
    ],
  ];
  it.each(cases)("refuses %s by name", (_name, change, fault) => {
    const faults = faultsOf(configJson(change));
    expect(faults.join("\n")).toContain(fault);
  });

  it("reports all faults at once, each with its path", () => {
    const faults = faultsOf(
      configJson(
        ["version", 3],
        ["controller.manhole", {}],
        [`${TRANSPORT}.endpoint.interface`, "192.168.1.1"],
        [`${TRANSPORT}.auth.anonymous`, {}],
        [`${TRANSPORT}.auth.wampcra`, {}],
        [`${PRINCIPALS}.builder.authorized_keys`, ["zz"]],
      ),
    );
    expect(faults.map((fault) => fault.slice(0, fault.indexOf(":")))).toEqual(
      expect.arrayContaining([
        "version",
        "controller.manhole",
        "workers[0].transports[0].endpoint.interface",
        "workers[0].transports[0].auth.anonymous",
        "workers[0].transports[0].auth.wampcra",
        "workers[0].transports[0].auth.cryptosign.principals.builder.authorized_keys[0]",
      ]),
    );
    expect(faults).toHaveLength(6);
  });

  it("never shows what stands where a key belongs", () => {
    const secret = "c2VjcmV0IHByaXZhdGUga2V5";
    expect(faultsOf(configJson([KEYS, [secret, { key: secret }]])).join("\n")).not.toContain(secret);
    const hex = "1f".repeat(32);
    const misplaced = faultsOf(configJson([`${PRINCIPALS}.relay.private_key`, hex])).join("\n");
    expect(misplaced).toContain("relay.private_key: found text of 64 characters, expected nothing");
    expect(misplaced).not.toContain(hex);
  });

  it.each([undefined, null, 1, "{}", [], {}])("refuses %j", (json) => {
    expect(faultsOf(json).length).toBeGreaterThan(0);
  });
});

describe("parseVerifyKey", () => {
  it("refuses every key of small order, as noble counts them", () => {
    // A point of order 8 and its multiples are all there are.
    const torsion = ed25519.Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
    expect(torsion.isSmallOrder()).toBe(true);
    let point = torsion;
    for (let index = 0; index < 8; index += 1) {
      expect(parseVerifyKey(point.toHex())).toBeUndefined();
      point = point.add(torsion);
    }
  });

  it("takes an ordinary key", () => {
    const hex = ed25519.Point.BASE.toHex();
    expect(Buffer.from(parseVerifyKey(hex) ?? []).toString("hex")).toBe(hex);
  });
});
