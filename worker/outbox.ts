import { DurableObject } from "cloudflare:workers";
import { SEAL_OVERHEAD_BYTES } from "../shared/cryptobox.ts";
import { describeError } from "../shared/errors.ts";
import { draftEvent, replaceLeadingNul } from "../shared/event.ts";
import { Alarm } from "./outbox/alarm.ts";
import { configOf, type Settings } from "./config.ts";
import { DrainSockets } from "./drain/sockets.ts";
import { Drains } from "./drain/drains.ts";
import { openKeyring } from "./keyring.ts";
import { openOutboxSql } from "./outbox/sql.ts";
import { printReport } from "./print-report.ts";
import { recipientOf } from "./recipient.ts";
import { isLost, reportStored, storeEvent } from "./outbox/store.ts";
import type { Stream } from "./outbox/stream.ts";
import { fill, LARGE_BYTES, parseTake, type TakeCall, type Taken, type TakeRequest } from "./take.ts";

/**
 * The outbox of one stream: seals deliveries and keeps them, until its drains have brought the recipient's receipt.
 * Nothing that must survive is held in memory: rows are in SQLite, and a socket's state in its attachment.
 */
export class Outbox extends DurableObject<Settings> {
  // Both are there before anything is asked of the object: its constructor holds everything back until then.
  #stream!: Stream;
  #drains!: Drains;
  #large: Promise<unknown> = Promise.resolve();

  constructor(state: DurableObjectState, env: Settings) {
    super(state, env);
    const config = configOf(env);
    const sql = openOutboxSql(state.storage);
    if (state.id.name !== undefined && sql.stream === undefined) sql.keepStream(state.id.name);
    const name = sql.stream ?? "";
    const recipient = recipientOf(config, name);
    const sockets = new DrainSockets(state);
    // oxlint-disable-next-line no-floating-promises -- when it fails the runtime starts the object anew
    state.blockConcurrencyWhile(async () => {
      const keyring = recipient && (await openKeyring(config, recipient));
      this.#stream = { name, config, recipient, keyring, sql, report: printReport };
      this.#drains = new Drains(this.#stream, sockets, await Alarm.of(state.storage));
      this.#drains.start();
    });
  }

  /**
   * Seals and stores a delivery, and sends it on if a relay is there. The reply leaves only after the row is
   * durable (the object's output gate). The same body again is a duplicate, under whatever GUID; under
   * its own, once it was done, it is a redelivery and stored anew.
   * @throws OnionhookError `ERR_VERSION`, `ERR_STREAM`, `ERR_BODY_LENGTH`
   */
  async take(call: TakeCall, payload: Uint8Array | ReadableStream<Uint8Array>): Promise<Taken> {
    const request = parseTake(call);
    return this.#take(request, payload).catch((error: unknown) => this.#refuse(request.id, error));
  }

  async #take(request: TakeRequest, payload: Uint8Array | ReadableStream<Uint8Array>): Promise<Taken> {
    const duplicate = this.#duplicateOf(request);
    if (duplicate) {
      if (payload instanceof ReadableStream) await payload.cancel();
      return duplicate;
    }
    const store = () => this.#store(request, payload);
    if (request.bytes <= LARGE_BYTES) return store();
    const turn = this.#large.then(store);
    this.#large = turn.catch(() => {});
    return turn;
  }

  /** Says here what went wrong: of an error that goes to the Worker only the message is left. */
  #refuse(delivery: string, error: unknown): never {
    const sqlite = /\bSQLITE_[A-Z]+\b/.exec(String(error))?.[0];
    const said = sqlite === undefined ? describeError(error) : { code: sqlite, message: "the store failed" };
    this.#stream.report("error", { ...said, stream: this.#stream.name, delivery });
    throw error;
  }

  async #store(request: TakeRequest, payload: Uint8Array | ReadableStream<Uint8Array>): Promise<Taken> {
    const { id, event, topic, hookId, signature, bytes, form, leadingNul, bodyTag } = request;
    const draft = draftEvent(topic, bytes, SEAL_OVERHEAD_BYTES);
    await fill(draft.body, payload);
    replaceLeadingNul(draft.body, leadingNul);

    // Nothing is awaited from here on, so that no other delivery can get the number.
    const duplicate = this.#duplicateOf(request);
    if (duplicate) return duplicate;
    const now = Date.now();
    const before = this.#stream.sql.find(bodyTag);
    const record = {
      id,
      event,
      hook_id: hookId,
      redelivery: before?.delivery === id,
      signature,
      body_bytes: bytes,
      altered: form || leadingNul.length > 0,
    };
    const row = storeEvent(this.#stream, { topic, bodyTag, record, finish: draft.finish }, now);
    // Lost, and here again: it is not to be looked for any more.
    if (before && !before.done) this.#stream.sql.markDone(before.seq, now);
    reportStored(this.#stream, row, false);
    this.#drains.stored(now);
    return { stream: this.#stream.name, seq: row.seq, duplicate: false };
  }

  /** What is stored of the same body, unless somebody asked GitHub to deliver it once more. */
  #duplicateOf({ id, bodyTag, repeatable }: TakeRequest): Taken | undefined {
    const before = this.#stream.sql.find(bodyTag);
    if (!before) return undefined;
    const again = before.done ? before.delivery === id || repeatable : isLost(this.#stream, before.seq);
    if (again) return undefined;
    reportStored(this.#stream, { ...before, delivery: id }, true);
    return { stream: this.#stream.name, seq: before.seq, duplicate: true };
  }

  override fetch(request: Request): Response {
    return this.#drains.accept(request);
  }

  override webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
    return this.#drains.hear(socket, frame);
  }

  override webSocketClose(socket: WebSocket, _code: number, _reason: string, wasClean: boolean): void {
    this.#drains.closed(socket, wasClean);
  }

  override webSocketError(socket: WebSocket): void {
    this.#drains.broken(socket);
  }

  override alarm(): void {
    this.#drains.ring();
  }
}
