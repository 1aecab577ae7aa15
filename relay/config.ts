import { join, resolve } from "node:path";
import * as v from "valibot";
import { NAME } from "../shared/delivery.ts";
import { makeConfig } from "../shared/host/config-file.ts";
import { readKeyFile } from "../shared/host/key-file.ts";
import { checkUrl } from "../shared/host/websocket-url.ts";
import { parseKey } from "../shared/keys.ts";
import { sharedKey } from "../shared/shared-key.ts";
import { parseTorSetting, type TorSetting } from "../shared/tor/tor-setting.ts";

const streams = v.pipe(
  v.array(v.pipe(v.string(), v.regex(NAME))),
  v.minLength(1, "at least one stream was expected; leave the key out when the edge has only one"),
  v.check((names) => new Set(names).size === names.length, "each stream once was expected"),
);

const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

const schema = v.strictObject({
  data_dir: v.string(),
  tor: v.string(),
  tor_control: v.optional(v.string()),
  edge: v.strictObject({
    url: v.pipe(v.string(), v.url(), v.regex(/^wss?:/, "ws:// or wss:// was expected")),
    relay: v.pipe(v.string(), v.regex(NAME)),
    key_file: v.string(),
    streams: v.optional(streams),
  }),
  router: v.strictObject({
    url: v.pipe(v.string(), v.url(), v.regex(/^(wss?|ws\+unix):/, "ws://, wss:// or ws+unix: was expected")),
    realm: v.string(),
    authid: v.string(),
    key_file: v.string(),
  }),
  queue: v.optional(
    v.strictObject({
      url: v.string(),
      max_bytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
    }),
    { url: "embedded" },
  ),
  replay: v.optional(
    v.strictObject({ box_key_file: v.string(), builders: v.record(v.string(), v.string()) }),
  ),
  canary_seconds: v.optional(v.pipe(v.number(), v.minValue(0)), 300),
  control: v.optional(v.strictObject({ socket: v.optional(v.string()), metrics_port: v.optional(port) }), {}),
});

export interface RelayConfig extends TorSetting {
  dataDir: string;
  /**
   * `seed`: Ed25519, proves to the edge which relay this is. `streams`: one drain each; undefined: one drain, of
   * the edge's only stream.
   */
  edge: { url: string; relay: string; seed: Uint8Array; streams: readonly string[] | undefined };
  /** `seed`: Ed25519, of WAMP-cryptosign. */
  router: { url: string; realm: string; authid: string; seed: Uint8Array };
  queue: { url: string; maxBytes: number | undefined };
  /** One key for each builder that may ask for what it misses: shared with this relay's box key. Undefined: nobody may. */
  replay: { sharedKeys: readonly Uint8Array[] } | undefined;
  /** Between two tests of the whole way while nothing passes; 0: none. */
  canaryMs: number;
  /** `socket`: path of the unix socket. `metricsPort`: on loopback, beside it. */
  control: { socket: string; metricsPort: number | undefined };
}

/**
 * @param folder what the paths in `json` are relative to.
 * @throws OnionhookError `ERR_CONFIG`, `ERR_KEY_FILE`, `ERR_KEY`, `ERR_TOR_ADDRESS`; those of websocket-url.ts
 */
export function parseConfig(json: unknown, folder: string): RelayConfig {
  return makeConfig("relay", schema, json, (config, setting) => {
    const { data_dir, tor, tor_control, edge, router, queue, replay, canary_seconds, control } = config;
    const url = (text: string, field: string) => {
      setting(() => checkUrl(text, tor !== "none", field));
      return text;
    };
    const key = (path: string, kind: "sign" | "box", field: string) =>
      setting(() => readKeyFile(resolve(folder, path), kind, field));
    return {
      dataDir: resolve(folder, data_dir),
      ...setting(() => parseTorSetting(tor, tor_control)),
      edge: {
        url: url(edge.url, "edge.url"),
        relay: edge.relay,
        seed: key(edge.key_file, "sign", "edge.key_file"),
        streams: edge.streams,
      },
      router: {
        url: url(router.url, "router.url"),
        realm: router.realm,
        authid: router.authid,
        seed: key(router.key_file, "sign", "router.key_file"),
      },
      queue: { url: queue.url, maxBytes: queue.max_bytes },
      replay: replay && {
        sharedKeys: sharedWith(
          Object.entries(replay.builders).map(([name, text]) =>
            setting(() => parseKey(text, "box", "public", `replay.builders.${name}`)),
          ),
          key(replay.box_key_file, "box", "replay.box_key_file"),
        ),
      },
      canaryMs: canary_seconds * 1000,
      control: {
        socket: resolve(folder, control.socket ?? join(data_dir, "control.sock")),
        metricsPort: control.metrics_port,
      },
    };
  });
}

function sharedWith(builders: readonly Uint8Array[], boxKey: Uint8Array): Uint8Array[] {
  return builders.map((builder) => sharedKey(builder, boxKey));
}
