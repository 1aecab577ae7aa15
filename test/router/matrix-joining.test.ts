/** Who is let in, who is not and why, and what may be said before: two routers, one table. */
import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import {
  answerTo,
  describeRouters,
  EMPTY_REALM,
  inWords,
  keys,
  SERIALIZERS,
  type Expected,
  type MatrixRouter,
} from "./matrix-routers.ts";
import { answer, challengeOf, newKeyPair, record, type RawClient } from "./raw-client.ts";

const NOT_AUTHORIZED = "wamp.error.not_authorized";

/** Crossbar.io leaves a connection open whose HELLO or signature it refused, even for another HELLO. */
const refused = (reason: string): Expected => ({
  ours: `ABORT ${reason}, closed 1000`,
  crossbar: `ABORT ${reason}`,
});
/** Crossbar.io does not answer what comes out of turn, and waits. */
const outOfTurn: Expected = { ours: "closed 1002", crossbar: "nothing" };

const roles = { publisher: {}, subscriber: {}, caller: {}, callee: {} };
const pubkey = keys.relay.publicHex;

/** HELLO of the relay with changes; `undefined` takes a key away. */
function hello(changes: Readonly<Record<string, unknown>> = {}, realm: unknown = "onionhook"): unknown[] {
  const details = { roles, authmethods: ["cryptosign"], authid: "relay", authextra: { pubkey }, ...changes };
  return [1, realm, Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined))];
}

const HELLOS: ReadonlyArray<readonly [what: string, message: unknown[], expected: Expected]> = [
  ["its name and its key", hello(), "CHALLENGE"],
  ["its key, and no name", hello({ authid: undefined }), "CHALLENGE"],
  ["other methods too", hello({ authmethods: ["ticket", "cryptosign"] }), "CHALLENGE"],
  ["features that nobody knows", hello({ roles: { publisher: { features: { x: true } } } }), "CHALLENGE"],
  ["no channel binding", hello({ authextra: { pubkey, channel_binding: null } }), "CHALLENGE"],

  ["an unknown name", hello({ authid: "mallory" }), refused(NOT_AUTHORIZED)],
  ["a name like a property's", hello({ authid: "__proto__" }), refused(NOT_AUTHORIZED)],
  ["an empty name", hello({ authid: "" }), refused(NOT_AUTHORIZED)],
  ["another's name", hello({ authid: "builder" }), refused(NOT_AUTHORIZED)],
  ["another's key", hello({ authextra: { pubkey: keys.builder.publicHex } }), refused(NOT_AUTHORIZED)],
  ["an unknown key", hello({ authextra: { pubkey: newKeyPair().publicHex } }), refused(NOT_AUTHORIZED)],
  [
    "an unknown key, and no name",
    hello({ authid: undefined, authextra: { pubkey: newKeyPair().publicHex } }),
    refused(NOT_AUTHORIZED),
  ],
  ["its key in upper case", hello({ authextra: { pubkey: pubkey.toUpperCase() } }), refused(NOT_AUTHORIZED)],
  ["a short key", hello({ authextra: { pubkey: "ab" } }), refused(NOT_AUTHORIZED)],
  ["a number for its key", hello({ authextra: { pubkey: 5 } }), refused(NOT_AUTHORIZED)],
  ["no key", hello({ authextra: {} }), refused(NOT_AUTHORIZED)],
  ["no authextra", hello({ authextra: undefined }), refused(NOT_AUTHORIZED)],
  [
    "a channel binding that this transport cannot have",
    hello({ authextra: { pubkey, channel_binding: "tls-unique" } }),
    refused(NOT_AUTHORIZED),
  ],
  [
    "a channel binding that nobody knows",
    hello({ authextra: { pubkey, channel_binding: "x" } }),
    refused(NOT_AUTHORIZED),
  ],

  ["only other methods", hello({ authmethods: ["ticket", "wampcra"] }), refused("wamp.error.no_auth_method")],
  ["anonymous", hello({ authmethods: ["anonymous"] }), refused("wamp.error.no_auth_method")],
  ["cookie and TLS", hello({ authmethods: ["cookie", "tls"] }), refused("wamp.error.no_auth_method")],
  ["an empty list of methods", hello({ authmethods: [] }), refused("wamp.error.no_auth_method")],
  ["no methods", hello({ authmethods: undefined }), refused("wamp.error.no_auth_method")],
  [
    "a method that nobody knows",
    hello({ authmethods: ["x"] }),
    { ours: "ABORT wamp.error.no_auth_method, closed 1000", crossbar: `ABORT ${NOT_AUTHORIZED}` },
  ],
  [
    "a method that nobody knows, and cryptosign",
    hello({ authmethods: ["x", "cryptosign"] }),
    { ours: "CHALLENGE", crossbar: `ABORT ${NOT_AUTHORIZED}` },
  ],

  // Crossbar.io puts it into the realm of its principal, whatever it asks for.
  [
    "another realm",
    hello({}, EMPTY_REALM),
    { ours: `ABORT ${NOT_AUTHORIZED}, closed 1000`, crossbar: "CHALLENGE" },
  ],
  [
    "a realm that there is not",
    hello({}, "elsewhere"),
    { ours: "ABORT wamp.error.no_such_realm, closed 1000", crossbar: "CHALLENGE" },
  ],
  [
    "Crossbar.io's own realm",
    hello({}, "crossbar"),
    { ours: "ABORT wamp.error.no_such_realm, closed 1000", crossbar: "CHALLENGE" },
  ],
  ["no realm (null)", hello({}, null), "CHALLENGE"],
  ["a malformed realm", hello({}, "a b"), "closed 1011"],
  ["a realm with an empty component", hello({}, "a..b"), "closed 1011"],
  ["an empty realm", hello({}, ""), "closed 1011"],
  ["a number for the realm", hello({}, 5), "closed 1011"],

  ["no roles", hello({ roles: undefined }), "closed 1002"],
  ["empty roles", hello({ roles: {} }), "closed 1002"],
  ["a list of roles", hello({ roles: [] }), "closed 1002"],
  ["a router's role", hello({ roles: { broker: {} } }), "closed 1002"],
  ["a role that is no dictionary", hello({ roles: { publisher: 5 } }), "closed 1002"],
  ["text for methods", hello({ authmethods: "cryptosign" }), "closed 1002"],
  ["numbers for methods", hello({ authmethods: [5] }), "closed 1002"],
  ["a list for authextra", hello({ authextra: [] }), "closed 1002"],
  ["no details", [1, "onionhook"], "closed 1002"],
  ["null for details", [1, "onionhook", null], "closed 1002"],
  ["an element too many", [...hello(), 1], "closed 1002"],
];

const OUT_OF_TURN: ReadonlyArray<readonly [what: string, message: unknown[], expected: Expected]> = [
  ["PUBLISH", [16, 1, { acknowledge: true }, "webhook.github.push"], outOfTurn],
  ["SUBSCRIBE", [32, 1, {}, "webhook.receipt"], outOfTurn],
  ["CALL", [48, 1, {}, "wamp.subscription.list"], outOfTurn],
  ["REGISTER", [64, 1, {}, "webhook.replay"], outOfTurn],
  ["GOODBYE", [6, {}, "wamp.close.normal"], outOfTurn],
  ["WELCOME", [2, 1, { roles: { broker: {} } }], outOfTurn],
  ["CHALLENGE", [4, "cryptosign", {}], outOfTurn],
  ["ABORT", [3, {}, "wamp.error.canceled"], { ours: "closed 1000", crossbar: "nothing" }],
  ["a message that nobody knows", [99, 1], "closed 1002"],
  ["an empty list", [], "closed 1002"],
];

type Signature = (challenge: Uint8Array) => unknown[];
const ANSWERS: ReadonlyArray<readonly [what: string, message: Signature, expected: Expected]> = [
  ["the right signature", (challenge) => [5, answer(keys.relay, challenge), {}], "WELCOME"],
  ["it in upper case", (challenge) => [5, answer(keys.relay, challenge).toUpperCase(), {}], "WELCOME"],
  ["another key's", (challenge) => [5, answer(newKeyPair(), challenge), {}], refused(NOT_AUTHORIZED)],
  ["that of another challenge", () => [5, answer(keys.relay, Buffer.alloc(32)), {}], refused(NOT_AUTHORIZED)],
  ["an empty one", () => [5, "", {}], refused(NOT_AUTHORIZED)],
  [
    "one without the challenge",
    (challenge) => [5, answer(keys.relay, challenge).slice(0, 128), {}],
    refused(NOT_AUTHORIZED),
  ],
  ["a longer one", (challenge) => [5, `${answer(keys.relay, challenge)}00`, {}], refused(NOT_AUTHORIZED)],
  ["no hex", () => [5, "zz".repeat(96), {}], refused(NOT_AUTHORIZED)],
  ["a number", () => [5, 5, {}], "closed 1002"],
  ["no extra", (challenge) => [5, answer(keys.relay, challenge)], "closed 1002"],
  ["null for extra", (challenge) => [5, answer(keys.relay, challenge), null], "closed 1002"],
];

describeRouters("joining", (router) => {
  describe.each(SERIALIZERS)("over %s", (serializer) => {
    it.each([...HELLOS, ...OUT_OF_TURN])("beginning with %s", async (_what, message, expected) => {
      const client = await router.dial(serializer);
      const words = router.expected(expected);
      expect(inWords(await answerTo(client, () => client.send(message), words))).toBe(words);
      client.end();
    });

    it.each(ANSWERS)("answering the challenge with %s", async (_what, message, expected) => {
      const client = await router.dial(serializer);
      const challenge = await challengeFor(client);
      const words = router.expected(expected);
      expect(inWords(await answerTo(client, () => client.send(message(challenge)), words))).toBe(words);
      client.end();
    });
  });

  it("a role is the principal's own, whatever role it asks for", async () => {
    const client = await router.dial("json");
    const challenge = await challengeFor(client, { authrole: "builder" });
    const { messages } = await answerTo(client, () => client.send([5, answer(keys.relay, challenge), {}]));
    expect(messages[0]?.[2]).toMatchObject({
      realm: "onionhook",
      authid: "relay",
      authrole: "github",
      authmethod: "cryptosign",
      authprovider: "static",
    });
  });

  it("nobody is told the name of the router's host", async () => {
    const client = await router.dial("json");
    const challenge = await challengeFor(client);
    const { messages } = await answerTo(client, () => client.send([5, answer(keys.relay, challenge), {}]));
    const welcome = record(messages[0]?.[2]);
    expect(JSON.stringify(welcome)).not.toContain(hostname());
    expect(welcome["x_cb_node"]).toBe(router.which === "crossbar" ? "router" : undefined);
  });

  it.each([
    ["no subprotocol", []],
    ["one that nobody knows", ["wamp.2.nonsense"]],
    ["one that is turned off", ["wamp.2.ubjson"]],
  ])("the upgrade is refused with %s", async (_what, protocols) => {
    expect(await refusedWith(router, protocols)).toBe(400);
  });
});

/** Of a HELLO with changes that is good all the same. */
async function challengeFor(
  client: RawClient,
  changes?: Readonly<Record<string, unknown>>,
): Promise<Uint8Array> {
  client.send(hello(changes));
  const [, , extra] = await client.next();
  return challengeOf(extra);
}

/** The HTTP status with which an upgrade is refused. */
function refusedWith(router: MatrixRouter, protocols: string[]): Promise<number | undefined> {
  const ws = new WebSocket(`ws+unix://${router.socket()}:/`, protocols);
  return new Promise((resolve, reject) => {
    ws.once("unexpected-response", (request, response) => {
      resolve(response.statusCode);
      request.destroy();
    });
    ws.once("open", () => {
      ws.terminate();
      reject(new Error(`taken as ${ws.protocol}`));
    });
    ws.on("error", () => {});
  });
}
