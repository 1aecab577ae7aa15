import { makeApp } from "./app.ts";
import type { Settings } from "./config.ts";
import { Outbox } from "./outbox.ts";
import { LARGE_BYTES } from "./take.ts";
import { printReport } from "./print-report.ts";
import { type ReconcileEnv, Reconciler, reconcileHooks } from "./reconcile/reconciler.ts";

export { Outbox, Reconciler };

/** The bindings of wrangler.toml. */
export interface Env extends Settings, ReconcileEnv {
  OUTBOX: DurableObjectNamespace<Outbox>;
}

const PIECE_BYTES = 1024 * 1024;

const app = makeApp<Env>({
  report: printReport,
  outboxOf: ({ OUTBOX }) => ({
    take(stream, { payload, facts: _facts, ...webhook }) {
      const call = { v: 1, bytes: payload.length, ...webhook } as const;
      const whole = payload.length <= LARGE_BYTES;
      return OUTBOX.getByName(stream).take(call, whole ? payload : streamOf(payload));
    },
    drain: (stream, request) => OUTBOX.getByName(stream).fetch(request),
  }),
});

/** As an argument, a large payload would be in memory twice more: written, and read again. */
function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      // A copy, since what is handed over is gone: the payload goes to other recipients, too.
      controller.enqueue(bytes.slice(at, at + PIECE_BYTES));
      at += PIECE_BYTES;
      if (at >= bytes.length) controller.close();
    },
  });
}

export default {
  fetch: app.fetch,
  scheduled: (_controller, env) => reconcileHooks(env, printReport),
} satisfies ExportedHandler<Env>;
