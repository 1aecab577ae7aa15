import { DurableObject } from "cloudflare:workers";
import nacl from "tweetnacl";
import * as v from "valibot";
import { decodeBase64, encodeBase64 } from "../shared/bytes.ts";
import { seal, sealTag, sharedKey } from "../shared/cryptobox.ts";
import type { DeliveryRecord } from "../shared/delivery.ts";
import { CLOSE, DRAIN_SUBPROTOCOL, drainProof, parseToEdge } from "../shared/drain.ts";
import { OnionhookError } from "../shared/errors.ts";
import { encodeEvent, replaceLeadingNul } from "../shared/event.ts";
import { openReceipt } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import type { Taken } from "./app.ts";
import { configOf, type EdgeConfig, type Settings } from "./config.ts";
import { type Drain, drainSchema, fillWindow, type Output, stepDrain, type Surroundings } from "./drain.ts";
import type { Webhook } from "./github.ts";
import { openOutboxSql, type OutboxSql } from "./outbox-sql.ts";
import { printReport } from "./print-report.ts";

const CHALLENGE_BYTES = 32;

/**
 * The outbox of one stream: seals deliveries, keeps them, and sends them to the relay until the
 * builder's receipt comes back. Nothing that must survive is held in memory: rows are in SQLite, and a
 * socket's state in its attachment.
 */
export class Outbox extends DurableObject<Settings> {
  readonly #config: EdgeConfig;
  readonly #shared: Uint8Array;
  readonly #sql: OutboxSql;
  readonly #report: Report = printReport;

  constructor(state: DurableObjectState, env: Settings) {
    super(state, env);
    this.#config = configOf(env);
    this.#shared = sharedKey(this.#config.recipient.boxPublic, this.#config.boxSecret);
    this.#sql = openOutboxSql(state.storage);
  }

  /** One recipient, one stream, named like it. */
  get #stream(): string {
    return this.#config.recipient.name;
  }

  /**
   * Seals and stores a delivery, and sends it on at once if a relay is there: in one step, so that no
   * other delivery can get its number. The reply leaves only after the row is durable (the object's output
   * gate). A delivery that is there and undone is a duplicate; one that was done is stored anew, as a
   * redelivery.
   */
  take(webhook: Webhook): Taken {
    const before = this.#sql.find(webhook.id);
    if (before && !before.done) {
      this.#reportStored(webhook.id, before.seq, this.#sql.get(before.seq)?.bytes ?? 0, true);
      return { stream: this.#stream, seq: before.seq, duplicate: true };
    }
    const now = Date.now();
    const seq = this.#sql.nextSeq();
    const record: DeliveryRecord = {
      v: 1,
      id: webhook.id,
      event: webhook.event,
      hook_id: webhook.hookId,
      received_at: new Date(now).toISOString(),
      stream: this.#stream,
      seq,
      redelivery: before !== undefined,
      signature: webhook.signature,
      body_bytes: webhook.rawBody.length,
      altered: webhook.leadingNul.length > 0,
    };
    const body = replaceLeadingNul(webhook.rawBody, webhook.leadingNul);
    const sealed = seal(encodeEvent(webhook.topic, record, body), this.#shared);
    const row = {
      seq,
      delivery: webhook.id,
      topic: webhook.topic,
      bytes: sealed.length,
      tag: sealTag(sealed),
    };
    this.ctx.storage.transactionSync(() => this.#sql.insert(row, sealed, now));
    this.#reportStored(webhook.id, seq, sealed.length, false);
    for (const socket of this.#openSockets()) {
      const drain = drainOf(socket);
      if (drain) this.#act(socket, fillWindow(drain, this.#surroundings));
    }
    return { stream: this.#stream, seq, duplicate: false };
  }

  #reportStored(delivery: string, seq: number, sealedBytes: number, duplicate: boolean): void {
    this.#report("stored", { delivery, stream: this.#stream, seq, sealed_bytes: sealedBytes, duplicate });
  }

  /** Takes a relay's WebSocket and challenges it. */
  override fetch(request: Request): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    const challenge = encodeBase64(crypto.getRandomValues(new Uint8Array(CHALLENGE_BYTES)));
    this.ctx.acceptWebSocket(server);
    keepDrain(server, { v: 1, phase: "challenged", host: new URL(request.url).host, challenge });
    server.send(JSON.stringify({ type: "challenge", stream: this.#stream, challenge }));
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "Sec-WebSocket-Protocol": DRAIN_SUBPROTOCOL },
    });
  }

  override webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): void {
    // What was under way when we closed the socket is not acted on, and cannot be answered.
    if (socket.readyState !== WebSocket.OPEN) return;
    try {
      if (typeof frame !== "string")
        throw new OnionhookError("ERR_DRAIN_FRAME", "a relay sends text frames only");
      const drain = drainOf(socket);
      if (!drain)
        throw new OnionhookError("ERR_DRAIN_FRAME", "this socket is of another version of the edge");
      this.#act(socket, stepDrain(drain, parseToEdge(frame), this.#surroundings));
    } catch (error) {
      if (!(error instanceof OnionhookError)) throw error;
      socket.close(CLOSE.protocol, error.message);
    }
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 stand for "no code" and must not be sent.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
  }

  get #surroundings(): Surroundings {
    return {
      provenBy: ({ relay, signature }, host, challenge) => {
        const publicKey = this.#config.relays.get(relay);
        const proof = drainProof(host, this.#stream, decodeBase64(challenge));
        return publicKey !== undefined && isSignature(signature, proof, publicKey);
      },
      undoneAfter: (seq) => this.#sql.undoneAfter(seq),
      finish: (seq, receipt) => this.#finish(seq, receipt),
    };
  }

  /** Without the builder's own receipt for exactly this event, the event stays. */
  #finish(seq: number, sealedReceipt: string): string | undefined {
    const row = this.#sql.get(seq);
    if (!row) return "ERR_UNKNOWN_EVENT";
    try {
      const receipt = openReceipt(decodeBase64(sealedReceipt), this.#shared);
      const matches =
        receipt.stream === this.#stream &&
        receipt.seq === seq &&
        receipt.delivery === row.delivery &&
        receipt.tag === row.tag;
      if (!matches) return "ERR_RECEIPT";
    } catch (error) {
      if (error instanceof OnionhookError) return error.code;
      return "ERR_RECEIPT";
    }
    if (!row.done) {
      this.#sql.markDone(seq, Date.now());
      this.#report("done", { delivery: row.delivery, stream: this.#stream, seq });
    }
    return undefined;
  }

  /** `getWebSockets` may also return sockets that are closing; sending on one throws. */
  #openSockets(): WebSocket[] {
    return this.ctx.getWebSockets().filter(({ readyState }) => readyState === WebSocket.OPEN);
  }

  #act(socket: WebSocket, [drain, outputs]: [Drain, Output[]]): void {
    keepDrain(socket, drain);
    for (const output of outputs) this.#perform(socket, output);
  }

  #perform(socket: WebSocket, output: Output): void {
    switch (output.do) {
      case "send":
        return socket.send(JSON.stringify(output.message));
      case "sendEvent": {
        const { seq, topic, delivery, bytes } = output.row;
        socket.send(JSON.stringify({ type: "event", seq, topic, delivery, bytes }));
        for (const chunk of this.#sql.chunks(seq)) socket.send(chunk);
        return;
      }
      case "supersede":
        for (const other of this.#openSockets()) {
          if (other !== socket && drainOf(other)?.phase === "open")
            other.close(CLOSE.superseded, "another relay took over");
        }
        return;
      case "close":
        return socket.close(output.code, output.reason);
      default:
        return output satisfies never;
    }
  }
}

function isSignature(base64: string, message: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    return nacl.sign.detached.verify(message, decodeBase64(base64), publicKey);
  } catch {
    // Not canonical base64, or not the size of a signature.
    return false;
  }
}

function keepDrain(socket: WebSocket, drain: Drain): void {
  socket.serializeAttachment(drain);
}

/** Undefined for an attachment that another version of this code wrote. */
function drainOf(socket: WebSocket): Drain | undefined {
  const drain = v.safeParse(drainSchema, socket.deserializeAttachment());
  return drain.success ? drain.output : undefined;
}
