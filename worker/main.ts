import { makeApp } from "./app.ts";
import type { Env } from "./config.ts";
import { Outbox } from "./outbox.ts";
import { printReport } from "./print-report.ts";

export { Outbox };

const app = makeApp({
  report: printReport,
  outboxOf(env, config) {
    const outbox = env.OUTBOX.getByName(config.recipient.name);
    return { take: (webhook) => outbox.take(webhook), drain: (request) => outbox.fetch(request) };
  },
});

export default { fetch: app.fetch } satisfies ExportedHandler<Env>;
