import { join, resolve } from "node:path";
import { parseConfig } from "../builder/config.ts";
import { encodeBase64, encodeHex } from "../shared/bytes.ts";
import { OnionhookError } from "../shared/errors.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { readKeyFile, writeSecretFile } from "../shared/host/key-file.ts";
import { writeHiddenServiceDir } from "../shared/tor/hidden-service-dir.ts";
import { clientAuthFile, onionAddress } from "../shared/tor/onion-keys.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";
import { type Call, type Command, EXIT, refuseWords, required, text } from "./command.ts";
import { isKeyName, keyFile, KEYS, type KeyName, makeKey } from "./key-set.ts";
import { readRouterConfig } from "./router-config.ts";

export const keys: Command = {
  name: "keys",
  summary: "makes keys; writes what Tor, or an Autobahn|Python builder, needs of them",
  usage: `keys new [NAME…] [--dir DIR] | keys autobahn --out FILE [--config FILE]
       onionhook keys tor-client NAME --onion ADDRESS --out DIR [--dir DIR]
       onionhook keys tor-service --config ROUTER.JSON --out DIR

  new          makes the keys named, or all: ${Object.keys(KEYS).join(" ")}
               Files are 0600 and never overwritten; the public halves are printed.
  autobahn     writes FILE (0600): how an Autobahn|Python builder joins, and its KeyRing
  tor-client   writes DIR/NAME.auth_private (0600) for the ClientOnionAuthDir of relay's or builder's Tor
  tor-service  writes DIR (0700), a HiddenServiceDir with the address and the clients of a router.json`,
  takesWords: true,
  options: {
    dir: { type: "string", value: "DIR", help: "folder of the keys", default: "./.onionhook/keys" },
    out: { type: "string", value: "PATH", help: "the file, or the folder, to write" },
    onion: { type: "string", value: "ADDRESS", help: "tor-client: the router's address, ….onion" },
    config: {
      type: "string",
      value: "FILE",
      help: "builder.json (default ./.onionhook/builder.json), or router.json (./.onionhook/router.json)",
    },
  },
  async run(call) {
    const [what, ...names] = call.positionals;
    if (what === "new") return newKeys(call, names);
    if (what === "autobahn") {
      refuseWords(names);
      return autobahn(call);
    }
    if (what === "tor-client") return torClient(call, names);
    if (what === "tor-service") {
      refuseWords(names);
      return torService(call);
    }
    throw new OnionhookError(
      "ERR_USAGE",
      "keys new, or keys autobahn, tor-client or tor-service, was expected",
      {
        hint: "npm run onionhook -- keys --help",
      },
    );
  },
};

function newKeys(call: Call, names: readonly string[]): number {
  const folder = resolve(required(call, "dir"));
  for (const name of names.length > 0 ? names.map(known) : Object.keys(KEYS).filter(isKeyName)) {
    const made = makeKey(folder, name);
    const halves = Object.entries(made.public).map(([use, value]) => `  ${use.padEnd(9)}${value}`);
    call.output.result({ ...made }, `${made.created ? "made" : "kept"}  ${made.file}`, ...halves);
  }
  return EXIT.ok;
}

function known(name: string): KeyName {
  if (isKeyName(name)) return name;
  throw new OnionhookError("ERR_USAGE", `there is no key ${name}`, {
    hint: `one of: ${Object.keys(KEYS).join(" ")}`,
  });
}

/**
 * Autobahn's names and encodings: cryptosign wants the seed in hex, `autobahn.wamp.cryptobox.Key` its
 * keys in base64.
 */
function autobahn(call: Call): number {
  const out = resolve(required(call, "out"));
  const { json, folder } = readConfigFile(text(call, "config") ?? "./.onionhook/builder.json");
  const { router, boxSecrets, edgeBoxPublic } = parseConfig(json, folder);
  const content = {
    url: router.url,
    realm: router.realm,
    authid: router.authid,
    cryptosign_seed: encodeHex(router.seed),
    keyring: [
      {
        uri: TOPIC_PREFIX,
        responder_priv: encodeBase64(boxSecrets[0]),
        originator_pub: encodeBase64(edgeBoxPublic),
      },
    ],
  };
  writeSecretFile(out, JSON.stringify(content, undefined, 2));
  call.output.result({ file: out }, `wrote  ${out}  (secret: 0600)`);
  return EXIT.ok;
}

/** Only where the key is: it never leaves the client's host. */
function torClient(call: Call, [name, ...others]: readonly string[]): number {
  refuseWords(others);
  const clients = Object.keys(KEYS)
    .filter(isKeyName)
    .filter((each) => KEYS[each] === "onion-client");
  const client = clients.find((each) => each === name);
  if (client === undefined) {
    throw new OnionhookError("ERR_USAGE", "whose Tor? The name of an onion-client key was expected", {
      hint: `one of: ${clients.join(" ")}`,
    });
  }
  const secret = readKeyFile(keyFile(resolve(required(call, "dir")), client), "onion-client");
  const file = join(resolve(required(call, "out")), `${client}.auth_private`);
  writeSecretFile(file, authText(required(call, "onion"), secret));
  call.output.result({ file }, `wrote  ${file}  (secret: 0600; for the user that tor runs as)`);
  return EXIT.ok;
}

function authText(onion: string, secret: Uint8Array): string {
  try {
    return clientAuthFile(onion, secret).trim();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new OnionhookError("ERR_USAGE", "--onion is no onion address", {
      hint: "copy it again: 56 letters and digits, of which some check the others, and .onion; the router's host prints it: keys new router-onion",
      cause,
    });
  }
}

async function torService(call: Call): Promise<number> {
  const folder = resolve(required(call, "out"));
  const { onion } = readRouterConfig(text(call, "config") ?? "./.onionhook/router.json");
  if (onion === undefined) {
    throw new OnionhookError("ERR_CONFIG", "the router's configuration has no onion", {
      hint: "docs/onion.md shows one",
    });
  }
  await writeHiddenServiceDir(folder, onion.seed, onion.clients);
  call.output.result(
    { folder, address: onionAddress(onion.seed), clients: Object.keys(onion.clients) },
    `wrote  ${folder}  (secret: 0700; for the user that tor runs as)`,
  );
  return EXIT.ok;
}
