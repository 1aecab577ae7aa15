/** The data folder of `onionhook dev`: keys, configurations and stores, kept between runs. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { errnoCode, OnionhookError } from "../../shared/errors.ts";
import { readConfigFile } from "../../shared/host/config-file.ts";
import { readKeyFile } from "../../shared/host/key-file.ts";
import { keyFile, KEYS, type KeyName, type MadeKey, makeKey, isKeyName } from "../key-set.ts";
import { ONION_PORT } from "../router.ts";

export const REALM = "onionhook";
/** Names of recipient and relay at the edge, and of the principals at the router. */
export const BUILDER = "builder";
export const RELAY = "relay";

export interface Layout {
  folder: string;
  keys: string;
  logs: string;
  edge: string;
  tor: string;
  key(name: KeyName): MadeKey;
  /** Whether every key was there already: a second start. */
  reused: boolean;
  onion: { address: string; relaySecret: Uint8Array; builderSecret: Uint8Array };
}

/**
 * Makes the folder and those in it.
 * @throws OnionhookError `ERR_DATA_DIR` when it cannot be written.
 */
export function makeFolders(folder: string): void {
  try {
    for (const name of ["", "keys", "logs", "edge", "tor", "site"]) {
      mkdirSync(join(folder, name), { recursive: true, mode: 0o700 });
    }
  } catch (cause) {
    throw new OnionhookError(
      "ERR_DATA_DIR",
      `${folder} cannot be written (${errnoCode(cause) ?? "unknown"})`,
      {
        hint: "choose another folder with --data-dir DIR",
        cause,
      },
    );
  }
}

/**
 * Makes the keys, or takes up those that are there. The folder must be ours: see `lockFolder`.
 * @throws OnionhookError those of `makeKey`.
 */
export function openLayout(folder: string): Layout {
  const at = (...path: string[]) => join(folder, ...path);
  const made = new Map(
    Object.keys(KEYS)
      .filter(isKeyName)
      .map((name) => [name, makeKey(at("keys"), name)]),
  );
  const key = (name: KeyName): MadeKey => {
    const found = made.get(name);
    if (!found) throw new RangeError(`no key ${name}`);
    return found;
  };
  return {
    folder,
    keys: at("keys"),
    logs: at("logs"),
    edge: at("edge"),
    tor: at("tor"),
    key,
    reused: [...made.values()].every(({ created }) => !created),
    onion: {
      address: key("router-onion").public["address"] ?? "",
      relaySecret: readKeyFile(keyFile(at("keys"), "relay-onion"), "onion-client"),
      builderSecret: readKeyFile(keyFile(at("keys"), "builder-onion"), "onion-client"),
    },
  };
}

export interface ClientTor {
  socks: string;
  control: string;
}

export interface Wiring {
  edgePort: number;
  routerPort: number;
  /** SOCKS and control sockets of the Tor of relay and of builder, and the control socket of the router's; or `none`. */
  tor: { relay: ClientTor; builder: ClientTor; control: string } | "none";
  queueUrl: string;
  /** The Crossbar config that roles, permissions and options are taken from. */
  crossbar: string;
  /** Command of the sample rule. */
  sampleBuild: string[];
}

/** Writes the parts' configurations; returns their paths and what the rules are called. */
export function writeConfigs(layout: Layout, wiring: Wiring) {
  const { folder, key } = layout;
  const { tor, edgePort, routerPort } = wiring;
  const dialling = (part: "relay" | "builder") =>
    tor === "none" ? { tor } : { tor: tor[part].socks, tor_control: tor[part].control };
  const routerUrl = tor === "none" ? localUrl(routerPort) : `ws://${layout.onion.address}:${ONION_PORT}/`;
  const rules = readRules(layout, wiring.sampleBuild);
  const write = (name: string, config: object) => {
    const path = join(folder, name);
    writeFileSync(path, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
    return path;
  };
  write("crossbar.json", fillCrossbar(layout, wiring));
  const paths = {
    router: write("router.json", {
      crossbar: "crossbar.json",
      ...(tor !== "none" && {
        onion: {
          control: tor.control,
          key_file: key("router-onion").file,
          clients: {
            [RELAY]: key("relay-onion").public["key"],
            [BUILDER]: key("builder-onion").public["key"],
          },
          // The private network mends itself within seconds, or it does not.
          introduction_grace_seconds: 6,
        },
      }),
    }),
    relay: write("relay.json", {
      data_dir: "relay",
      ...dialling("relay"),
      edge: { url: `ws://127.0.0.1:${edgePort}/drain`, relay: RELAY, key_file: key("relay-drain").file },
      router: { url: routerUrl, realm: REALM, authid: RELAY, key_file: key("relay-wamp").file },
      queue: { url: wiring.queueUrl },
      replay: {
        box_key_file: key("relay-box").file,
        builders: { [BUILDER]: key("builder-box").public["key"] },
      },
    }),
    builder: write("builder.json", {
      data_dir: "builder",
      ...dialling("builder"),
      router: { url: routerUrl, realm: REALM, authid: BUILDER, key_file: key("builder-wamp").file },
      box_key_file: key("builder-box").file,
      edge_box_public: key("edge-box").public["key"],
      relay_box_public: key("relay-box").public["key"],
      webhook_secret_file: key("webhook").file,
      rules,
    }),
  };
  return { paths, routerUrl, rules };
}

export function localUrl(port: number): string {
  return `ws://127.0.0.1:${port}/`;
}

const rulesFile = v.array(v.looseObject({ name: v.string(), event: v.string() }));

/** The user's own rules, `rules.json`; on the first start one sample rule is written there. */
function readRules({ folder }: Layout, sampleBuild: string[]) {
  const path = join(folder, "rules.json");
  if (!existsSync(path)) {
    const sample = {
      name: "sample-docs",
      event: "push",
      run: [sampleBuild],
      directory: "site",
      timeout_seconds: 60,
    };
    writeFileSync(path, `${JSON.stringify([sample], undefined, 2)}\n`, { mode: 0o600 });
  }
  const rules = v.safeParse(rulesFile, readConfigFile(path).json);
  if (rules.success) return rules.output;
  throw new OnionhookError("ERR_CONFIG", `${path} is not a list of rules with name and event`, {
    hint: "docs/configuration.md shows a rule; without the file the sample rule is written again",
  });
}

const crossbar = v.looseObject({
  workers: v.tuple([
    v.looseObject({
      transports: v.tupleWithRest(
        [
          v.looseObject({
            endpoint: v.looseObject({ port: v.optional(v.number()) }),
            auth: v.looseObject({
              cryptosign: v.looseObject({
                principals: v.record(v.string(), v.looseObject({ authorized_keys: v.array(v.string()) })),
              }),
            }),
          }),
        ],
        v.unknown(),
      ),
    }),
  ]),
});

/** The given config with our keys for its principals, on a loopback port of this run. */
function fillCrossbar({ key }: Layout, { crossbar: path, routerPort }: Wiring): object {
  const config = v.safeParse(crossbar, readConfigFile(path).json);
  if (!config.success) {
    throw new OnionhookError(
      "ERR_ROUTER_CONFIG",
      `${path} has no WebSocket transport with cryptosign principals`,
      {
        hint: "deploy/crossbar.json is a working example",
      },
    );
  }
  const [worker] = config.output.workers;
  const [transport] = worker.transports;
  // Its other transports are sockets of the place that the config is made for.
  worker.transports = [transport];
  transport.endpoint = { type: "tcp", interface: "127.0.0.1", port: routerPort };
  const { principals } = transport.auth.cryptosign;
  for (const [principal, name] of [
    [RELAY, "relay-wamp"],
    [BUILDER, "builder-wamp"],
  ] as const) {
    principals[principal]?.authorized_keys.push(key(name).public["crossbar"] ?? "");
  }
  return config.output;
}

/** The router's port in an earlier run, so that what was told it still works. */
export function lastRouterPort({ folder }: Layout): number | undefined {
  try {
    const [{ transports }] = v.parse(crossbar, readConfigFile(join(folder, "crossbar.json")).json).workers;
    return transports[0].endpoint.port;
  } catch {
    return undefined;
  }
}
