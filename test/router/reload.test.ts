import { describe, expect, it, onTestFinished } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import type { Endpoint } from "../../router/listener.ts";
import { answer, challengeOf, newKeyPair, RawClient, type KeyPair } from "./raw-client.ts";
import { configJson, PRINCIPALS, startTestbed, TRANSPORT, type Change, type Testbed } from "./testbed.ts";

const revoked = [{}, "wamp.error.not_authorized"];

/** The testbed's configuration, with changes. */
function reload({ router, keys }: Testbed, ...changes: readonly Change[]): void {
  const json = configJson(
    [`${TRANSPORT}.endpoint.port`, 0],
    [`${PRINCIPALS}.relay.authorized_keys`, [keys.relay.publicHex]],
    [`${PRINCIPALS}.builder.authorized_keys`, [keys.builder.publicHex]],
    ...changes,
  );
  router.reload(parseRouterConfig(json, "/nowhere"));
}

describe("reloading the principals", () => {
  it.each<[string, Change]>([
    ["a name", [`${PRINCIPALS}.builder`, undefined]],
    ["a key", [`${PRINCIPALS}.builder.authorized_keys`, [newKeyPair().publicHex]]],
    ["a role", [`${PRINCIPALS}.builder.role`, "github"]],
  ])("ends at once the sessions of whom it takes %s, and no other", async (_name, change) => {
    const testbed = await startTestbed();
    const [relay, builder] = [await testbed.join("relay"), await testbed.join("builder")];
    reload(testbed, change);
    expect(await builder.next()).toEqual([6, ...revoked]);
    expect(await builder.closed).toBe(1000);
    expect(testbed.reports.at(-1)).toEqual(["left", { authid: "builder", reason: "revoked" }]);
    expect(await relay.settled()).toEqual([]);
  });

  it("lets nobody prove a key that was taken away since the challenge", async () => {
    const testbed = await startTestbed();
    const client = await testbed.dial();
    client.hello("builder", testbed.keys.builder.publicHex);
    const [, , extra] = await client.next();
    reload(testbed, [`${PRINCIPALS}.builder.authorized_keys`, []]);
    client.send([5, answer(testbed.keys.builder, challengeOf(extra)), {}]);
    expect(await client.next()).toEqual([3, ...revoked]);
    expect(await client.closed).toBe(1000);
  });

  it("lets in whom it adds, and disturbs nobody when nothing changes", async () => {
    const testbed = await startTestbed();
    const builder = await testbed.join("builder");
    const second = newKeyPair();
    reload(testbed, [
      `${PRINCIPALS}.builder.authorized_keys`,
      [testbed.keys.builder.publicHex, second.publicHex],
    ]);
    const other = await RawClient.join(testbed.endpoint, "builder", second);
    expect(await builder.settled()).toEqual([]);
    reload(testbed);
    expect(await other.next()).toEqual([6, ...revoked]);
    expect(await builder.settled()).toEqual([]);
    other.end();
  });
});

describe("reloading several transports", () => {
  /** A transport on an address of its own, on which one key is the builder's. */
  const transport = (host: string, ...keys: readonly KeyPair[]): unknown => ({
    type: "websocket",
    endpoint: { type: "tcp", interface: host, port: 0 },
    auth: {
      cryptosign: {
        type: "static",
        principals: {
          builder: {
            realm: "onionhook",
            role: "builder",
            authorized_keys: keys.map(({ publicHex }) => publicHex),
          },
        },
      },
    },
  });
  const [ONION, LOCAL] = ["127.0.0.1", "127.0.0.2"];

  /** Two transports, each with a key and a session of its own. */
  async function startTwo() {
    const keys = { onion: newKeyPair(), local: newKeyPair() };
    const both = [transport(ONION, keys.onion), transport(LOCAL, keys.local)];
    const { router } = await startTestbed({ changes: [["workers.0.transports", both]] });
    const [onion, local] = router.endpoints;
    if (onion === undefined || local === undefined) throw new TypeError("no two endpoints");
    const join = async (endpoint: Endpoint, pair: KeyPair) => {
      const client = await RawClient.join(endpoint, "builder", pair);
      onTestFinished(() => client.end());
      return client;
    };
    const answerToHello = async (endpoint: Endpoint, { publicHex }: KeyPair) => {
      const client = await RawClient.dial(endpoint);
      onTestFinished(() => client.end());
      client.hello("builder", publicHex);
      const [type] = await client.next();
      return type === 3 ? "ABORT" : "CHALLENGE";
    };
    return {
      keys,
      endpoints: { onion, local },
      sessions: { onion: await join(onion, keys.onion), local: await join(local, keys.local) },
      answerToHello,
      take: (...transports: readonly unknown[]) =>
        router.reload(parseRouterConfig(configJson(["workers.0.transports", transports]), "/nowhere")),
    };
  }

  it("leaves nobody on one that is taken out", async () => {
    const { keys, endpoints, sessions, answerToHello, take } = await startTwo();
    take(transport(LOCAL, keys.local));
    expect(await sessions.onion.next()).toEqual([6, ...revoked]);
    expect(await sessions.local.settled()).toEqual([]);
    expect(await answerToHello(endpoints.onion, keys.onion)).toBe("ABORT");
    expect(await answerToHello(endpoints.onion, keys.local)).toBe("ABORT");
    take(transport(ONION, keys.onion));
    expect(await sessions.local.next()).toEqual([6, ...revoked]);
    expect(await answerToHello(endpoints.onion, keys.onion)).toBe("CHALLENGE");
  });

  it("leaves each its own principals, in whatever order they are", async () => {
    const { keys, endpoints, sessions, answerToHello, take } = await startTwo();
    take(transport(LOCAL, keys.local), transport(ONION, keys.onion));
    expect(await sessions.onion.settled()).toEqual([]);
    expect(await sessions.local.settled()).toEqual([]);
    expect(await answerToHello(endpoints.local, keys.onion)).toBe("ABORT");
  });

  it("gives none's principals to one that is new, or elsewhere now", async () => {
    const { keys, endpoints, sessions, answerToHello, take } = await startTwo();
    const second = newKeyPair();
    take(transport("127.0.0.3", second), transport(LOCAL, keys.local));
    expect(await sessions.onion.next()).toEqual([6, ...revoked]);
    expect(await answerToHello(endpoints.onion, second)).toBe("ABORT");
    expect(await sessions.local.settled()).toEqual([]);
  });
});
