/** The edge without its outbox: it verifies and scans a delivery, and forgets it. */
import { configOf, type Settings } from "../../worker/config.ts";
import { withWebhook } from "../../worker/webhook/github.ts";

export default {
  fetch: (request, env) =>
    withWebhook(request, configOf(env), async ({ id }) => Response.json({ delivery: id }, { status: 202 })),
} satisfies ExportedHandler<Settings>;
