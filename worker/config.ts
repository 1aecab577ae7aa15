import * as v from "valibot";
import { NAME } from "../shared/delivery.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type KeyKind, type KeyVisibility, parseKey } from "../shared/keys.ts";

/** The settings among the bindings of wrangler.toml, as the runtime hands them over: unchecked. */
export interface Settings {
  WEBHOOK_SECRET?: unknown;
  EDGE_BOX_KEY?: unknown;
  RECIPIENT?: unknown;
  RELAYS?: unknown;
}

export interface EdgeConfig {
  webhookSecret: string;
  /** Secret half of the edge's box key. */
  boxSecret: Uint8Array;
  recipient: { name: string; boxPublic: Uint8Array };
  /** Ed25519 public keys of the relays that may drain, by name. */
  relays: ReadonlyMap<string, Uint8Array>;
}

/** Shorter secrets can be guessed offline by whoever sees one signed delivery. */
const MIN_SECRET_LENGTH = 16;

const bindings = v.object({
  WEBHOOK_SECRET: v.pipe(
    v.string("missing: set it with wrangler secret put WEBHOOK_SECRET"),
    v.trim(),
    v.minLength(MIN_SECRET_LENGTH, `shorter than ${MIN_SECRET_LENGTH} characters`),
  ),
  EDGE_BOX_KEY: key("box", "secret"),
  RECIPIENT: v.object(
    {
      name: v.pipe(v.string("missing"), v.regex(NAME, `does not match ${NAME}`)),
      box_public: key("box", "public"),
    },
    "missing: { name, box_public } was expected",
  ),
  RELAYS: v.record(
    v.pipe(v.string(), v.regex(NAME, `a name does not match ${NAME}`)),
    key("sign", "public"),
    "missing: { NAME: onionhook-sign-public:… } was expected",
  ),
});

/**
 * Checks the bindings, all at once. Secrets are never repeated in the error.
 * @throws OnionhookError `ERR_EDGE_CONFIG`, naming every fault.
 */
function parseConfig(env: Settings): EdgeConfig {
  const result = v.safeParse(bindings, env);
  if (!result.success) {
    const faults = result.issues.map((issue) => `${v.getDotPath(issue) ?? "the bindings"}: ${issue.message}`);
    throw new OnionhookError("ERR_EDGE_CONFIG", `the edge is misconfigured: ${faults.join("; ")}`, {
      hint: "wrangler.toml shows every setting; make keys with: onionhook keys new",
    });
  }
  const { WEBHOOK_SECRET, EDGE_BOX_KEY, RECIPIENT, RELAYS } = result.output;
  return {
    webhookSecret: WEBHOOK_SECRET,
    boxSecret: EDGE_BOX_KEY,
    recipient: { name: RECIPIENT.name, boxPublic: RECIPIENT.box_public },
    relays: new Map(Object.entries(RELAYS)),
  };
}

const parsed = new WeakMap<Settings, EdgeConfig>();

/** {@link parseConfig}, once for a set of bindings: checking keys takes about a millisecond. */
export function configOf(env: Settings): EdgeConfig {
  const config = parsed.get(env) ?? parseConfig(env);
  parsed.set(env, config);
  return config;
}

function key(kind: KeyKind, visibility: KeyVisibility) {
  return v.pipe(
    v.string("missing"),
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
