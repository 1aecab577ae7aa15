/** What mutations begin with: messages as they should be, and values and bytes that are odd. */
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import type { Random } from "../chaos/random.ts";

type Message = readonly unknown[];

/** Where healthy clients talk, and the fuzzing ones have no rights. */
export const SECRET = "secret.";
export const OWN = "strange.";

const HELLO: Message = [
  1,
  "onionhook",
  {
    roles: { publisher: {}, subscriber: {}, caller: {}, callee: {} },
    authmethods: ["cryptosign"],
    authid: "mallory",
    authextra: { pubkey: "00".repeat(32), channel_binding: null },
  },
];

export const MESSAGES: readonly Message[] = [
  HELLO,
  [5, "00".repeat(96), {}],
  [3, { message: "no" }, "wamp.error.cannot_authenticate"],
  [6, {}, "wamp.close.normal"],
  [16, 1, { acknowledge: true, exclude_me: false }, `${OWN}topic`, [1, "a", null], { key: [true] }],
  [
    16,
    2,
    { acknowledge: true, exclude: [1], eligible: [2, 3], exclude_authid: ["x"], eligible_authrole: ["y"] },
    `${OWN}topic`,
  ],
  [
    16,
    3,
    { acknowledge: true, enc_algo: "cryptobox", enc_serializer: "json" },
    `${OWN}topic`,
    Buffer.alloc(64, 7),
  ],
  [16, 4, {}, `${SECRET}topic`, ["false"]],
  [32, 5, { match: "exact" }, `${OWN}topic`],
  [32, 6, { match: "prefix" }, OWN],
  [32, 7, { match: "wildcard" }, "strange..x"],
  [32, 8, { match: "prefix" }, SECRET],
  [32, 9, { match: "wildcard" }, ".topic"],
  [34, 10, 1],
  [48, 11, { receive_progress: true, timeout: 5 }, `${OWN}procedure`, [1], { a: 2 }],
  [48, 12, {}, `${SECRET}echo`, ["for me"]],
  [48, 13, {}, "wamp.session.list"],
  [48, 14, {}, "wamp.subscription.match", [`${SECRET}topic`]],
  [49, 11, { mode: "kill" }],
  [64, 15, { match: "exact", invoke: "roundrobin" }, `${OWN}procedure`],
  [64, 16, { match: "prefix" }, OWN],
  [64, 17, { match: "wildcard" }, "..echo"],
  [66, 18, 1],
  [70, 1, { progress: true }, ["result"], { more: 1 }],
  [8, 68, 1, {}, "com.example.error", ["what"], {}],
  [2, 1, {}],
  [36, 1, 1, {}, ["an event from a client"]],
  [68, 1, 1, {}],
];

function deep(levels: number): unknown {
  let value: unknown = [];
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

export const ODD: ReadonlyArray<(random: Random) => unknown> = [
  () => null,
  () => true,
  () => -1,
  () => 0,
  () => 1.5,
  () => 2 ** 53 + 2,
  () => 2n ** 63n,
  () => Number.MAX_VALUE,
  () => "",
  () => "\0",
  () => "\0AAAA",
  () => "\0not base64 !",
  () => "\u{d800}",
  () => " ",
  () => "#",
  () => ".".repeat(300),
  () => "wamp.",
  () => "wamp.session.on_join",
  () => `${SECRET}topic`,
  () => OWN,
  () => "__proto__",
  () => "constructor",
  () => [],
  () => ({}),
  () => ({ length: 5 }),
  () => JSON.parse('{"__proto__": {"polluted": true}}') as unknown,
  () => [[[[]]]],
  () => Buffer.alloc(3),
  (random) => deep(random.int(2, 40)),
  (random) => (random.int(0, 20) === 0 ? deep(5000) : deep(200)),
  (random) => "x".repeat(random.int(0, 30) === 0 ? 100_000 : 2000),
  (random) => Array.from({ length: random.int(0, 500) }, (_, index) => index),
  (random) => random.int(0, 2 ** 31),
  (random) => random.hex(random.int(1, 20)),
];

/** Lists, each of which holds the next one twice, by reference: a few bytes that are gigabytes when they are written again. */
const LEVELS = Array.from({ length: 30 }, (_, level) => level.toString(16).padStart(2, "0"));
const DOUBLED = {
  msgpack:
    LEVELS.map((level) => `d669000000${level}92`).join("") +
    `9090${LEVELS.slice(1)
      .toReversed()
      .map((level) => `d670000000${level}`)
      .join("")}`,
  cbor:
    LEVELS.map(() => "d81c82").join("") +
    `8080${LEVELS.slice(1)
      .toReversed()
      .map((level) => `d81d18${level}`)
      .join("")}`,
};

/** 15,000 bytes of one integer: before joining, more may not be sent. */
const ENDLESS = `c2593a98${"ff".repeat(15_000)}`;

/** PUBLISH with this as its only argument. */
function published(id: "msgpack" | "cbor", value: string): string {
  const topic = Buffer.from(`${OWN}topic`).toString("hex");
  return id === "cbor" ? `851001a06d${topic}81${value}` : `95100180ad${topic}91${value}`;
}

/** Small, and of no end for a router that takes what its decoders know. */
export const ENDLESS_FRAMES = [
  ["msgpack", "lists that hold the next one twice", published("msgpack", DOUBLED.msgpack)],
  ["cbor", "lists that hold the next one twice", published("cbor", DOUBLED.cbor)],
  ["cbor", "an integer of 15,000 bytes", published("cbor", ENDLESS)],
] as const;

/** Lengths that promise more than there is, tags and extensions that decoders know, and numbers at their borders. */
export const BOMBS: Readonly<Record<SerializerId, readonly string[]>> = {
  json: [
    "5b".repeat(3000),
    "5b5b5b31",
    "7b22",
    "efbbbf5b5d",
    "5b3165393939395d",
    "5b225c7564383030225d",
    "00",
    "ff",
    "6e756c6c",
    "22",
    "5b312c5d",
  ],
  msgpack: [
    "ddffffffff",
    "dfffffffff",
    "c6ffffffff",
    "dbffffffff",
    "c9ffffffff72",
    "d4729a",
    "d57200ff",
    "d6ff00000000",
    "d7ffffffffffffffffff",
    "d8730000000000000000000000000000000000",
    "c1",
    "91".repeat(3000),
    "9fcfffffffffffffffff",
    "c70372009a",
    "d46900",
    "d47800",
    "d46500",
    DOUBLED.msgpack,
    ...ENDLESS_FRAMES.filter(([id]) => id === "msgpack").map(([, , frame]) => frame),
  ],
  cbor: [
    "9bffffffffffffffff",
    "bbffffffffffffffff",
    "5bffffffffffffffff",
    "7bffffffffffffffff",
    "9f".repeat(3000),
    "9f",
    "bf",
    "5f",
    "7f",
    "c06161",
    "c249ffffffffffffffffff",
    "d81c80",
    "d81d00",
    "d9dfff80",
    "d9dffe00",
    "da4c49444580",
    "d90102820101",
    "d9010082",
    "f97e00",
    "fb7ff0000000000000",
    "ff",
    "1c",
    "d869820000",
    "d84080",
    "d84f41ff",
    "d8684180",
    DOUBLED.cbor,
    ENDLESS,
    ...ENDLESS_FRAMES.filter(([id]) => id === "cbor").map(([, , frame]) => frame),
  ],
};
