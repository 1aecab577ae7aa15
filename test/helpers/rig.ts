/**
 * A pipeline put together by hand, without Tor: the edge, one router, and as many relays and builders as a test wants,
 * each a process of its own with a configuration of its own.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareEdge } from "../../cli/dev/edge.ts";
import { takePort } from "../../cli/dev/ports.ts";
import { type KeyName, makeKey, type MadeKey } from "../../cli/key-set.ts";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { eventually } from "./until.ts";
import { type Part, startCommand, startPart } from "./part.ts";
import { ROOT } from "./peers.ts";
import { REALM, type RigRouter, type RigRouterOptions, startRigRouter } from "./rig-router.ts";

/** The only recipient, unless a test names others. */
const RECIPIENT = "builder";

export interface Rig {
  readonly folder: string;
  readonly router: RigRouter;
  readonly webhook: string;
  startRelay(name: string, more?: object): Part;
  startBuilder(name: string, more?: object): Part;
  /** Writes a builder's configuration, as `startBuilder` does; returns its path. */
  configureBuilder(name: string, more?: object): string;
  /** Path of a part's configuration. */
  configOf(name: string): string;
  /** Path of the box key of a recipient's builders. */
  boxKeyOf(recipient: string): string;
  /** Posts a push; resolves with its delivery's GUID once the edge has taken it. */
  push(fields: Readonly<Record<string, unknown>>, event?: string): Promise<string>;
  /** Posts these bytes; resolves as `push` does. */
  send(event: string, body: Uint8Array): Promise<string>;
  stop(): Promise<void>;
}

export interface RigOptions extends Partial<Pick<RigRouterOptions, "kind" | "serializers" | "onion">> {
  readonly relays: readonly string[];
  readonly builders: readonly string[];
  /** Of the edge, beside their key. */
  readonly recipients?: Readonly<Record<string, object>>;
  /** Commands of the builders' only rule, for pushes. */
  readonly run?: readonly (readonly string[])[];
}

export async function startRig(options: RigOptions): Promise<Rig> {
  const { relays, builders, recipients = { [RECIPIENT]: {} }, run = [["true"]] } = options;
  const folder = mkdtempSync(join(tmpdir(), "oh-rig-"));
  const parts: Part[] = [];
  const kept = (part: Part): Part => {
    parts.push(part);
    return part;
  };
  /** Shared keys are made once; each relay, builder and recipient has its own beside them. */
  const keyOf = (owner: string, name: KeyName): MadeKey => makeKey(join(folder, "keys", owner), name);
  const secret = keyOf("edge", "webhook");
  const edgeBox = keyOf("edge", "edge-box");
  const boxOf = (recipient: string) => keyOf(recipient, "builder-box");
  const edgePort = await takePort(0, "edge");
  const configOf = (name: string) => join(folder, `${name}.json`);
  const write = (name: string, config: object) =>
    writeFileSync(configOf(name), JSON.stringify(config), { mode: 0o600 });
  const own = <Value>(names: readonly string[], value: (name: string) => Value) =>
    Object.fromEntries(names.map((name) => [name, value(name)]));

  mkdirSync(join(folder, "edge"), { mode: 0o700 });
  const workerd = await prepareEdge({
    root: ROOT,
    env: {},
    folder: join(folder, "edge"),
    port: edgePort,
    webhookSecretFile: secret.file,
    boxKeyFile: edgeBox.file,
    recipients: own(Object.keys(recipients), (name) => ({
      box_public: boxOf(name).public["key"],
      ...recipients[name],
    })),
    relays: own(relays, (name) => ({
      sign_public: keyOf(name, "relay-drain").public["key"],
      redeliver: true,
    })),
  });
  kept(startPart(workerd));
  const router = await startRigRouter({
    kind: "ours",
    ...options,
    folder,
    principals: {
      ...own(relays, (name) => principal("github", keyOf(name, "relay-wamp"))),
      ...own(builders, (name) => principal("builder", keyOf(name, "builder-wamp"))),
    },
  });
  await untilUp(`http://127.0.0.1:${edgePort}/health`);

  const webhook = `http://127.0.0.1:${edgePort}/webhook/github`;
  const routerAs = (name: string, key: MadeKey) => ({
    url: router.url,
    realm: REALM,
    authid: name,
    key_file: key.file,
  });
  const configureBuilder: Rig["configureBuilder"] = (name, more = {}) => {
    write(name, {
      data_dir: `${name}-data`,
      tor: "none",
      router: routerAs(name, keyOf(name, "builder-wamp")),
      box_key_file: boxOf(RECIPIENT).file,
      edge_box_public: edgeBox.public["key"],
      relay_box_public: keyOf("relays", "relay-box").public["key"],
      webhook_secret_file: secret.file,
      rules: [{ name: "build", event: "push", run }],
      ...more,
    });
    return configOf(name);
  };
  const send: Rig["send"] = async (event, body) => {
    const guid = crypto.randomUUID();
    const once = () => post(webhook, readSecretFile(secret.file), event, body, guid);
    // On a loaded machine 25 MiB may take the edge longer than GitHub waits. The same delivery again is a duplicate.
    const { status, answer } = await once().catch(once);
    if (status !== 202) throw new Error(`the edge answered ${status}: ${JSON.stringify(answer)}`);
    return guid;
  };
  return {
    folder,
    router,
    webhook,
    configOf,
    boxKeyOf: (recipient) => boxOf(recipient).file,
    startRelay(name, more = {}) {
      write(name, {
        data_dir: `${name}-data`,
        tor: "none",
        edge: {
          url: `ws://127.0.0.1:${edgePort}/drain`,
          relay: name,
          key_file: keyOf(name, "relay-drain").file,
        },
        router: routerAs(name, keyOf(name, "relay-wamp")),
        replay: {
          box_key_file: keyOf("relays", "relay-box").file,
          builders: own(Object.keys(recipients), (recipient) => boxOf(recipient).public["key"]),
        },
        ...more,
      });
      return kept(startCommand("relay", configOf(name)));
    },
    configureBuilder,
    startBuilder: (name, more) => kept(startCommand("builder", configureBuilder(name, more))),
    send,
    push: async (fields, event = "push") =>
      send(event, encodeUtf8(JSON.stringify({ ref: "refs/heads/main", at: crypto.randomUUID(), ...fields }))),
    async stop() {
      // workerd would wait for its sockets on any other signal.
      await Promise.all([router.stop(), ...parts.map((each) => each.end("SIGKILL"))]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function principal(role: string, key: MadeKey): object {
  return { realm: REALM, role, authorized_keys: [key.public["crossbar"]] };
}

async function untilUp(health: string): Promise<void> {
  let isUp = false;
  const asking = setInterval(
    () =>
      void fetch(health).then(
        ({ ok }) => (isUp = ok),
        () => {},
      ),
    100,
  );
  await eventually("the edge is up", () => isUp, 30_000).finally(() => clearInterval(asking));
}
