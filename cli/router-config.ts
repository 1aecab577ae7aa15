/** router.json: docs/configuration.md. */
import { resolve } from "node:path";
import * as v from "valibot";
import { makeConfig, readConfigFile, type ReadSetting } from "../shared/host/config-file.ts";
import { readKeyFile } from "../shared/host/key-file.ts";
import { parseKey } from "../shared/keys.ts";
import type { PowDefence } from "../shared/tor/add-onion.ts";
import { parseLocalAddress, type LocalAddress } from "../shared/tor/local-socket.ts";

export interface RouterFile {
  /** Path of the Crossbar config. */
  crossbar: string;
  onion: OnionConfig | undefined;
}

interface OnionConfig {
  control: LocalAddress;
  /** ed25519 seed. Secret. */
  seed: Uint8Array;
  /** x25519 public keys of those who may connect, by name. */
  clients: Readonly<Record<string, Uint8Array>>;
  /** Said aloud: anybody who knows the address may connect. */
  open: boolean;
  introductionGraceMs: number | undefined;
  pow: PowDefence | undefined;
  maxStreams: number | undefined;
}

const LIST_OF_CLIENTS =
  'a list has no names to revoke by: write { "relay": KEY, "builder": KEY }, each with a key of its own (npm run onionhook -- keys new relay-onion builder-onion)';
/** A name becomes a file's, `NAME.auth`. */
const clientName = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/, "letters, digits, _ and - were expected"));
const clients = v.pipe(
  v.unknown(),
  v.check((value) => !Array.isArray(value), LIST_OF_CLIENTS),
  v.record(clientName, v.string()),
);
/** tor(1): HiddenServicePoWQueueRate, HiddenServiceMaxStreams. */
const rate = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2_147_483_647));
const streams = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const TORRC_ONLY =
  "ADD_ONION cannot set it; publish with HiddenServiceDir instead, deploy/tor/onion-service.torrc has it";

const onion = v.pipe(
  v.strictObject({
    control: v.string(),
    key_file: v.string(),
    clients,
    open: v.optional(v.boolean(), false),
    introduction_grace_seconds: v.optional(v.pipe(v.number(), v.minValue(1))),
    pow: v.optional(
      v.pipe(
        v.strictObject({ queue_rate: v.optional(rate, 250), queue_burst: v.optional(rate, 2500) }),
        v.check(
          ({ queue_rate, queue_burst }) => queue_burst >= queue_rate,
          "queue_burst was expected to be at least queue_rate",
        ),
      ),
    ),
    max_streams: v.optional(streams),
    introduction_rate: v.optional(v.never(TORRC_ONLY)),
  }),
  v.forward(
    v.check(
      (value) => value.open || Object.keys(value.clients).length > 0,
      'at least one was expected; without any, everybody who knows the address may connect, which must be said: "open": true',
    ),
    ["clients"],
  ),
  v.check(
    (value) => !value.open || Object.keys(value.clients).length === 0,
    "open and clients exclude each other",
  ),
);

const schema = v.strictObject({ crossbar: v.string(), onion: v.optional(onion) });

/** @throws OnionhookError `ERR_CONFIG`, `ERR_CONFIG_FILE`, `ERR_KEY`, `ERR_KEY_FILE`, `ERR_TOR_ADDRESS` */
export function readRouterConfig(path: string): RouterFile {
  const { json, folder } = readConfigFile(path);
  return makeConfig("router", schema, json, (config, setting) => ({
    crossbar: resolve(folder, config.crossbar),
    onion: config.onion && readOnion(config.onion, folder, setting),
  }));
}

function readOnion(config: v.InferOutput<typeof onion>, folder: string, setting: ReadSetting): OnionConfig {
  const { open, pow, max_streams: maxStreams, introduction_grace_seconds: graceSeconds } = config;
  return {
    control: setting(() => parseLocalAddress(config.control, "onion.control", "control")),
    seed: setting(() => readKeyFile(resolve(folder, config.key_file), "onion-service", "onion.key_file")),
    clients: Object.fromEntries(
      Object.entries(config.clients).map(([name, key]) => [
        name,
        setting(() => parseKey(key, "onion-client", "public", `onion.clients.${name}`)),
      ]),
    ),
    open,
    introductionGraceMs: graceSeconds === undefined ? undefined : graceSeconds * 1000,
    pow: pow && { queueRate: pow.queue_rate, queueBurst: pow.queue_burst },
    maxStreams,
  };
}
