/**
 * The subset of a Crossbar.io node configuration (version 2) that our router honours, as a schema.
 * A key that is not here is a fault, never silently ignored: it might be the one that closes a door.
 */
import { isIPv4 } from "node:net";
import * as v from "valibot";
import { parseVerifyKey } from "./cryptosign.ts";
import { isPattern } from "./uri.ts";

/** Bytes. Crossbar.io's own upper limit; 25 MiB sealed is 35 MB on JSON. */
const LARGEST_MESSAGE = 64 * 1024 * 1024;

/** Bytes. Below this not even a HELLO fits. */
const SMALLEST_MESSAGE = 1024;

/** Milliseconds. Crossbar.io refuses less, because the option once was in seconds; 0 turns it off. */
const SHORTEST_INTERVAL = 1000;

const LARGEST_PORT = 65_535;

/** An object of which every unknown key is reported, not only the first. */
function section<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.pipe(
    v.looseObject(entries),
    v.rawCheck(({ dataset, addIssue }) => {
      const input: unknown = dataset.value;
      if (typeof input !== "object" || input === null) return;
      for (const [key, value] of Object.entries(input)) {
        if (Object.hasOwn(entries, key)) continue;
        addIssue({
          input: value,
          expected: "nothing: this router does not have it",
          path: [{ type: "object", origin: "value", input: { ...input }, key, value }],
        });
      }
    }),
  );
}

function whole(least: number, most: number, expected: string) {
  return v.custom<number>(
    (value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= most,
    expected,
  );
}

const milliseconds = v.custom<number>(
  (value) => value === 0 || (Number.isInteger(value) && Number(value) >= SHORTEST_INTERVAL),
  `milliseconds: 0 for never, or a whole number from ${SHORTEST_INTERVAL}`,
);

const messageBytes = whole(
  SMALLEST_MESSAGE,
  LARGEST_MESSAGE,
  `bytes from ${SMALLEST_MESSAGE} to ${LARGEST_MESSAGE}`,
);

const name = v.pipe(v.string(), v.nonEmpty("a name"));
const flag = v.optional(v.boolean(), false);

const permission = v.pipe(
  section({
    uri: v.string(),
    match: v.picklist(["exact", "prefix", "wildcard"]),
    allow: v.optional(section({ publish: flag, subscribe: flag, call: flag, register: flag }), {}),
    disclose: v.optional(section({ publisher: flag, caller: flag }), {}),
    /** Says whether Crossbar.io may remember the decision; here there is nothing to remember. */
    cache: v.optional(v.boolean()),
  }),
  v.forward(
    v.partialCheck(
      [["uri"], ["match"]],
      ({ uri, match }) => isPattern(uri, match) && (match !== "wildcard" || uri.includes("..")),
      "a URI for its match: exact `a.b`, prefix `a.b.`, wildcard `a..b` (empty in the middle)",
    ),
    ["uri"],
  ),
);

const realm = section({
  name,
  roles: v.array(section({ name, permissions: v.array(permission) })),
});

const loopback = v.custom<string>(
  (value) => typeof value === "string" && (value === "::1" || (isIPv4(value) && value.startsWith("127."))),
  "a loopback address, 127.0.0.1 or ::1: outside, an onion service leads here",
);

const endpoint = v.variant("type", [
  section({
    type: v.literal("tcp"),
    interface: v.optional(loopback, "127.0.0.1"),
    port: whole(0, LARGEST_PORT, `a port from 0 to ${LARGEST_PORT}`),
  }),
  section({ type: v.literal("unix"), path: v.pipe(v.string(), v.nonEmpty("a path")) }),
]);

const principal = section({
  realm: name,
  role: name,
  authorized_keys: v.array(
    v.pipe(
      v.string(),
      v.check((hex) => parseVerifyKey(hex) !== undefined, "an Ed25519 public key, 64 lower-case hex digits"),
    ),
  ),
});

const options = section({
  max_message_size: v.optional(messageBytes, LARGEST_MESSAGE),
  max_frame_size: v.optional(messageBytes, LARGEST_MESSAGE),
  auto_ping_interval: v.optional(milliseconds, 10_000),
  auto_ping_timeout: v.optional(milliseconds, 10_000),
  /** Bytes in a ping; ours are empty. */
  auto_ping_size: v.optional(v.number()),
  // Three that close doors of Crossbar.io. Here they are closed: who has not joined in 10 s is thrown out,
  // there is no page, and no version is shown.
  open_handshake_timeout: v.optional(milliseconds),
  enable_webstatus: v.optional(v.literal(false)),
  show_server_version: v.optional(v.literal(false)),
});

const serializer = v.picklist(["msgpack", "cbor", "json"]);

const transport = section({
  id: v.optional(name),
  type: v.literal("websocket"),
  endpoint,
  serializers: v.optional(v.pipe(v.array(serializer), v.nonEmpty("at least one")), [
    "msgpack",
    "cbor",
    "json",
  ]),
  options: v.optional(options, {}),
  max_connections: v.optional(whole(1, LARGEST_PORT, `a number from 1 to ${LARGEST_PORT}`)),
  auth: section({
    cryptosign: section({ type: v.literal("static"), principals: v.record(v.string(), principal) }),
  }),
});

const worker = section({
  id: v.optional(name),
  type: v.literal("router"),
  realms: v.pipe(v.array(realm), v.nonEmpty("at least one")),
  transports: v.pipe(v.array(transport), v.nonEmpty("at least one")),
});

export const crossbarConfig = section({
  $schema: v.optional(v.string()),
  version: v.literal(2),
  /** Names the node to Crossbar.io's clients; ours tells them nothing. */
  controller: v.optional(section({ id: v.optional(name) })),
  workers: v.pipe(v.array(worker), v.length(1, "exactly one")),
});

export type CrossbarConfig = v.InferOutput<typeof crossbarConfig>;
