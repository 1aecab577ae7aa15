/**
 * The edge on this machine: the Worker as `wrangler deploy` would upload it, under the same workerd that
 * runs it at Cloudflare.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { parse as parseToml } from "smol-toml";
import * as v from "valibot";
import { OnionhookError } from "../../shared/errors.ts";

const BUNDLE_MS = 60_000;
/** Wrangler looks for updates, sends statistics and asks Cloudflare for a sample request unless told not to. */
const QUIET = {
  WRANGLER_SEND_METRICS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_HIDE_BANNER: "true",
  CI: "true",
};

const wranglerToml = v.object({
  compatibility_date: v.string(),
  durable_objects: v.object({
    bindings: v.array(v.object({ name: v.string(), class_name: v.string() })),
  }),
});

export interface EdgeSettings {
  /** Root of the project: where wrangler.toml is. */
  root: string;
  /** For the processes that this starts. */
  env: Readonly<Record<string, string>>;
  /** Folder for the bundle, the configuration and the outbox. */
  folder: string;
  port: number;
  webhookSecretFile: string;
  boxKeyFile: string;
  /** As `RECIPIENTS` and `RELAYS` of docs/configuration.md. */
  recipients: Readonly<Record<string, object>>;
  relays: Readonly<Record<string, string | object>>;
}

/**
 * Bundles the Worker and writes workerd's configuration; resolves with the command that serves it. Secrets
 * stay in their own files, which the configuration embeds.
 * @throws OnionhookError `ERR_EDGE_BUNDLE`
 */
export async function prepareEdge(settings: EdgeSettings): Promise<string[]> {
  const { root, folder } = settings;
  const require = createRequire(import.meta.url);
  const outbox = join(folder, "outbox");
  mkdirSync(outbox, { recursive: true, mode: 0o700 });
  const wrangler = join(dirname(require.resolve("wrangler/package.json")), "bin", "wrangler.js");
  try {
    await promisify(execFile)(
      process.execPath,
      [wrangler, "deploy", "--dry-run", "--outdir", join(folder, "bundle")],
      {
        cwd: root,
        env: { ...process.env, ...settings.env, ...QUIET, WRANGLER_LOG_PATH: join(folder, "wrangler-logs") },
        timeout: BUNDLE_MS,
      },
    );
  } catch (cause) {
    throw new OnionhookError("ERR_EDGE_BUNDLE", "the Worker could not be bundled", {
      hint: "run: npx wrangler deploy --dry-run",
      cause,
    });
  }
  const config = join(folder, "workerd.capnp");
  writeFileSync(config, capnp(settings, outbox), { mode: 0o600 });
  return [workerdBinary(require), "serve", config];
}

function capnp(settings: EdgeSettings, outbox: string): string {
  const toml = v.parse(wranglerToml, parseToml(readFileSync(join(settings.root, "wrangler.toml"), "utf8")));
  const objects = toml.durable_objects.bindings;
  const embed = (path: string) => `embed ${JSON.stringify(relative(settings.folder, path))}`;
  const json = (value: unknown) => JSON.stringify(JSON.stringify(value));
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "edge", worker = .edge), (name = "outbox", disk = (path = ${JSON.stringify(outbox)}, writable = true)) ],
  sockets = [ (name = "http", address = "127.0.0.1:${settings.port}", http = (), service = "edge") ]
);
const edge :Workerd.Worker = (
  modules = [ (name = "main.js", esModule = embed "bundle/main.js") ],
  compatibilityDate = ${JSON.stringify(toml.compatibility_date)},
  bindings = [
    ${objects.map(({ name, class_name }) => `(name = ${JSON.stringify(name)}, durableObjectNamespace = ${JSON.stringify(class_name)}),`).join("\n    ")}
    (name = "WEBHOOK_SECRET", text = ${embed(settings.webhookSecretFile)}),
    (name = "EDGE_BOX_KEY", text = ${embed(settings.boxKeyFile)}),
    (name = "RECIPIENTS", json = ${json(settings.recipients)}),
    (name = "RELAYS", json = ${json(settings.relays)})
  ],
  durableObjectNamespaces = [
    ${objects.map(({ class_name }) => `(className = ${JSON.stringify(class_name)}, uniqueKey = "onionhook-${class_name.toLowerCase()}", enableSql = true)`).join(",\n    ")}
  ],
  durableObjectStorage = (localDisk = "outbox")
);
`;
}

/** Wrangler's own workerd: the program itself, since the script that npm links is one more process in between. */
export function workerdBinary(require: NodeJS.Require): string {
  const arch = process.arch === "arm64" ? "arm64" : "64";
  const fromWorkerd = createRequire(
    createRequire(require.resolve("wrangler/package.json")).resolve("workerd/package.json"),
  );
  return fromWorkerd.resolve(`@cloudflare/workerd-${process.platform}-${arch}/bin/workerd`);
}
