import { resolve } from "node:path";
import * as v from "valibot";
import { makeConfig } from "../shared/host/config-file.ts";
import { readKeyFile, readSecretFile } from "../shared/host/key-file.ts";
import { checkUrl } from "../shared/host/websocket-url.ts";
import { parseKey } from "../shared/keys.ts";
import { parseTorSetting, type TorSetting } from "../shared/tor/tor-setting.ts";
import { CANARY_EVENT } from "../shared/topic.ts";
import type { Rule } from "./rules.ts";

const COMMANDS = 'a list of commands was expected, each a list as [["git", "pull"], ["make", "html"]]';
const argv = v.pipe(
  v.array(v.string(), COMMANDS),
  v.minLength(1, "a command needs at least its program's name"),
);

/** A week. Timers of Node.js end at 24 days. */
const MAX_TIMEOUT_S = 7 * 24 * 3600;

const rule = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/, "letters, digits, _ . - were expected")),
  event: v.pipe(
    v.string(),
    v.check((event) => event !== CANARY_EVENT, "this event is the relay's own test, and runs nothing"),
  ),
  repository: v.optional(v.string()),
  ref: v.optional(v.string()),
  run: v.pipe(v.array(argv, COMMANDS), v.minLength(1, "at least one command was expected")),
  directory: v.optional(v.string(), "."),
  timeout_seconds: v.optional(v.pipe(v.number(), v.minValue(1), v.maxValue(MAX_TIMEOUT_S)), 3600),
});

const fields = v.strictObject({
  data_dir: v.string(),
  tor: v.string(),
  tor_control: v.optional(v.string()),
  router: v.strictObject({
    url: v.pipe(v.string(), v.url(), v.regex(/^(wss?|ws\+unix):/, "ws://, wss:// or ws+unix: was expected")),
    realm: v.string(),
    authid: v.string(),
    key_file: v.string(),
  }),
  box_key_file: v.union(
    [v.string(), v.tupleWithRest([v.string()], v.string())],
    "a file, or a list of files, the current one first, was expected",
  ),
  edge_box_public: v.string(),
  relay_box_public: v.optional(v.string()),
  share: v.optional(v.boolean(), false),
  webhook_secret_file: v.optional(v.string()),
  require_signature: v.optional(v.boolean(), false),
  rules: v.pipe(
    v.array(rule),
    v.check(
      (all) => new Set(all.map(({ name }) => name)).size === all.length,
      "two rules have the same name",
    ),
  ),
});

const schema = v.pipe(
  fields,
  v.forward(
    v.check(
      ({ require_signature, webhook_secret_file }) => !require_signature || webhook_secret_file !== undefined,
      "webhook_secret_file was expected beside it",
    ),
    ["require_signature"],
  ),
);

export interface BuilderConfig extends TorSetting {
  dataDir: string;
  /** `seed`: Ed25519, of WAMP-cryptosign. */
  router: { url: string; realm: string; authid: string; seed: Uint8Array };
  /** The current one first; several while it is being changed, or where topics have keys of their own. */
  boxSecrets: readonly [Uint8Array, ...Uint8Array[]];
  edgeBoxPublic: Uint8Array;
  /** Without it the relay cannot be asked for what is missing. */
  relayBoxPublic: Uint8Array | undefined;
  /** Other builders have the same box keys, and each stream goes to one of them. */
  share: boolean;
  /** With it, GitHub's own signature is checked a second time, over the recovered body. */
  webhookSecret: string | undefined;
  /** What GitHub's signature does not cover is refused. */
  requireSignature: boolean;
  rules: readonly Rule[];
}

/**
 * @param folder what the paths in `json` are relative to.
 * @throws OnionhookError `ERR_CONFIG`, `ERR_KEY_FILE`, `ERR_KEY`, `ERR_TOR_ADDRESS`; those of websocket-url.ts
 */
export function parseConfig(json: unknown, folder: string): BuilderConfig {
  return makeConfig("builder", schema, json, (config, setting) => {
    const at = (path: string) => resolve(folder, path);
    const { tor, edge_box_public, relay_box_public, webhook_secret_file } = config;
    const { url, realm, authid, key_file } = config.router;
    setting(() => checkUrl(url, tor !== "none", "router.url"));
    const [boxKeyFile, ...olderFiles] =
      typeof config.box_key_file === "string" ? [config.box_key_file] : config.box_key_file;
    const boxKey = (file: string) => setting(() => readKeyFile(at(file), "box", "box_key_file"));
    return {
      dataDir: at(config.data_dir),
      ...setting(() => parseTorSetting(tor, config.tor_control)),
      router: {
        url,
        realm,
        authid,
        seed: setting(() => readKeyFile(at(key_file), "sign", "router.key_file")),
      },
      boxSecrets: [boxKey(boxKeyFile), ...olderFiles.map(boxKey)],
      edgeBoxPublic: setting(() => parseKey(edge_box_public, "box", "public", "edge_box_public")),
      relayBoxPublic:
        relay_box_public === undefined
          ? undefined
          : setting(() => parseKey(relay_box_public, "box", "public", "relay_box_public")),
      share: config.share,
      webhookSecret:
        webhook_secret_file === undefined
          ? undefined
          : setting(() => readSecretFile(at(webhook_secret_file), "webhook_secret_file")),
      requireSignature: config.require_signature,
      rules: config.rules.map(({ timeout_seconds, directory, ...rest }) => ({
        ...rest,
        directory: at(directory),
        timeoutMs: timeout_seconds * 1000,
      })),
    };
  });
}
