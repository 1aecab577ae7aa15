import { resolve } from "node:path";
import { parseConfig } from "../builder/config.ts";
import { encodeBase64, encodeHex } from "../shared/bytes.ts";
import { OnionhookError } from "../shared/errors.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { writeSecretFile } from "../shared/host/key-file.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";
import { type Call, type Command, EXIT, refuseWords, required } from "./command.ts";
import { isKeyName, KEYS, type KeyName, makeKey } from "./key-set.ts";

export const keys: Command = {
  name: "keys",
  summary: "makes keys; writes what an Autobahn|Python builder needs",
  usage: `keys new [NAME…] [--dir DIR] | keys autobahn --out FILE [--config FILE]

  new       makes the keys named, or all: ${Object.keys(KEYS).join(" ")}
            Files are 0600 and never overwritten; the public halves are printed.
  autobahn  writes FILE (0600): how an Autobahn|Python builder joins, and its KeyRing`,
  takesWords: true,
  options: {
    dir: { type: "string", value: "DIR", help: "folder of the keys", default: "./.onionhook/keys" },
    out: { type: "string", value: "FILE", help: "autobahn: the file to write" },
    config: {
      type: "string",
      value: "FILE",
      help: "autobahn: the builder's configuration",
      default: "./.onionhook/builder.json",
    },
  },
  async run(call) {
    const [what, ...names] = call.positionals;
    if (what === "new") return newKeys(call, names);
    if (what === "autobahn") {
      refuseWords(names);
      return autobahn(call);
    }
    throw new OnionhookError("ERR_USAGE", "keys new, or keys autobahn, was expected", {
      hint: "npm run onionhook -- keys --help",
    });
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
  const { json, folder } = readConfigFile(required(call, "config"));
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
