import type { Context } from "hono";
import { Hono } from "hono/tiny";
import { DRAIN_SUBPROTOCOL } from "../shared/drain.ts";
import { describeError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { discardBody } from "./webhook/body.ts";
import { type EdgeConfig, type Settings, configOf } from "./config.ts";
import { type Webhook, withWebhook } from "./webhook/github.ts";
import { onlyStream, recipientOf, streamFor, wants } from "./recipient.ts";
import { Refusal, type RefusalCode } from "./refusal.ts";
import type { Taken } from "./take.ts";

/** Where deliveries are kept until a relay has done them; docs/architecture.md, "Ports". */
export interface OutboxPort {
  /** Resolves once the sealed delivery is durable in the stream. */
  take(stream: string, webhook: Webhook): Promise<Taken>;
  /** Answers a relay's WebSocket upgrade. */
  drain(stream: string, request: Request): Promise<Response>;
}

export interface AppParts<Env extends Settings> {
  outboxOf: (env: Env) => OutboxPort;
  report: Report;
}

/** The edge's HTTP surface: `POST /webhook/github`, `GET /health`, `GET /drain`. */
export function makeApp<Env extends Settings>({ outboxOf, report }: AppParts<Env>): Hono<{ Bindings: Env }> {
  const app = new Hono<{ Bindings: Env }>();
  /** How often each refusal was the answer, since this isolate was started. */
  const refused: Partial<Record<RefusalCode, number>> = {};

  app.all("/webhook/github", (c) => {
    const answer = take(c);
    // Where a sender hangs up the runtime ends its request, and nothing counts its body out of what is held.
    c.executionCtx.waitUntil(answer.catch(() => {}));
    return answer;
  });

  async function take(c: Context<{ Bindings: Env }>): Promise<Response> {
    const config = configured(c.env);
    const outbox = outboxOf(c.env);
    return withWebhook(c.req.raw, config, async (webhook) => {
      const { id, event, topic, facts, payload } = webhook;
      report("received", { delivery: id, topic, bytes: payload.length });
      const stored: Taken[] = [];
      let failed = false;
      // One after the other, so that a large payload is under way once only; all, though one may fail.
      for (const recipient of config.recipients.values()) {
        if (!wants(recipient, webhook)) continue;
        const stream = streamFor(recipient, facts);
        try {
          stored.push(await outbox.take(stream, webhook));
        } catch (cause) {
          failed = true;
          report("error", { ...describeError(cause), code: "ERR_STORE", stream, delivery: id });
        }
      }
      if (failed) throw new Refusal("ERR_STORE");
      const duplicate = stored.length > 0 && stored.every((taken) => taken.duplicate);
      return c.json({ delivery: id, event, duplicate, stored }, 202);
    });
  }

  app.get("/health", (c) => {
    configOf(c.env);
    return c.json({ status: "ok", refused });
  });

  app.get("/drain", (c) => {
    const wanted = c.req.header("sec-websocket-protocol");
    if (c.req.header("upgrade")?.toLowerCase() !== "websocket" || wanted !== DRAIN_SUBPROTOCOL)
      throw new Refusal("ERR_UPGRADE");
    const config = configured(c.env);
    const stream = c.req.query("stream") ?? onlyStream(config);
    if (stream === undefined || !recipientOf(config, stream)) throw new Refusal("ERR_STREAM");
    return outboxOf(c.env).drain(stream, c.req.raw);
  });

  app.notFound(async (c) => {
    await discardBody(c.req.raw);
    return refuse(c, new Refusal("ERR_NOT_FOUND"));
  });

  app.onError(async (error, c) => {
    await discardBody(c.req.raw);
    if (error instanceof Refusal) return refuse(c, error);
    const { code, message, hint = "the edge's log has the line of this error" } = describeError(error);
    report("error", { code, message, hint });
    return c.json({ error: { code, message, hint } }, 503);
  });

  function refuse(c: Context, refusal: Refusal): Response {
    const { code, status, message, body } = refusal;
    refused[code] = (refused[code] ?? 0) + 1;
    report("refused", { code });
    if (code === "ERR_METHOD") {
      c.header("Allow", "POST");
      if (c.req.header("accept")?.includes("text/html")) return c.text(`${message}\n`, status);
    }
    return c.json(body, status);
  }

  return app;
}

function configured(env: Settings): EdgeConfig {
  try {
    return configOf(env);
  } catch {
    throw new Refusal("ERR_CONFIG");
  }
}
