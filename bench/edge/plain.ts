/**
 * The edge as one would write it first: the body goes to the object as an argument and is sealed there with tweetnacl's
 * `nacl.box`, keys and all, into new buffers. Verification and storage are the edge's own.
 */
import { DurableObject } from "cloudflare:workers";
import nacl from "tweetnacl";
import { concatBytes } from "../../shared/bytes.ts";
import { encodeEvent } from "../../shared/event.ts";
import { configOf, type Settings } from "../../worker/config.ts";
import { type Webhook, withWebhook } from "../../worker/webhook/github.ts";
import { openOutboxSql } from "../../worker/outbox/sql.ts";
import { keysFor } from "../../worker/recipient.ts";

interface Env extends Settings {
  OUTBOX: DurableObjectNamespace<Outbox>;
}

export class Outbox extends DurableObject<Env> {
  readonly #sql = openOutboxSql(this.ctx.storage);

  take({ id, event, topic, hookId, signature, payload, bodyTag }: Webhook): number {
    const { boxSecret, recipients } = configOf(this.env);
    const [recipient] = recipients.values();
    const [theirs] = recipient ? keysFor(recipient, topic) : [];
    if (!theirs) throw new Error("no key");
    const seq = this.#sql.nextSeq();
    const record = {
      v: 1,
      id,
      event,
      hook_id: hookId,
      received_at: new Date().toISOString(),
      stream: "builder",
      seq,
      redelivery: false,
      signature,
      body_bytes: payload.length,
      altered: false,
    } as const;
    const nonce = nacl.randomBytes(nacl.box.nonceLength);
    const box = nacl.box(encodeEvent(topic, record, payload), nonce, theirs, boxSecret);
    const sealed = concatBytes(nonce, box);
    const row = { seq, delivery: id, topic, bytes: sealed.length, tag: "", pair_key: null };
    this.#sql.insert(row, bodyTag, sealed, Date.now());
    return seq;
  }
}

export default {
  fetch: (request, env) =>
    withWebhook(request, configOf(env), async (webhook) => {
      const seq = await env.OUTBOX.getByName("builder").take(webhook);
      return Response.json({ delivery: webhook.id, seq }, { status: 202 });
    }),
} satisfies ExportedHandler<Env>;
