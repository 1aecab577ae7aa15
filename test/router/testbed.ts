/** A router with deploy/crossbar.json, a port of its own and two keys; ended with the test. */
import { readFileSync } from "node:fs";
import { onTestFinished } from "vitest";
import type { Clock } from "../../router/clock.ts";
import { parseRouterConfig, type RouterConfig } from "../../router/config.ts";
import type { Endpoint } from "../../router/listener.ts";
import { startRouter, type Router } from "../../router/router.ts";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { newKeyPair, RawClient, type KeyPair } from "./raw-client.ts";

export type Json = Record<string, unknown>;

/** Set at a path of keys and indices inside a JSON value, e.g. `workers.0.transports.0.endpoint`. */
export type Change = readonly [path: string, value: unknown];

export function deployJson(): Json {
  return JSON.parse(readFileSync(new URL("../../deploy/crossbar.json", import.meta.url), "utf8"));
}

/** deploy/crossbar.json with one transport, on TCP, and with changes; `undefined` takes a key away. */
export function configJson(...changes: readonly Change[]): Json {
  const json = deployJson();
  const onTcp: Change[] = [
    ["workers.0.transports.length", 1],
    [`${TRANSPORT}.endpoint`, { type: "tcp", interface: "127.0.0.1", port: 8080 }],
  ];
  for (const [path, value] of [...onTcp, ...changes]) {
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    let at: Json = json;
    for (const key of keys) at = inner(at, key);
    if (value === undefined) delete at[last];
    else at[last] = value;
  }
  return json;
}

function inner(at: Json, key: string): Json {
  const value = at[key];
  if (typeof value !== "object" || value === null) throw new TypeError(`nothing at ${key}`);
  return Object.assign(value);
}

export const TRANSPORT = "workers.0.transports.0";
export const PRINCIPALS = `${TRANSPORT}.auth.cryptosign.principals`;

export interface Testbed {
  readonly router: Router;
  readonly endpoint: Endpoint;
  readonly keys: { readonly relay: KeyPair; readonly builder: KeyPair };
  readonly reports: Array<readonly [event: string, fields: unknown]>;
  readonly join: (authid: "relay" | "builder", serializer?: SerializerId) => Promise<RawClient>;
  readonly dial: (serializer?: SerializerId) => Promise<RawClient>;
}

export async function startTestbed(
  options: {
    changes?: readonly Change[];
    clock?: Clock;
    adjust?: (config: RouterConfig) => RouterConfig;
  } = {},
): Promise<Testbed> {
  const { changes = [], clock, adjust = (config) => config } = options;
  const keys = { relay: newKeyPair(), builder: newKeyPair() };
  const json = configJson(
    [`${TRANSPORT}.endpoint.port`, 0],
    [`${PRINCIPALS}.relay.authorized_keys`, [keys.relay.publicHex]],
    [`${PRINCIPALS}.builder.authorized_keys`, [keys.builder.publicHex]],
    ...changes,
  );
  const reports: Testbed["reports"] = [];
  const config = adjust(parseRouterConfig(json, "/nowhere"));
  const report = (event: string, fields: unknown) => void reports.push([event, fields]);
  const router = await startRouter({ config, report, ...(clock && { clock }) });
  const clients: RawClient[] = [];
  onTestFinished(async () => {
    for (const client of clients) client.end();
    await router.close();
  });
  const [endpoint] = router.endpoints;
  if (endpoint === undefined) throw new TypeError("no endpoint");
  const keep = (client: RawClient) => {
    clients.push(client);
    return client;
  };
  return {
    router,
    endpoint,
    keys,
    reports,
    join: async (authid, serializer) =>
      keep(await RawClient.join(endpoint, authid, keys[authid], serializer)),
    dial: async (serializer) => keep(await RawClient.dial(endpoint, serializer)),
  };
}

/** Permissions under which the role `github` may do everything, for tests of what it then does. */
export const EVERYTHING: Change = [
  "workers.0.realms.0.roles.0.permissions",
  [
    {
      uri: "",
      match: "prefix",
      allow: { publish: true, subscribe: true, call: true, register: true },
      disclose: { publisher: true, caller: true },
    },
  ],
];
