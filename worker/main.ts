import { makeApp } from "./app.ts";
import type { Settings } from "./config.ts";
import { Outbox } from "./outbox.ts";
import { printReport } from "./print-report.ts";

export { Outbox };

/** The bindings of wrangler.toml. */
export interface Env extends Settings {
  OUTBOX: DurableObjectNamespace<Outbox>;
}

const app = makeApp<Env>({
  report: printReport,
  outboxOf(env, config) {
    const outbox = env.OUTBOX.getByName(config.recipient.name);
    return { take: (webhook) => outbox.take(webhook), drain: (request) => outbox.fetch(request) };
  },
});

export default { fetch: app.fetch } satisfies ExportedHandler<Env>;
