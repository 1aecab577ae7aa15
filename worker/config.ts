/** The settings among the bindings of wrangler.toml, checked: docs/configuration.md, "The edge". */
import * as v from "valibot";
import { NAME } from "../shared/delivery.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type KeyKind, type KeyVisibility, parseKey } from "../shared/keys.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";

/** The bindings as the runtime hands them over: unchecked. A source names further ones, its secrets. */
export interface Settings {
  WEBHOOK_SECRET?: unknown;
  /** Good too while the webhook's secret is being changed. */
  WEBHOOK_SECRET_OLD?: unknown;
  SOURCES?: unknown;
  EDGE_BOX_KEY?: unknown;
  RECIPIENTS?: unknown;
  RELAYS?: unknown;
}

/** Who signs deliveries, and which hooks, repositories and organisations that secret may speak for. */
export interface Source {
  /** One, or two during a rotation. */
  secrets: readonly string[];
  /** Undefined: every one. So too below. */
  hookIds: readonly number[] | undefined;
  /** `owner/name` or `owner/*`, lower case. */
  repositories: readonly string[] | undefined;
  /** Logins, lower case. */
  organizations: readonly string[] | undefined;
}

export interface Recipient {
  name: string;
  /**
   * Public box keys by topic or prefix of topics, of which the longest match counts. Events are sealed
   * with the first; receipts may be sealed with each: two during a rotation.
   */
  keys: ReadonlyMap<string, readonly Uint8Array[]>;
  /** Lower case. Undefined: every one. */
  events: readonly string[] | undefined;
  /** As a source's. */
  repositories: readonly string[] | undefined;
  /** Whether an event is done by the recipient's receipt alone; else the relay's word does. */
  receipts: boolean;
  streams: number;
  /** How long a done event can be replayed. */
  retentionMs: number;
}

/** A relay that may drain. */
export interface RelayGrant {
  /** Public Ed25519 keys: one, or two during a rotation. */
  keys: readonly Uint8Array[];
  /** Whose streams. Undefined: everybody's. */
  recipients: readonly string[] | undefined;
  /** Whether it may have done events run again. */
  redeliver: boolean;
}

export interface EdgeConfig {
  sources: readonly Source[];
  /** Secret half of the edge's box key. */
  boxSecret: Uint8Array;
  recipients: ReadonlyMap<string, Recipient>;
  relays: ReadonlyMap<string, RelayGrant>;
}

/** Shorter secrets can be guessed offline by whoever sees one signed delivery. */
const MIN_SECRET_LENGTH = 16;
/** A signature is tried with every secret that may be meant. */
const MAX_SOURCES = 16;
export const MAX_STREAMS = 32;
/** As long as Cloudflare itself can go back. */
const MAX_RETENTION_DAYS = 30;
const DAY_MS = 24 * 60 * 60 * 1000;

const name = v.pipe(v.string(), v.regex(NAME, `does not match ${NAME}`));
const secretName = v.pipe(
  v.string(),
  v.regex(
    /^[A-Z][A-Z0-9_]{0,63}$/,
    "is no name of a secret: capitals, digits and _ were expected, never the secret",
  ),
);
const eventName = v.pipe(v.string(), v.toLowerCase(), v.regex(/^[a-z][a-z0-9_]*$/, "is no event's name"));
const login = v.pipe(v.string(), v.toLowerCase(), v.regex(/^[\w.-]+$/, "is no login"));
const repository = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.regex(/^[\w.-]+\/(?:\*|[\w.-]+)$/, "is neither owner/name nor owner/*"),
);
const topicOrPrefix = v.pipe(
  v.string(),
  v.regex(/^webhook\.github\.(?:[a-z][a-z0-9_]*)?$/, `is neither a topic nor ${TOPIC_PREFIX}`),
);

/** Left out, a list does not restrict; an empty one would shut everybody out, which nobody means. */
const restriction = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.optional(v.pipe(v.array(schema), v.minLength(1, "is empty: leave it out for every one")));

/** A text alone stands for a list of one. */
const oneOrTwo = <Schema extends v.GenericSchema<string, unknown>>(schema: Schema) =>
  v.pipe(
    v.unknown(),
    v.transform((value) => (typeof value === "string" ? [value] : value)),
    v.array(schema, "missing: a text, or a list of two, was expected"),
    v.minLength(1, "is empty"),
    v.maxLength(2, "has more than two"),
  );

/** A text or a list alone stands for a table with that under `field`. */
const shorthand = (field: string) => (value: unknown) =>
  typeof value === "string" || Array.isArray(value) ? { [field]: value } : value;

const bindings = v.object({
  SOURCES: v.pipe(
    v.record(
      name,
      v.strictObject({
        secrets: oneOrTwo(secretName),
        hook_ids: restriction(v.pipe(v.number(), v.safeInteger())),
        repositories: restriction(repository),
        organizations: restriction(login),
      }),
    ),
    v.minEntries(1, "names nobody"),
    v.maxEntries(MAX_SOURCES, `has more than ${MAX_SOURCES}`),
  ),
  EDGE_BOX_KEY: key("box", "secret", "missing: set it with wrangler secret put EDGE_BOX_KEY"),
  RECIPIENTS: v.pipe(
    v.record(
      v.pipe(
        name,
        v.check((text) => !/-\d+$/.test(text), "ends like the name of a further stream"),
        v.check(
          (text) => NAME.test(`${text}-${MAX_STREAMS}`),
          "leaves no room for the number of a further stream",
        ),
      ),
      v.strictObject({
        box_public: v.pipe(
          v.unknown(),
          v.transform(shorthand(TOPIC_PREFIX)),
          v.record(topicOrPrefix, oneOrTwo(key("box", "public")), "missing: a public box key was expected"),
          v.minEntries(1, "is empty"),
        ),
        events: restriction(eventName),
        repositories: restriction(repository),
        receipts: v.optional(v.boolean(), true),
        streams: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_STREAMS)), 1),
        retention_days: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(MAX_RETENTION_DAYS)), 7),
      }),
      "missing: { NAME = { box_public = … } } was expected",
    ),
    v.minEntries(1, "names nobody"),
  ),
  RELAYS: v.record(
    name,
    v.pipe(
      v.unknown(),
      v.transform(shorthand("sign_public")),
      v.strictObject({
        sign_public: oneOrTwo(key("sign", "public")),
        recipients: restriction(name),
        redeliver: v.optional(v.boolean(), false),
      }),
    ),
    "missing: { NAME = onionhook-sign-public:… } was expected",
  ),
});

/** Without sources, one secret is good for every hook. */
function defaultSources(env: Settings) {
  const rotating = env.WEBHOOK_SECRET_OLD !== undefined;
  return { default: { secrets: ["WEBHOOK_SECRET", ...(rotating ? ["WEBHOOK_SECRET_OLD"] : [])] } };
}

/**
 * Checks the bindings, all at once. Secrets are never repeated in the error.
 * @throws OnionhookError `ERR_EDGE_CONFIG`, naming every fault.
 */
export function parseConfig(env: Settings): EdgeConfig {
  // Each by its name, so that one that is missing says so in our words.
  const given = {
    SOURCES: env.SOURCES ?? defaultSources(env),
    EDGE_BOX_KEY: env.EDGE_BOX_KEY,
    RECIPIENTS: env.RECIPIENTS,
    RELAYS: env.RELAYS,
  };
  const result = v.safeParse(bindings, given, { message: withoutValue });
  const secretsOf = v.safeParse(bindings.entries.SOURCES, given.SOURCES);
  const secrets = new Map(
    Object.values(secretsOf.success ? secretsOf.output : {}).flatMap((source) =>
      source.secrets.map((binding) => [binding, parseSecret(env, binding)] as const),
    ),
  );
  const faults = [...secrets].flatMap(([binding, { fault }]) =>
    fault === undefined ? [] : [`${binding}: ${fault}`],
  );
  if (!result.success) throw misconfigured([...faults, ...result.issues.map(textOf)]);
  const { SOURCES, EDGE_BOX_KEY, RECIPIENTS, RELAYS } = result.output;
  for (const [relay, { recipients: granted = [] }] of Object.entries(RELAYS)) {
    for (const recipient of granted) {
      if (!(recipient in RECIPIENTS))
        faults.push(`RELAYS.${relay}.recipients: there is no recipient ${recipient}`);
    }
  }
  if (faults.length > 0) throw misconfigured(faults);
  return {
    sources: Object.values(SOURCES).map((source) => ({
      secrets: source.secrets.map((binding) => secrets.get(binding)?.secret ?? ""),
      hookIds: source.hook_ids,
      repositories: source.repositories,
      organizations: source.organizations,
    })),
    boxSecret: EDGE_BOX_KEY,
    recipients: new Map(
      Object.entries(RECIPIENTS).map(([recipient, { box_public, retention_days, ...rest }]) => [
        recipient,
        {
          name: recipient,
          keys: new Map(Object.entries(box_public)),
          events: rest.events,
          repositories: rest.repositories,
          receipts: rest.receipts,
          streams: rest.streams,
          retentionMs: retention_days * DAY_MS,
        },
      ]),
    ),
    relays: new Map(
      Object.entries(RELAYS).map(([relay, { sign_public, recipients, redeliver }]) => [
        relay,
        { keys: sign_public, recipients, redeliver },
      ]),
    ),
  };
}

function parseSecret(env: object, binding: string): { secret?: string; fault?: string } {
  const value: unknown = Object.entries(env).find(([each]) => each === binding)?.[1];
  if (typeof value !== "string") return { fault: `missing: set it with wrangler secret put ${binding}` };
  const secret = value.trim();
  return secret.length < MIN_SECRET_LENGTH
    ? { fault: `shorter than ${MIN_SECRET_LENGTH} characters` }
    : { secret };
}

/** In place of valibot's own messages, which repeat what they found: a secret may stand anywhere by mistake. */
function withoutValue({ expected, type }: v.BaseIssue<unknown>): string {
  return expected === "never" ? "is not known" : `${expected ?? type} was expected`;
}

/** A key for every topic stands under a prefix that nobody wrote: `shorthand`. */
function textOf(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue)?.replace(`.${TOPIC_PREFIX}.`, ".");
  return `${path ?? "the bindings"}: ${issue.message}`;
}

function misconfigured(faults: readonly string[]): OnionhookError {
  return new OnionhookError("ERR_EDGE_CONFIG", `the edge is misconfigured: ${faults.join("; ")}`, {
    hint: "wrangler.toml shows every setting; make keys with: npm run onionhook -- keys new",
  });
}

const parsed = new WeakMap<Settings, EdgeConfig>();

/** {@link parseConfig}, once for a set of bindings. */
export function configOf(env: Settings): EdgeConfig {
  const config = parsed.get(env) ?? parseConfig(env);
  parsed.set(env, config);
  return config;
}

function key(kind: KeyKind, visibility: KeyVisibility, missing = "missing") {
  return v.pipe(
    v.string(missing),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      try {
        return parseKey(dataset.value, kind, visibility, "the key");
      } catch (error) {
        addIssue({ message: error instanceof OnionhookError ? error.message : "no key" });
        return NEVER;
      }
    }),
  );
}
