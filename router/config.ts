import { resolve } from "node:path";
import * as v from "valibot";
import { OnionhookError } from "../shared/errors.ts";
import type { SerializerId } from "../shared/wamp/serializers.ts";
import { crossbarConfig, type CrossbarConfig } from "./config-schema.ts";
import { parseVerifyKey } from "./cryptosign.ts";
import type { Action, Permission } from "./permissions.ts";
import type { Principal, Principals } from "./principals.ts";

export interface RouterConfig {
  /** By name; the permissions by role. */
  readonly realms: ReadonlyMap<string, ReadonlyMap<string, readonly Permission[]>>;
  readonly transports: readonly TransportConfig[];
}

export interface TransportConfig {
  readonly endpoint: EndpointConfig;
  readonly serializers: readonly SerializerId[];
  readonly principals: Principals;
  readonly maxMessageBytes: number;
  /** 0: no pings. */
  readonly pingIntervalMs: number;
  /** 0: no deadline for the answer. */
  readonly pingTimeoutMs: number;
  readonly maxConnections: number | undefined;
}

export type EndpointConfig =
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "unix"; readonly path: string };

type Worker = CrossbarConfig["workers"][number];
type Transport = Worker["transports"][number];

/**
 * Reads a Crossbar.io node configuration, already parsed from JSON. Relative socket paths start at
 * `baseDir`.
 *
 * @throws OnionhookError `ERR_ROUTER_CONFIG` that lists every fault: where, what was found, what was
 *   expected.
 */
export function parseRouterConfig(json: unknown, baseDir: string): RouterConfig {
  const parsed = v.safeParse(crossbarConfig, json);
  if (!parsed.success) throw faulty(parsed.issues.map(describeIssue));
  const [worker] = parsed.output.workers;
  if (worker === undefined) throw faulty(["workers: found none, expected exactly one"]);
  const faults = danglingNames(worker);
  if (faults.length > 0) throw faulty(faults);
  return {
    realms: new Map(
      worker.realms.map(({ name, roles }) => [
        name,
        new Map(roles.map((role) => [role.name, role.permissions.map(toPermission)])),
      ]),
    ),
    transports: worker.transports.map((transport) => toTransport(transport, baseDir)),
  };
}

function faulty(faults: readonly string[]): OnionhookError {
  const lines = faults.map((fault) => `\n  ${fault}`).join("");
  return new OnionhookError("ERR_ROUTER_CONFIG", `the router's configuration has faults:${lines}`, {
    hint: "Correct the keys listed; deploy/crossbar.json is a working example.",
  });
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const where = (issue.path ?? [])
    .map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./u, "");
  // A schema's own messages here say what was expected; valibot's standard ones repeat what we print.
  let expected = issue.message.startsWith("Invalid ") ? issue.expected : issue.message;
  if (issue.message.startsWith("Invalid key")) expected = "this key";
  const value = issue.path?.at(-1)?.value ?? issue.input;
  return `${where || "(top)"}: found ${found(where, value)}, expected ${expected ?? "something else"}`;
}

/** Characters. Keys are longer, in hex and in base64: somebody may have put a private one in a wrong place. */
const LONGEST_SHOWN = 39;

/** A value as far as it may be shown. */
function found(where: string, value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  if (where.includes("authorized_keys")) return `a ${typeof value} that is none`;
  if (typeof value === "string" && value.length > LONGEST_SHOWN) return `text of ${value.length} characters`;
  return JSON.stringify(value);
}

/** What the shape cannot tell: principals that name no role, and names given twice. */
function danglingNames(worker: Worker): string[] {
  const faults: string[] = [];
  const unique = (names: readonly string[], where: string) => {
    for (const name of new Set(names.filter((each, index) => names.indexOf(each) !== index)))
      faults.push(`${where}: found ${JSON.stringify(name)} twice, expected each once`);
  };
  unique(
    worker.realms.map(({ name }) => name),
    "workers[0].realms",
  );
  worker.realms.forEach(({ roles }, realmIndex) => {
    const where = `workers[0].realms[${realmIndex}].roles`;
    unique(
      roles.map(({ name }) => name),
      where,
    );
    roles.forEach(({ permissions }, index) => {
      unique(
        permissions.map(({ uri }) => uri),
        `${where}[${index}].permissions`,
      );
    });
  });
  worker.transports.forEach(({ auth }, index) => {
    for (const [authid, { realm, role }] of Object.entries(auth.cryptosign.principals)) {
      const where = `workers[0].transports[${index}].auth.cryptosign.principals.${authid}`;
      const home = worker.realms.find(({ name }) => name === realm);
      if (home === undefined)
        faults.push(`${where}.realm: found ${JSON.stringify(realm)}, expected a realm above`);
      else if (!home.roles.some(({ name }) => name === role))
        faults.push(`${where}.role: found ${JSON.stringify(role)}, expected a role of its realm`);
    }
  });
  return faults;
}

function toPermission(
  permission: Worker["realms"][number]["roles"][number]["permissions"][number],
): Permission {
  const { uri, match, allow, disclose } = permission;
  const actions: Action[] = ["publish", "subscribe", "call", "register"];
  return {
    uri,
    match,
    allow: new Set(actions.filter((action) => allow[action])),
    disclose: { publisher: disclose.publisher, caller: disclose.caller },
  };
}

function toTransport(transport: Transport, baseDir: string): TransportConfig {
  const { endpoint, options } = transport;
  return {
    endpoint:
      endpoint.type === "tcp"
        ? { type: "tcp", host: endpoint.interface, port: endpoint.port }
        : { type: "unix", path: resolve(baseDir, endpoint.path) },
    serializers: transport.serializers,
    principals: new Map(
      Object.entries(transport.auth.cryptosign.principals).map(([authid, principal]) => [
        authid,
        toPrincipal(principal),
      ]),
    ),
    maxMessageBytes: Math.min(options.max_message_size, options.max_frame_size),
    pingIntervalMs: options.auto_ping_interval,
    pingTimeoutMs: options.auto_ping_timeout,
    maxConnections: transport.max_connections,
  };
}

function toPrincipal(principal: Transport["auth"]["cryptosign"]["principals"][string]): Principal {
  return {
    realm: principal.realm,
    role: principal.role,
    keys: principal.authorized_keys.map(parseVerifyKey).filter((key) => key !== undefined),
  };
}
