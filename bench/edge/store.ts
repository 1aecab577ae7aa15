/** The edge's storage alone: what comes is kept as it is, unverified and unsealed. */
import { DurableObject } from "cloudflare:workers";
import { openOutboxSql } from "../../worker/outbox/sql.ts";

interface Env {
  OUTBOX: DurableObjectNamespace<Outbox>;
}

export class Outbox extends DurableObject<Env> {
  readonly #sql = openOutboxSql(this.ctx.storage);

  take(delivery: string, body: Uint8Array): number {
    const seq = this.#sql.nextSeq();
    const row = { seq, delivery, topic: "", bytes: body.length, tag: "", pair_key: null };
    this.#sql.insert(row, delivery, body, Date.now());
    return seq;
  }
}

export default {
  async fetch(request, env) {
    const delivery = request.headers.get("x-github-delivery") ?? "";
    const body = new Uint8Array(await request.arrayBuffer());
    const seq = await env.OUTBOX.getByName("builder").take(delivery, body);
    return Response.json({ delivery, seq }, { status: 202 });
  },
} satisfies ExportedHandler<Env>;
