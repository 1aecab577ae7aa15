import { resolve } from "node:path";
import * as v from "valibot";
import { NAME } from "../shared/delivery.ts";
import { checkConfig } from "../shared/host/config-file.ts";
import { readKeyFile } from "../shared/host/key-file.ts";
import { parseSocksProxy, type SocksProxy } from "../shared/tor/socks.ts";

const streams = v.pipe(
  v.array(v.pipe(v.string(), v.regex(NAME))),
  v.minLength(1, "at least one stream was expected; leave the key out when the edge has only one"),
  v.check((names) => new Set(names).size === names.length, "each stream once was expected"),
);

const schema = v.strictObject({
  data_dir: v.string(),
  tor: v.string(),
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
  queue: v.optional(v.strictObject({ url: v.string() }), { url: "embedded" }),
});

export interface RelayConfig {
  dataDir: string;
  tor: SocksProxy | "none";
  /**
   * `seed`: Ed25519, proves to the edge which relay this is. `streams`: one drain each; undefined: one drain, of
   * the edge's only stream.
   */
  edge: { url: string; relay: string; seed: Uint8Array; streams: readonly string[] | undefined };
  /** `seed`: Ed25519, of WAMP-cryptosign. */
  router: { url: string; realm: string; authid: string; seed: Uint8Array };
  queueUrl: string;
}

/**
 * @param folder what the paths in `json` are relative to.
 * @throws OnionhookError `ERR_CONFIG`, `ERR_KEY_FILE`, `ERR_KEY`, `ERR_TOR_ADDRESS`
 */
export function parseConfig(json: unknown, folder: string): RelayConfig {
  const { data_dir, tor, edge, router, queue } = checkConfig("relay", schema, json);
  const key = (path: string) => readKeyFile(resolve(folder, path), "sign");
  return {
    dataDir: resolve(folder, data_dir),
    tor: tor === "none" ? "none" : parseSocksProxy(tor),
    edge: { url: edge.url, relay: edge.relay, seed: key(edge.key_file), streams: edge.streams },
    router: { url: router.url, realm: router.realm, authid: router.authid, seed: key(router.key_file) },
    queueUrl: queue.url,
  };
}
