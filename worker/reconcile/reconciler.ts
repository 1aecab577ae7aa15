import { DurableObject } from "cloudflare:workers";
import { describeError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import { makeHookApi } from "./github-api.ts";
import { printReport } from "../print-report.ts";
import { type ReconcileConfig, reconcileConfigOf, type ReconcileSettings } from "./config.ts";
import { openReconcileSql } from "./sql.ts";
import { reconcile, type ReconcileStore } from "./reconcile.ts";

export interface ReconcileEnv extends ReconcileSettings {
  RECONCILER: DurableObjectNamespace<Reconciler>;
}

/** What `run` answers; a field that another version leaves out says nothing. */
export interface RunOutcome {
  /** GitHub's rate limit forbids requests until then: milliseconds since 1970. */
  notBefore?: number;
}

/** Reconciles one hook, after which the object is named, and keeps what must survive between runs. */
export class Reconciler extends DurableObject<ReconcileEnv> {
  readonly #store: ReconcileStore;
  /** In memory on purpose: a run that dies takes it along, and locks nothing. */
  #isRunning = false;

  constructor(state: DurableObjectState, env: ReconcileEnv) {
    super(state, env);
    this.#store = openReconcileSql(state.storage);
  }

  /** Runs once, unless a run is going on or the hook is not configured. It ends: every request has its deadline. */
  async run(request: { hook?: string }): Promise<RunOutcome> {
    const config = reconcileConfigOf(this.env);
    const hook = config?.hooks.find((each) => each === request.hook);
    if (!config || !hook || this.#isRunning) return {};
    this.#isRunning = true;
    try {
      const { apiUrl, token } = config;
      const notBefore = await reconcile({
        hook,
        api: makeHookApi({ apiUrl, token, hook, fetch: (url, init) => fetch(url, init), now: Date.now }),
        store: this.#store,
        report: printReport,
        now: Date.now,
        wait: (ms) => scheduler.wait(ms),
      });
      return { notBefore };
    } finally {
      this.#isRunning = false;
    }
  }
}

/**
 * What the cron trigger does: reconciles every configured hook, one after the other, as GitHub asks of its
 * API's users. One that fails is reported and does not stop the others; a rate limit does, since it is the token's.
 */
export async function reconcileHooks(env: ReconcileEnv, report: Report): Promise<void> {
  let config: ReconcileConfig | undefined;
  try {
    config = reconcileConfigOf(env);
  } catch (error) {
    report("error", describeError(error));
  }
  for (const hook of config?.hooks ?? []) {
    try {
      const outcome: RunOutcome = await env.RECONCILER.getByName(hook).run({ hook });
      if ((outcome.notBefore ?? 0) > Date.now()) return;
    } catch (error) {
      report("error", { ...describeError(error), hook });
    }
  }
}
