import { Hono } from "hono";
import { describeError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { DRAIN_SUBPROTOCOL } from "../shared/drain.ts";
import { type EdgeConfig, type Settings, configOf } from "./config.ts";
import { discardBody, readWebhook, type Webhook } from "./github.ts";
import { Refusal } from "./refusal.ts";

/** What the outbox answers to a delivery that it holds durably. */
export interface Taken {
  stream: string;
  seq: number;
  /** Whether the same delivery was there already, not yet done. */
  duplicate: boolean;
}

/** Where deliveries are kept until a relay has done them; docs/architecture.md, "Ports". */
export interface OutboxPort {
  /** Resolves once the sealed delivery is durable. */
  take(webhook: Webhook): Promise<Taken>;
  /** Answers a relay's WebSocket upgrade. */
  drain(request: Request): Promise<Response>;
}

export interface AppParts<Env extends Settings> {
  outboxOf: (env: Env, config: EdgeConfig) => OutboxPort;
  report: Report;
}

/** The edge's HTTP surface: `POST /webhook/github`, `GET /health`, `GET /drain`. */
export function makeApp<Env extends Settings>({ outboxOf, report }: AppParts<Env>): Hono<{ Bindings: Env }> {
  const app = new Hono<{ Bindings: Env }>();

  app.all("/webhook/github", async (c) => {
    const config = configured(c.env);
    const webhook = await readWebhook(c.req.raw, config.webhookSecret);
    report("received", { delivery: webhook.id, topic: webhook.topic, bytes: webhook.rawBody.length });
    let taken: Taken;
    try {
      taken = await outboxOf(c.env, config).take(webhook);
    } catch (cause) {
      report("error", { ...describeError(cause), code: "ERR_STORE", delivery: webhook.id });
      throw new Refusal("ERR_STORE");
    }
    return c.json(
      { delivery: webhook.id, stream: taken.stream, seq: taken.seq, duplicate: taken.duplicate },
      202,
    );
  });

  app.get("/health", (c) => {
    const config = configOf(c.env);
    return c.json({ status: "ok", recipient: config.recipient.name, relays: config.relays.size });
  });

  app.get("/drain", (c) => {
    const wanted = c.req.header("sec-websocket-protocol");
    if (c.req.header("upgrade")?.toLowerCase() !== "websocket" || wanted !== DRAIN_SUBPROTOCOL) {
      throw new Refusal("ERR_UPGRADE");
    }
    return outboxOf(c.env, configured(c.env)).drain(c.req.raw);
  });

  app.notFound((c) => c.json(new Refusal("ERR_NOT_FOUND").body, 404));

  app.onError(async (error, c) => {
    await discardBody(c.req.raw);
    if (error instanceof Refusal) {
      if (error.code === "ERR_METHOD") c.header("Allow", "POST");
      return c.json(error.body, error.status);
    }
    const { code, message, hint } = describeError(error);
    report("error", { code, message, hint });
    return c.json({ error: { code, message, hint } }, 503);
  });

  return app;
}

function configured(env: Settings): EdgeConfig {
  try {
    return configOf(env);
  } catch {
    throw new Refusal("ERR_CONFIG");
  }
}
