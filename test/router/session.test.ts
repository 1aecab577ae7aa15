import { describe, expect, it } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { features } from "../../router/features.ts";
import { until } from "../helpers/until.ts";
import { ManualClock } from "./manual-clock.ts";
import { answer, challengeOf, newKeyPair, RawClient, record } from "./raw-client.ts";
import { configJson, EVERYTHING, PRINCIPALS, startTestbed, TRANSPORT, type Testbed } from "./testbed.ts";

const NOT_AUTHORIZED = "wamp.error.not_authorized";

describe("the handshake", () => {
  it("welcomes who holds the key, and announces what there is", async () => {
    const { join, reports } = await startTestbed();
    const relay = await join("relay", "json");
    expect(relay.welcome).toEqual({
      realm: "onionhook",
      authid: "relay",
      authrole: "github",
      authmethod: "cryptosign",
      authprovider: "static",
      roles: features,
    });
    expect(relay.session).toBeGreaterThan(0);
    expect(relay.session).toBeLessThan(2 ** 32);
    expect(reports).toEqual([["joined", { authid: "relay", role: "github", serializer: "json" }]]);
  });

  it("finds the name by the key when the client gives none", async () => {
    const { dial, keys } = await startTestbed();
    const client = await dial();
    client.hello(undefined, keys.builder.publicHex);
    const [, , extra] = await client.next();
    const [type, , details] = await client.ask([5, answer(keys.builder, challengeOf(extra)), {}]);
    expect([type, record(details)["authid"]]).toEqual([2, "builder"]);
  });

  const refusals: ReadonlyArray<
    readonly [name: string, changes: Record<string, unknown>, reason: string, why: string]
  > = [
    ["an unknown name", { authid: "mallory" }, NOT_AUTHORIZED, "unknown_principal"],
    ["a name like a property's", { authid: "__proto__" }, NOT_AUTHORIZED, "unknown_principal"],
    ["another's name", { authid: "builder" }, NOT_AUTHORIZED, "unknown_principal"],
    ["no key", { authextra: {} }, NOT_AUTHORIZED, "unknown_principal"],
    ["a number for a key", { authextra: { pubkey: 7 } }, NOT_AUTHORIZED, "unknown_principal"],
    ["a malformed key", { authextra: { pubkey: "x" } }, NOT_AUTHORIZED, "unknown_principal"],
    ["channel binding", { authextra: { channel_binding: "tls-unique" } }, NOT_AUTHORIZED, "channel_binding"],
    [
      "no cryptosign",
      { authmethods: ["ticket", "anonymous"] },
      "wamp.error.no_auth_method",
      "no_auth_method",
    ],
    ["no method at all", { authmethods: undefined }, "wamp.error.no_auth_method", "no_auth_method"],
  ];
  it.each(refusals)("refuses %s", async (_name, changes, reason, why) => {
    const { dial, keys, reports } = await startTestbed();
    const client = await dial();
    client.hello("relay", keys.relay.publicHex, changes);
    expect(await client.next()).toEqual([3, { message: "not admitted" }, reason]);
    expect(await client.closed).toBe(1000);
    expect(reports).toEqual([["refused", { why }]]);
  });

  it("refuses a realm that is not there", async () => {
    const { dial } = await startTestbed();
    const client = await dial();
    const [type, , reason] = await client.ask([
      1,
      "elsewhere",
      { roles: { caller: {} }, authmethods: ["cryptosign"] },
    ]);
    expect([type, reason]).toEqual([3, "wamp.error.no_such_realm"]);
  });

  it("refuses a principal whose role is not there", async () => {
    const { dial, keys } = await startTestbed({
      adjust: (config) => ({ ...config, realms: new Map([["onionhook", new Map()]]) }),
    });
    const client = await dial();
    client.hello("relay", keys.relay.publicHex);
    expect(await client.next()).toMatchObject([3, {}, "wamp.error.no_such_role"]);
  });

  it("refuses everybody while no keys are filled in", async () => {
    const { dial, keys } = await startTestbed({ changes: [[`${PRINCIPALS}.relay.authorized_keys`, []]] });
    const client = await dial();
    client.hello("relay", keys.relay.publicHex);
    expect(await client.next()).toMatchObject([3, {}, NOT_AUTHORIZED]);
  });

  it("refuses a signature by another key, and ends there", async () => {
    const { dial, keys, reports } = await startTestbed();
    const client = await dial();
    client.hello("relay", keys.relay.publicHex);
    const [, , extra] = await client.next();
    client.send([5, answer(newKeyPair(), challengeOf(extra)), {}]);
    client.send([5, answer(keys.relay, challengeOf(extra)), {}]);
    expect(await client.next()).toMatchObject([3, {}, NOT_AUTHORIZED]);
    expect(await client.closed).toBe(1000);
    expect(reports).toEqual([["refused", { why: "wrong_signature", authid: "relay" }]]);
  });

  it("refuses a signature that was good once", async () => {
    const { dial, keys } = await startTestbed();
    const [first, second] = [await dial(), await dial()];
    first.hello("relay", keys.relay.publicHex);
    const [, , extra] = await first.next();
    const signature = answer(keys.relay, challengeOf(extra));
    expect((await first.ask([5, signature, {}]))[0]).toBe(2);
    second.hello("relay", keys.relay.publicHex);
    await second.next();
    expect(await second.ask([5, signature, {}])).toMatchObject([3, {}, NOT_AUTHORIZED]);
  });

  it.each(["", "00", "zz".repeat(96), "00".repeat(96), "00".repeat(95), "00".repeat(64)])(
    "refuses %j for a signature",
    async (signature) => {
      const { dial, keys } = await startTestbed();
      const client = await dial();
      client.hello("relay", keys.relay.publicHex);
      await client.next();
      expect(await client.ask([5, signature, {}])).toMatchObject([3, {}, NOT_AUTHORIZED]);
    },
  );

  it.each([
    ["a request before HELLO", [32, 1, {}, "webhook.github.push"]],
    ["AUTHENTICATE before HELLO", [5, "00".repeat(96), {}]],
    ["GOODBYE before HELLO", [6, {}, "wamp.close.normal"]],
    ["WELCOME", [2, 1, {}]],
    ["HELLO without roles", [1, "onionhook", {}]],
    ["HELLO with roles that no client has", [1, "onionhook", { roles: { broker: {} } }]],
    [
      "HELLO with text for a feature",
      [1, "onionhook", { roles: { callee: { features: { call_canceling: "yes" } } } }],
    ],
    [
      "HELLO with text for authmethods",
      [1, "onionhook", { roles: { caller: {} }, authmethods: "cryptosign" }],
    ],
    ["an empty list", []],
    ["HELLO to a realm that is no name", [1, "a b", { roles: { caller: {} } }], 1011],
    ["HELLO to a realm that is a number", [1, 7, { roles: { caller: {} } }], 1011],
  ])("ends the connection with 1002, or 1011 for a name, after %s", async (_name, message, code = 1002) => {
    const { dial } = await startTestbed();
    const client = await dial();
    expect(await client.ask(message)).toMatchObject([3, {}, "wamp.error.protocol_violation"]);
    expect(await client.closed).toBe(code);
  });

  it("ends the connection with 1002 after AUTHENTICATE without its extra", async () => {
    const { dial, keys } = await startTestbed();
    const client = await dial();
    client.hello("relay", keys.relay.publicHex);
    const [, , extra] = await client.next();
    client.send([5, answer(keys.relay, challengeOf(extra)), null]);
    expect(await client.closed).toBe(1002);
  });

  it("takes HELLO only once", async () => {
    const { join, keys, reports } = await startTestbed();
    const client = await join("relay");
    client.hello("relay", keys.relay.publicHex);
    expect(await client.closed).toBe(1002);
    expect(reports.at(-1)).toEqual(["left", { authid: "relay", reason: "fault" }]);
  });

  it("ends with 1009 who has much to say before joining", async () => {
    const { dial } = await startTestbed();
    const client = await dial();
    client.send([1, "onionhook", { roles: {}, padding: "x".repeat(20_000) }]);
    expect(await client.closed).toBe(1009);
  });
});

describe("before joining", () => {
  it("a client that sends much, in pieces, is cut off before it is all there", async () => {
    const { dial } = await startTestbed();
    const client = await dial();
    const piece = Buffer.alloc(16 * 1024);
    client.ws.send(piece, { fin: false, binary: true });
    for (let sent = 0; sent < 8; sent += 1) client.ws.send(piece, { fin: false, binary: true });
    expect(await client.closed).toBe(1006);
  });
});

describe("leaving", () => {
  it("answers GOODBYE and closes", async () => {
    const { join, reports } = await startTestbed();
    const relay = await join("relay");
    expect(await relay.ask([6, {}, "wamp.close.normal"])).toEqual([6, {}, "wamp.close.goodbye_and_out"]);
    expect(await relay.closed).toBe(1000);
    expect(reports.at(-1)).toEqual(["left", { authid: "relay", reason: "goodbye" }]);
  });

  type Leave = (client: RawClient, testbed: Testbed) => Promise<unknown> | void;
  it.each<[how: string, leave: Leave, farewell: string | undefined]>([
    ["goodbye", (client) => client.send([6, {}, "wamp.close.normal"]), "6 wamp.close.goodbye_and_out"],
    ["a protocol error", (client) => client.send([1, "onionhook", {}]), "3 wamp.error.protocol_violation"],
    [
      "being killed",
      async (client, { join }) =>
        (await join("relay")).send([48, 1, {}, "wamp.session.kill", [client.session]]),
      "6 wamp.close.normal",
    ],
    [
      "losing its place",
      (_client, { router }) =>
        router.reload(parseRouterConfig(configJson([`${TRANSPORT}.endpoint.port`, 0]), "/nowhere")),
      "6 wamp.error.not_authorized",
    ],
    ["an ABORT of its own", (client) => client.send([3, {}, "wamp.close.normal"]), undefined],
  ])(
    "by %s, it hears of nothing after the farewell, nor of its own leaving",
    async (_how, leave, farewell) => {
      const testbed = await startTestbed({ changes: [EVERYTHING] });
      const client = await testbed.join("relay");
      // The first to be given up is the one of which the others tell.
      client.send([32, 1, {}, "a.b"]);
      for (const topic of ["unsubscribe", "delete"])
        client.send([32, 2, {}, `wamp.subscription.on_${topic}`]);
      client.send([32, 3, {}, "wamp.session.on_leave"]);
      await client.settled();
      await leave(client, testbed);
      const heard = (await client.rest()).map(([type, , reason]) => `${String(type)} ${String(reason)}`);
      expect(heard).toEqual(farewell === undefined ? [] : [farewell]);
    },
  );

  it("notices a lost connection", async () => {
    const { join, reports } = await startTestbed();
    const relay = await join("relay");
    relay.end();
    await until(() => expect(reports.at(-1)).toEqual(["left", { authid: "relay", reason: "lost" }]));
  });
});

describe("silence", () => {
  it.each(["nothing", "HELLO"])("is ended after 10 s when the client has said %s", async (said) => {
    const clock = new ManualClock();
    const { dial, keys } = await startTestbed({ clock });
    const client = await dial();
    if (said === "HELLO") {
      client.hello("relay", keys.relay.publicHex);
      await client.next();
    }
    clock.forward(9_999);
    expect(client.ws.readyState).toBe(client.ws.OPEN);
    clock.forward(1);
    expect(await client.closed).toBe(1006);
  });

  it("is allowed to who has joined, as long as pings are answered", async () => {
    const clock = new ManualClock();
    const { join, reports } = await startTestbed({ clock });
    const relay = await join("relay");
    for (let beat = 0; beat < 3; beat += 1) {
      const pinged = new Promise((resolve) => relay.ws.once("ping", resolve));
      clock.forward(10_000);
      // oxlint-disable-next-line no-await-in-loop
      await pinged;
      // oxlint-disable-next-line no-await-in-loop
      await relay.settled();
    }
    expect(relay.ws.readyState).toBe(relay.ws.OPEN);
    expect(reports).toHaveLength(1);
  });

  it("ends a session that does not answer a ping in time", async () => {
    const clock = new ManualClock();
    const { endpoint, keys, reports } = await startTestbed({ clock });
    const relay = await RawClient.join(endpoint, "relay", keys.relay, "msgpack", { autoPong: false });
    const pinged = new Promise((resolve) => relay.ws.once("ping", resolve));
    clock.forward(10_000);
    await pinged;
    clock.forward(10_000);
    expect(await relay.closed).toBe(1006);
    expect(reports.at(-1)).toEqual(["left", { authid: "relay", reason: "silent" }]);
    expect(clock.waiting).toBe(0);
  });
});
