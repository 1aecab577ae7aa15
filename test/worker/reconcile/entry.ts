/** A Worker of reconciliation alone, for test/e2e/reconcile.test.ts: what worker/main.ts has of it. */
import { printReport } from "../../../worker/print-report.ts";
import { type ReconcileEnv, Reconciler, reconcileHooks } from "../../../worker/reconcile/reconciler.ts";

export { Reconciler };

export default {
  fetch: () => new Response("nothing is here", { status: 404 }),
  scheduled: (_controller, env) => reconcileHooks(env, printReport),
} satisfies ExportedHandler<ReconcileEnv>;
