/** What breaks the protocol after joining, and with which code it ends: two routers, one table. */
import { describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import {
  answerTo,
  describeRouters,
  inWords,
  SERIALIZERS,
  type Authid,
  type Expected,
} from "./matrix-routers.ts";

const TOPIC = "webhook.github.push";
const PROCEDURE = "webhook.replay";
const ACK = { acknowledge: true };
const BYTES = Buffer.from("sealed");

type Row = readonly [what: string, authid: Authid, message: unknown[], expected: Expected];
type Asked = readonly [what: string, authid: Authid, message: unknown[]];
const publish = (what: string, ...rest: unknown[]): Asked => [`PUBLISH with ${what}`, "relay", [16, ...rest]];
const faulty = (asked: Asked, code = 1002): Row => [...asked, `closed ${code}`];

/** Strictly: a null is no list. Crossbar.io takes it for none, but in PUBLISH. */
const nullArgs: Expected = { ours: "closed 1002", crossbar: "nothing" };

const MESSAGES: readonly Row[] = [
  // What is well formed, for comparison.
  [...publish("no payload", 1, ACK, TOPIC), "PUBLISHED"],
  [...publish("the id 0", 0, ACK, TOPIC), "PUBLISHED"],
  [...publish("an unknown option", 1, { ...ACK, x: 1 }, TOPIC), "PUBLISHED"],
  [...publish("bytes", 1, ACK, TOPIC, BYTES), "PUBLISHED"],
  [
    ...publish(
      "a sealed payload",
      1,
      { ...ACK, enc_algo: "cryptobox", enc_serializer: "json" },
      TOPIC,
      BYTES,
    ),
    "PUBLISHED",
  ],
  [...publish("a private algorithm", 1, { ...ACK, enc_algo: "x_own" }, TOPIC, BYTES), "PUBLISHED"],
  [...publish("null for the algorithm", 1, { ...ACK, enc_algo: null }, TOPIC, BYTES), "PUBLISHED"],
  ["UNSUBSCRIBE of what is not there", "builder", [34, 1, 5], "wamp.error.no_such_subscription"],
  ["UNREGISTER of what is not there", "relay", [66, 1, 5], "wamp.error.no_such_registration"],
  ["CALL of what nobody registered", "builder", [48, 1, {}, PROCEDURE], "wamp.error.no_such_procedure"],
  ["CANCEL of no call", "builder", [49, 1, {}], "nothing"],
  ["YIELD for no invocation", "relay", [70, 5, {}], "nothing"],
  ["ERROR for no invocation", "relay", [8, 68, 5, {}, "a.b"], "nothing"],

  faulty(publish("no topic", 1, ACK)),
  faulty(publish("an element too many", 1, ACK, TOPIC, [], {}, 1)),
  faulty(publish("a negative id", -1, ACK, TOPIC)),
  faulty(publish("a broken id", 1.5, ACK, TOPIC)),
  faulty(publish("an id that is text", "1", ACK, TOPIC)),
  faulty(publish("null for its id", null, ACK, TOPIC)),
  faulty(publish("an id above 2^53", 2n ** 53n + 2n, ACK, TOPIC)),
  faulty(publish("null for options", 1, null, TOPIC)),
  faulty(publish("a list of options", 1, [], TOPIC)),
  faulty(publish("a number for acknowledge", 1, { acknowledge: 1 }, TOPIC)),
  faulty(publish("null for acknowledge", 1, { acknowledge: null }, TOPIC)),
  faulty(publish("a number for exclude_me", 1, { ...ACK, exclude_me: 1 }, TOPIC)),
  faulty(publish("text in exclude", 1, { ...ACK, exclude: ["x"] }, TOPIC)),
  faulty(publish("a number for eligible", 1, { ...ACK, eligible: 5 }, TOPIC)),
  faulty(publish("numbers in exclude_authid", 1, { ...ACK, exclude_authid: [5] }, TOPIC)),
  faulty(publish("a number for its topic", 1, ACK, 5), 1011),
  faulty(publish("null for its topic", 1, ACK, null), 1011),
  faulty(publish("null for args", 1, ACK, TOPIC, null)),
  faulty(publish("null for args, unacknowledged", 1, {}, TOPIC, null)),
  faulty(publish("a dictionary for args", 1, ACK, TOPIC, {})),
  faulty(publish("a number for args", 1, ACK, TOPIC, 5)),
  faulty(publish("text for args", 1, ACK, TOPIC, "text"), 1011),
  faulty(publish("null for kwargs", 1, ACK, TOPIC, [], null)),
  faulty(publish("a list for kwargs", 1, ACK, TOPIC, [], [])),
  faulty(publish("an unknown algorithm", 1, { ...ACK, enc_algo: "rot13" }, TOPIC, BYTES)),
  faulty(publish("a number for the algorithm", 1, { ...ACK, enc_algo: 5 }, TOPIC, BYTES)),
  faulty(
    publish(
      "an unknown inner serializer",
      1,
      { ...ACK, enc_algo: "cryptobox", enc_serializer: "xml" },
      TOPIC,
      BYTES,
    ),
  ),
  faulty(publish("a number for enc_key", 1, { ...ACK, enc_algo: "cryptobox", enc_key: 5 }, TOPIC, BYTES)),

  faulty(["SUBSCRIBE without topic", "builder", [32, 1, {}]]),
  faulty(["SUBSCRIBE with an element too many", "builder", [32, 1, {}, TOPIC, []]]),
  faulty(["SUBSCRIBE with null for options", "builder", [32, 1, null, TOPIC]]),
  faulty(["SUBSCRIBE with an unknown match", "builder", [32, 1, { match: "regex" }, TOPIC]]),
  faulty(["SUBSCRIBE with match in capitals", "builder", [32, 1, { match: "Prefix" }, TOPIC]]),
  faulty(["SUBSCRIBE with null for match", "builder", [32, 1, { match: null }, TOPIC]]),
  faulty(["SUBSCRIBE with a number for its topic", "builder", [32, 1, {}, 5]], 1011),
  faulty(["UNSUBSCRIBE without id", "builder", [34, 1]]),
  faulty(["UNSUBSCRIBE with text for its id", "builder", [34, 1, "5"]]),

  faulty(["CALL without procedure", "builder", [48, 1, {}]]),
  faulty(["CALL with null for options", "builder", [48, 1, null, PROCEDURE]]),
  faulty(["CALL with null for kwargs", "builder", [48, 1, {}, PROCEDURE, [], null]]),
  faulty(["CALL with text for args", "builder", [48, 1, {}, PROCEDURE, "text"]], 1011),
  faulty(["CALL with an unknown algorithm", "builder", [48, 1, { enc_algo: "rot13" }, PROCEDURE, BYTES]]),
  faulty(["CALL with text for its timeout", "builder", [48, 1, { timeout: "x" }, PROCEDURE]]),
  faulty(["CALL with a negative timeout", "builder", [48, 1, { timeout: -1 }, PROCEDURE]]),
  faulty(["CALL with a number for receive_progress", "builder", [48, 1, { receive_progress: 1 }, PROCEDURE]]),
  faulty(["CALL with a number for its procedure", "builder", [48, 1, {}, 5]], 1011),
  [
    "CALL with null for args",
    "builder",
    [48, 1, {}, PROCEDURE, null],
    { ours: "closed 1002", crossbar: "wamp.error.no_such_procedure" },
  ],
  faulty(["CANCEL without options", "builder", [49, 1]]),
  faulty(["CANCEL with an unknown mode", "builder", [49, 1, { mode: "x" }]]),
  faulty(["CANCEL with null for options", "builder", [49, 1, null]]),

  faulty(["REGISTER without procedure", "relay", [64, 1, {}]]),
  faulty(["REGISTER with null for options", "relay", [64, 1, null, PROCEDURE]]),
  faulty(["REGISTER with an unknown match", "relay", [64, 1, { match: "regex" }, PROCEDURE]]),
  faulty(["REGISTER with an unknown invoke", "relay", [64, 1, { invoke: "x" }, PROCEDURE]]),
  faulty(["REGISTER with text for concurrency", "relay", [64, 1, { concurrency: "x" }, PROCEDURE]]),
  faulty(["REGISTER with a number for its procedure", "relay", [64, 1, {}, 5]], 1011),
  faulty(["UNREGISTER without id", "relay", [66, 1]]),
  faulty(["UNREGISTER with text for its id", "relay", [66, 1, "5"]]),

  faulty(["YIELD without options", "relay", [70, 5]]),
  faulty(["YIELD with null for options", "relay", [70, 5, null]]),
  ["YIELD with null for args", "relay", [70, 5, {}, null], nullArgs],
  faulty(["ERROR without URI", "relay", [8, 68, 5, {}]]),
  faulty(["ERROR for a CALL", "relay", [8, 48, 5, {}, "a.b"]]),
  faulty(["ERROR for nothing that there is", "relay", [8, 99, 5, {}, "a.b"]]),
  faulty(["ERROR with null for details", "relay", [8, 68, 5, null, "a.b"]]),
  faulty(["ERROR with a malformed URI", "relay", [8, 68, 5, {}, "a b"]], 1011),
  faulty(["ERROR with a number for its URI", "relay", [8, 68, 5, {}, 5]], 1011),
  ["ERROR with null for args", "relay", [8, 68, 5, {}, "a.b", null], nullArgs],

  faulty(["GOODBYE without reason", "relay", [6, {}]]),
  faulty(["GOODBYE with null for details", "relay", [6, null, "wamp.close.normal"]]),
  faulty(["GOODBYE with a malformed reason", "relay", [6, {}, "a b"]], 1011),
  faulty(["GOODBYE with a number for its reason", "relay", [6, {}, 5]], 1011),

  // What only routers send, or only who has not joined.
  faulty(["WELCOME", "relay", [2, 1, { roles: { broker: {} } }]]),
  faulty(["CHALLENGE", "relay", [4, "cryptosign", {}]]),
  faulty(["AUTHENTICATE", "relay", [5, "00", {}]]),
  faulty(["PUBLISHED", "relay", [17, 1, 1]]),
  faulty(["SUBSCRIBED", "relay", [33, 1, 1]]),
  faulty(["UNSUBSCRIBED", "relay", [35, 1]]),
  faulty(["EVENT", "relay", [36, 1, 1, {}]]),
  faulty(["RESULT", "relay", [50, 1, {}]]),
  faulty(["REGISTERED", "relay", [65, 1, 1]]),
  faulty(["UNREGISTERED", "relay", [67, 1]]),
  faulty(["INVOCATION", "relay", [68, 1, 1, {}]]),
  faulty(["INTERRUPT", "relay", [69, 1, {}]]),
  [
    "HELLO",
    "relay",
    [1, "onionhook", { roles: { publisher: {} } }],
    { ours: "closed 1002", crossbar: "nothing" },
  ],

  // Crossbar.io keeps the connection of who has left, and takes no ABORT from who has joined.
  [
    "GOODBYE",
    "relay",
    [6, {}, "wamp.close.normal"],
    { ours: "GOODBYE wamp.close.goodbye_and_out, closed 1000", crossbar: "GOODBYE wamp.close.normal" },
  ],
  ["ABORT", "relay", [3, {}, "wamp.error.canceled"], { ours: "closed 1000", crossbar: "closed 1002" }],

  faulty(["a type that nobody knows", "relay", [99, 1]]),
  faulty(["text for its type", "relay", ["16", 1, ACK, TOPIC]]),
  faulty(["null for its type", "relay", [null]]),
  faulty(["a list in a list", "relay", [[16, 1, ACK, TOPIC]]]),
  faulty(["an empty list", "relay", []]),
];

/** Bytes. deploy/crossbar.json, `max_message_size`. */
const LARGEST = 64 * 1024 * 1024;
/** Bytes. GitHub's cap on a webhook; docs/protocol.md. */
const LARGEST_BODY = 25 * 1024 * 1024;

/** Frames whose content is no message. */
const FRAMES: ReadonlyArray<
  readonly [what: string, only: SerializerId | "all", kind: "own" | "other", data: Buffer, expected: Expected]
> = [
  ["nothing in it", "all", "own", Buffer.alloc(0), "closed 1002"],
  ["what no serializer writes", "msgpack", "own", Buffer.from("c1", "hex"), "closed 1002"],
  ["what no serializer writes", "cbor", "own", Buffer.from("ff", "hex"), "closed 1002"],
  ["half a message", "msgpack", "own", Buffer.from("9410", "hex"), "closed 1002"],
  ["half a message", "cbor", "own", Buffer.from("8410", "hex"), "closed 1002"],
  ["half a message", "json", "own", Buffer.from("[16, 1"), "closed 1002"],
  ["a dictionary", "msgpack", "own", Buffer.from("80", "hex"), "closed 1002"],
  ["a dictionary", "cbor", "own", Buffer.from("a0", "hex"), "closed 1002"],
  ["a dictionary", "json", "own", Buffer.from("{}"), "closed 1002"],
  ["a number", "json", "own", Buffer.from("5"), "closed 1002"],
  ["null", "json", "own", Buffer.from("null"), "closed 1002"],
  ["a message and more", "msgpack", "own", Buffer.from("932201055d", "hex"), "closed 1002"],
  [
    "a message and more",
    "cbor",
    "own",
    Buffer.from("8318220105f6", "hex"),
    { ours: "closed 1002", crossbar: "wamp.error.no_such_subscription" },
  ],
  ["a message and more", "json", "own", Buffer.from("[99, 1] x"), "closed 1002"],
  ["invalid UTF-8", "json", "own", Buffer.from("5bff5d", "hex"), "closed 1007"],
  ["a message, but a frame of the other kind", "all", "other", Buffer.from("[]"), "closed 1002"],
  ["one byte more than is allowed", "all", "own", Buffer.alloc(LARGEST + 1, " "), "closed 1009"],
];

describeRouters("after joining", (router) => {
  describe.each(SERIALIZERS)("over %s", (serializer) => {
    it.each(MESSAGES)("%s, from the %s", async (_what, authid, message, expected) => {
      const client = await router.join(authid, serializer);
      const words = router.expected(expected);
      expect(inWords(await answerTo(client, () => client.send(message), words))).toBe(words);
      client.end();
    });

    const frames = FRAMES.filter(([, only]) => only === "all" || only === serializer);
    it.each(frames)(
      "a frame with %s",
      async (_what, _only, kind, data, expected) => {
        const client = await router.join("relay", serializer);
        const binary = kind === "other" ? !client.serializer.binary : client.serializer.binary;
        const words = router.expected(expected);
        expect(inWords(await answerTo(client, () => client.ws.send(data, { binary }), words))).toBe(words);
        client.end();
      },
      30_000,
    );

    it("25 MiB of sealed bytes arrive", async () => {
      const [relay, builder] = [
        await router.join("relay", serializer),
        await router.join("builder", serializer),
      ];
      await builder.ask([32, 1, {}, TOPIC]);
      const sealed = Buffer.alloc(LARGEST_BODY, 7);
      const options = { ...ACK, enc_algo: "cryptobox", enc_serializer: "json" };
      relay.send([16, 1, options, TOPIC, sealed]);
      const [type, , , details, payload] = await builder.next();
      expect([type, details]).toMatchObject([36, { enc_algo: "cryptobox", enc_serializer: "json" }]);
      expect(sealed.equals(payload as Uint8Array)).toBe(true);
      expect((await relay.next())[0]).toBe(17);
      relay.end();
      builder.end();
    }, 60_000);
  });
});
