import * as v from "valibot";
import { OnionhookError } from "../../shared/errors.ts";

/** Reconciliation's settings among the bindings, as the runtime hands them over: unchecked. */
export interface ReconcileSettings {
  GITHUB_TOKEN?: unknown;
  GITHUB_API_URL?: unknown;
  RECONCILE?: unknown;
}

/** Where GitHub's API has a hook, below the API's own URL; lower case, since GitHub does not tell cases apart. */
export type HookPath = `/repos/${string}/${string}/hooks/${string}` | `/orgs/${string}/hooks/${string}`;

export interface ReconcileConfig {
  token: string;
  /** Without a slash at its end. */
  apiUrl: string;
  hooks: readonly HookPath[];
}

/** They are reconciled one after the other, a minute each at most, within the 15 minutes that a cron may take. */
const MAX_HOOKS = 10;

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

const hookPath = v.pipe(
  v.string("OWNER/REPOSITORY/HOOK_ID or ORGANISATION/HOOK_ID was expected"),
  v.toLowerCase(),
  v.rawTransform(({ dataset, addIssue, NEVER }): HookPath => {
    const parts = /^([\w-]{1,100})(?:\/(?!\.\.?\/)([\w.-]{1,100}))?\/(\d{1,15})$/.exec(dataset.value);
    const [, owner, repository, id] = parts ?? [];
    if (owner === undefined || id === undefined) {
      addIssue({ message: "neither OWNER/REPOSITORY/HOOK_ID nor ORGANISATION/HOOK_ID" });
      return NEVER;
    }
    return repository === undefined
      ? `/orgs/${owner}/hooks/${id}`
      : `/repos/${owner}/${repository}/hooks/${id}`;
  }),
);

const apiUrl = v.pipe(
  v.string("a URL was expected"),
  v.check((text) => {
    const url = URL.parse(text);
    if (!url || url.username || url.password || url.search || url.hash) return false;
    return url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.test(url.hostname));
  }, "an https URL without user, query or fragment was expected"),
  v.transform((text) => text.replace(/\/+$/, "")),
);

/**
 * The bindings `GITHUB_TOKEN`, `GITHUB_API_URL` and `RECONCILE` (`{ hooks: string[] }`); others are ignored.
 * Undefined means off: `RECONCILE` is missing or names no hook. No issue repeats a value.
 */
const reconcileBindings = v.pipe(
  v.object({
    GITHUB_TOKEN: v.optional(
      v.pipe(
        v.string("a string was expected"),
        v.trim(),
        v.regex(/^[\x21-\x7e]{1,1024}$/, "not the form of a token: set it again with wrangler secret put"),
      ),
    ),
    GITHUB_API_URL: v.optional(apiUrl, "https://api.github.com"),
    RECONCILE: v.optional(
      v.object(
        {
          hooks: v.pipe(
            v.array(hookPath, "a list of hooks was expected"),
            v.maxLength(MAX_HOOKS, `more than ${MAX_HOOKS}`),
          ),
        },
        '{ hooks = ["OWNER/REPOSITORY/HOOK_ID"] } was expected',
      ),
      { hooks: [] },
    ),
  }),
  v.forward(
    v.check(
      ({ GITHUB_TOKEN, RECONCILE }) => GITHUB_TOKEN !== undefined || RECONCILE.hooks.length === 0,
      "missing: set it with wrangler secret put GITHUB_TOKEN",
    ),
    ["GITHUB_TOKEN"],
  ),
  v.transform(({ GITHUB_TOKEN, GITHUB_API_URL, RECONCILE }): ReconcileConfig | undefined => {
    const hooks = [...new Set(RECONCILE.hooks)];
    if (GITHUB_TOKEN === undefined || hooks.length === 0) return undefined;
    return { token: GITHUB_TOKEN, apiUrl: GITHUB_API_URL, hooks };
  }),
);

/**
 * {@link reconcileBindings}, apart from the edge's other settings: a fault in these must not stop it from
 * taking deliveries.
 * @throws OnionhookError `ERR_RECONCILE_CONFIG`, naming every fault.
 */
export function reconcileConfigOf(settings: ReconcileSettings): ReconcileConfig | undefined {
  const result = v.safeParse(reconcileBindings, settings);
  if (result.success) return result.output;
  const faults = result.issues.map((issue) => `${v.getDotPath(issue) ?? "the bindings"}: ${issue.message}`);
  throw new OnionhookError(
    "ERR_RECONCILE_CONFIG",
    `reconciliation is misconfigured, and off: ${faults.join("; ")}`,
    { hint: "docs/reconciliation.md shows every setting" },
  );
}
