import { DurableObject } from "cloudflare:workers";
import { decodeBase64, encodeBase64 } from "../shared/bytes.ts";
import { SEAL_OVERHEAD_BYTES, sealInPlace, sealTag } from "../shared/cryptobox.ts";
import {
  CLOSE,
  DRAIN_SUBPROTOCOL,
  drainProof,
  HEARTBEAT_MS,
  parseToEdge,
  type ToEdge,
} from "../shared/drain.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { draftEvent, replaceLeadingNul } from "../shared/event.ts";
import { openReceipt } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import { Alarm } from "./alarm.ts";
import { configOf, type EdgeConfig, type Recipient, type Settings } from "./config.ts";
import {
  type Challenged,
  type Drain,
  fillWindow,
  type Input,
  type Open,
  type Output,
  stepDrain,
  type Surroundings,
} from "./drain.ts";
import { DrainSockets } from "./drain-sockets.ts";
import { type Keyring, openKeyring } from "./keyring.ts";
import { type EventRow, openOutboxSql, type OutboxSql, type ReplayOf } from "./outbox-sql.ts";
import { printReport } from "./print-report.ts";
import { recipientOf } from "./recipient.ts";
import { LARGE_BYTES, parseTake, type TakeCall, type Taken, type TakeRequest } from "./take.ts";

const CHALLENGE_BYTES = 32;
/** Of Ed25519 (RFC 8032). */
const SIGNATURE_BYTES = 64;
/** A new circuit of Tor's takes seconds; a socket is closed within 10 s, the alarm's delay included. */
const PROVE_MS = 9000;
/** An alarm costs a row written: a flood of sockets may cost one a second, not one each. */
const PROVE_PAUSE_MS = 1000;
/** Sockets that may wait to be proven: beyond, the oldest makes room. */
const MAX_UNPROVEN = 1000;
/** After this long without a heartbeat, what a relay had is given to another. */
const LEASE_MS = 4 * HEARTBEAT_MS + 10_000;
/** Purging costs a wake-up and an alarm's row: not for every event. */
const PURGE_PAUSE_MS = 60 * 60 * 1000;
/** Read from a stream at a time. */
const FILL_BYTES = 1024 * 1024;
/** How long a troublesome event is left alone: twice the first for each time, so 8 minutes when it is set aside. */
const RETRY_MS = { first: 60_000, cap: 60 * 60 * 1000 };
const DAY_MS = 24 * 60 * 60 * 1000;
/** RFC 6455 §7.4.1. */
const INTERNAL_ERROR = 1011;

/**
 * The outbox of one stream: seals deliveries, keeps them, and sends them to a relay until the
 * recipient's receipt comes back. Nothing that must survive is held in memory: rows are in SQLite, and a
 * socket's state in its attachment.
 */
export class Outbox extends DurableObject<Settings> {
  readonly #config: EdgeConfig;
  readonly #sql: OutboxSql;
  readonly #stream: string;
  /** Undefined when the configuration does not name it any more. */
  readonly #recipient: Recipient | undefined;
  readonly #sockets: DrainSockets;
  readonly #report: Report = printReport;
  #keyring: Keyring | undefined;
  #alarm: Alarm | undefined;
  #large: Promise<unknown> = Promise.resolve();

  constructor(state: DurableObjectState, env: Settings) {
    super(state, env);
    this.#config = configOf(env);
    this.#sql = openOutboxSql(state.storage);
    const { name } = state.id;
    if (name !== undefined && this.#sql.stream === undefined) this.#sql.keepStream(name);
    this.#stream = this.#sql.stream ?? "";
    this.#recipient = recipientOf(this.#config, this.#stream);
    this.#sockets = new DrainSockets(state);
    // oxlint-disable-next-line no-floating-promises -- when it fails the runtime starts the object anew
    state.blockConcurrencyWhile(async () => {
      this.#keyring = this.#recipient && (await openKeyring(this.#config, this.#recipient));
      this.#alarm = await Alarm.of(state.storage);
      this.#noteAbsences();
      // An alarm that is armed was for what is due first, and to find that out costs rows read.
      if (!this.#alarm.isArmed) this.#alarm.arm(this.#due(Date.now()));
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

  async #store(request: TakeRequest, payload: Uint8Array | ReadableStream<Uint8Array>): Promise<Taken> {
    const { id, event, topic, hookId, signature, bytes, form, leadingNul, bodyTag } = request;
    const pair = this.#keyring?.forTopic(topic);
    if (!pair) throw new OnionhookError("ERR_STREAM", "this stream's recipient has no key for the topic");
    const draft = draftEvent(topic, bytes, SEAL_OVERHEAD_BYTES);
    await fill(draft.body, payload);
    replaceLeadingNul(draft.body, leadingNul);

    // Nothing is awaited from here on, so that no other delivery can get the number.
    const duplicate = this.#duplicateOf(request);
    if (duplicate) return duplicate;
    const now = Date.now();
    const before = this.#sql.find(bodyTag);
    // Lost, and here again: it is not to be looked for any more.
    if (before && !before.done) this.#sql.markDone(before.seq, now);
    const seq = this.#sql.nextSeq();
    const sealed = draft.finish({
      v: 1,
      id,
      event,
      hook_id: hookId,
      received_at: new Date(now).toISOString(),
      stream: this.#stream,
      seq,
      redelivery: before?.delivery === id,
      signature,
      body_bytes: bytes,
      altered: form || leadingNul.length > 0,
    });
    sealInPlace(sealed, pair.shared);
    const row = {
      seq,
      delivery: id,
      topic,
      bytes: sealed.length,
      tag: sealTag(sealed),
      pair_key: pair.id,
    };
    this.#sql.insert(row, bodyTag, sealed, now);
    this.#reportStored(id, seq, sealed.length, false);
    this.#sendOn();
    return { stream: this.#stream, seq, duplicate: false };
  }

  /** What is stored of the same body, unless somebody asked GitHub to deliver it once more. */
  #duplicateOf({ id, bodyTag }: TakeRequest): Taken | undefined {
    const before = this.#sql.find(bodyTag);
    if (!before || (before.delivery === id && (before.done || this.#isLost(before.seq)))) return undefined;
    this.#reportStored(id, before.seq, before.bytes, true);
    return { stream: this.#stream, seq: before.seq, duplicate: true };
  }

  /** Whether what is stored can reach nobody any more. */
  #isLost(seq: number): boolean {
    const key = this.#sql.get(seq)?.pair_key ?? undefined;
    return !this.#sql.isWhole(seq) || (key !== undefined && !this.#keyring?.byId(key));
  }

  #reportStored(delivery: string, seq: number, sealedBytes: number, duplicate: boolean): void {
    this.#report("stored", { delivery, stream: this.#stream, seq, sealed_bytes: sealedBytes, duplicate });
  }

  /** Takes a relay's WebSocket and challenges it. */
  override fetch(request: Request): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    const now = Date.now();
    const unproven = this.#sockets.unproven();
    const [oldest] = unproven;
    if (oldest && unproven.length >= MAX_UNPROVEN)
      this.#close(oldest[0], CLOSE.crowded, "too many sockets wait");
    const challenge = encodeBase64(crypto.getRandomValues(new Uint8Array(CHALLENGE_BYTES)));
    const { host } = new URL(request.url);
    this.#sockets.accept(server, { v: 2, phase: "challenged", host, challenge, since: now });
    this.#alarm?.arm(now + PROVE_MS);
    server.send(JSON.stringify({ type: "challenge", stream: this.#stream, challenge }));
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "Sec-WebSocket-Protocol": DRAIN_SUBPROTOCOL },
    });
  }

  override async webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
    try {
      if (typeof frame !== "string")
        throw new OnionhookError("ERR_DRAIN_FRAME", "a relay sends text frames only");
      const input = await this.#inputOf(parseToEdge(frame), this.#sockets.get(socket));
      // What was under way when we closed the socket is not acted on, and cannot be answered.
      const drain = this.#sockets.get(socket);
      if (drain && socket.readyState === WebSocket.OPEN)
        this.#act(socket, stepDrain(drain, input, this.#surroundings()));
    } catch (error) {
      if (error instanceof OnionhookError) this.#close(socket, CLOSE.protocol, error.message);
      else this.#fail(socket, error);
    }
  }

  async #inputOf(message: ToEdge, drain: Drain | undefined): Promise<Input> {
    if (message.type !== "hello") return message;
    const { relay, signature } = message;
    const proven = drain?.phase === "challenged" && (await this.#isProven(relay, signature, drain));
    return { type: "hello", relay, proven };
  }

  async #isProven(relay: string, signature: string, { host, challenge }: Challenged): Promise<boolean> {
    const grant = this.#config.relays.get(relay);
    if (!grant || !this.#recipient) return false;
    if (grant.recipients && !grant.recipients.includes(this.#recipient.name)) return false;
    const proof = drainProof(host, this.#stream, decodeBase64(challenge));
    for (const key of grant.keys) if (await isSignature(signature, proof, key)) return true;
    return false;
  }

  /** A relay that closes the socket itself leaves what it has to whoever connects next. */
  override webSocketClose(socket: WebSocket, code: number, _reason: string, wasClean: boolean): void {
    const drain = this.#ended(socket);
    if (wasClean && drain && !this.#isHere(drain.relay)) {
      this.#setFree(drain.relay);
      this.#sendOn();
    }
    // 1005 and 1006 stand for "no code" and must not be sent.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
  }

  override webSocketError(socket: WebSocket): void {
    this.#ended(socket);
  }

  #close(socket: WebSocket, code: number, reason: string): void {
    this.#ended(socket);
    socket.close(code, reason);
  }

  /** Keeps for a while what the relay has: it may be back soon, with all of it in its queue. */
  #ended(socket: WebSocket): Open | undefined {
    const drain = this.#sockets.forget(socket);
    if (drain?.phase !== "open") return undefined;
    const [first] = drain.unstored;
    if (first) this.#addTrouble(first[0]);
    this.#noteAbsences();
    return drain;
  }

  #isHere(relay: string): boolean {
    return this.#sockets.open().some(([, drain]) => drain.relay === relay);
  }

  /** Relays that have events and are not connected lose them after a while. */
  #noteAbsences(): void {
    const until = Date.now() + LEASE_MS;
    for (const relay of this.#sql.holders()) {
      if (this.#isHere(relay)) continue;
      this.#sql.setAbsent(relay, until);
      this.#alarm?.arm(until);
    }
  }

  /** Whatever is due by now; every step leaves the next alarm to what then is due. */
  override alarm(): void {
    this.#alarm?.rang();
    const now = Date.now();
    try {
      for (const [socket, since] of this.#sockets.unproven())
        if (since + PROVE_MS <= now) this.#close(socket, CLOSE.silent, "not proven in time");
      this.#endSilent(now);
      this.#noteAbsences();
      for (const { relay, until } of this.#sql.absences()) if (until <= now) this.#setFree(relay);
      const more = this.#recipient && this.#sql.purge(now - this.#recipient.retentionMs);
      this.#sendOn();
      this.#alarm?.arm(more ? now : this.#due(now));
    } catch (error) {
      this.#report("error", { ...describeError(error), stream: this.#stream });
      this.#alarm?.arm(now + PURGE_PAUSE_MS);
    }
  }

  /** A relay that went silent matters only where another can have its events. */
  #endSilent(now: number): void {
    if (this.#config.relays.size < 2) return;
    for (const [socket, drain] of this.#sockets.open()) {
      if (this.#sockets.heardAt(socket, drain) + LEASE_MS > now) continue;
      this.#close(socket, CLOSE.silent, "no heartbeat");
      this.#setFree(drain.relay);
    }
  }

  #setFree(relay: string): void {
    this.#sql.clearAbsence(relay);
    if (!this.#sql.release(relay)) return;
    for (const [socket, drain] of this.#sockets.open()) this.#sockets.keep(socket, { ...drain, freed: 0 });
  }

  /** When the next thing is due; undefined: nothing is. */
  #due(now: number): number | undefined {
    const [oldest] = this.#sockets.unproven();
    const holders = this.#config.relays.size > 1 && this.#sql.hasUndone() ? this.#sql.holders() : [];
    const silent = this.#sockets
      .open()
      .filter(([, { relay }]) => holders.includes(relay))
      .map(([socket, drain]) => this.#sockets.heardAt(socket, drain) + LEASE_MS);
    const oldestDone = this.#sql.oldestDoneAt();
    const times = [
      oldest && Math.max(oldest[1] + PROVE_MS, now + PROVE_PAUSE_MS),
      ...silent,
      ...this.#sql.absences().map(({ until }) => until),
      this.#sql.nextRetryAt(now),
      oldestDone === undefined ? undefined : this.#purgeAt(oldestDone, now),
    ].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  #purgeAt(doneAt: number, now: number): number | undefined {
    return this.#recipient && Math.max(doneAt + this.#recipient.retentionMs, now + PURGE_PAUSE_MS);
  }

  #surroundings(): Surroundings {
    const now = Date.now();
    const ids = this.#keyring?.ids ?? [];
    /** A row that lost bytes is said once a day, and blocks nothing. */
    const whole = (find: (after: number) => EventRow | undefined, from: number) => {
      let row = find(from);
      while (row && !this.#sql.isWhole(row.seq)) {
        this.#reportDamaged(row);
        this.#sql.setAside(row.seq, now + DAY_MS);
        row = find(row.seq);
      }
      return row;
    };
    return {
      now,
      newest: this.#sql.newestSeq(),
      next: (relay, seq) => whole((after) => this.#sql.nextFor(relay, after, ids), seq),
      nextFreed: (seq) => whole((after) => this.#sql.nextFreed(after, ids), seq),
      nextReplay: (relay, [from, to]) =>
        whole((after) => this.#sql.nextReplay([after + 1, to], relay, ids), from - 1),
      nextTrouble: (relay) => whole((after) => this.#sql.nextTrouble(relay, after, ids, now), 0),
      stored: (seq) => this.#sql.clearTrouble(seq),
      finish: (seq, receipt, relay) => {
        const fault = this.#finish(seq, receipt);
        if (fault !== undefined) this.#passOn(seq, relay);
        return fault;
      },
      replayRanges: (of) => this.#sql.replayRanges(replayOf(of)),
    };
  }

  #reportDamaged({ seq, delivery }: EventRow): void {
    this.#report("error", {
      code: "ERR_ROW_DAMAGED",
      message: "a stored event lacks bytes and is left out",
      hint: "redeliver it from the webhook's settings at GitHub",
      stream: this.#stream,
      seq,
      delivery,
    });
  }

  /** The event stays without the recipient's own receipt for exactly this event, unless that is known to give none. */
  #finish(seq: number, receipt: string | undefined): string | undefined {
    const row = this.#sql.get(seq);
    if (!row) return "ERR_UNKNOWN_EVENT";
    if (this.#recipient?.receipts !== false) {
      const fault = receipt === undefined ? "ERR_RECEIPT_MISSING" : this.#receiptFault(row, receipt);
      if (fault !== undefined) return fault;
    }
    if (!row.done) {
      const now = Date.now();
      this.#sql.markDone(seq, now);
      this.#sql.clearTrouble(seq);
      this.#alarm?.arm(this.#purgeAt(now, now));
      this.#report("done", { delivery: row.delivery, stream: this.#stream, seq });
    }
    return undefined;
  }

  /** What a relay brought a false receipt for, another relay may try: a few times at once, then rarely. */
  #passOn(seq: number, relay: string): void {
    if (this.#config.relays.size < 2 || !this.#sql.releaseOne(seq, relay)) return;
    this.#addTrouble(seq);
    for (const [socket, drain] of this.#sockets.open()) {
      if (drain.relay === relay) continue;
      this.#fill(socket, { ...drain, freed: Math.min(drain.freed ?? seq - 1, seq - 1) });
    }
  }

  #addTrouble(seq: number): void {
    this.#sql.addTrouble(seq, (times) => Date.now() + Math.min(RETRY_MS.cap, RETRY_MS.first * 2 ** times));
  }

  #receiptFault(row: EventRow, receipt: string): string | undefined {
    const ids = row.pair_key === null ? (this.#keyring?.ids ?? []) : [row.pair_key];
    let fault = "ERR_KEY_REVOKED";
    for (const id of ids) {
      const pair = this.#keyring?.byId(id);
      if (!pair) continue;
      try {
        const said = openReceipt(decodeBase64(receipt), pair.shared);
        const isThis =
          said.stream === this.#stream &&
          said.seq === row.seq &&
          said.delivery === row.delivery &&
          said.tag === row.tag;
        if (isThis) return undefined;
        fault = "ERR_RECEIPT";
      } catch (error) {
        fault = error instanceof OnionhookError ? error.code : "ERR_RECEIPT";
      }
    }
    return fault;
  }

  /** Sends what is undone to the relays that have room for it. */
  #sendOn(): void {
    for (const [socket, drain] of this.#sockets.open()) this.#fill(socket, drain);
  }

  #fill(socket: WebSocket, drain: Open): void {
    try {
      this.#act(socket, fillWindow(drain, this.#surroundings()));
    } catch (error) {
      this.#fail(socket, error);
    }
  }

  /** The store failed: the relay dials anew, and is sent again what it may not have got. */
  #fail(socket: WebSocket, error: unknown): void {
    this.#report("error", { ...describeError(error), stream: this.#stream });
    this.#sockets.forget(socket);
    socket.close(INTERNAL_ERROR, "the outbox failed");
  }

  #act(socket: WebSocket, [drain, outputs]: [Drain, Output[]]): void {
    this.#sockets.keep(socket, drain);
    for (const output of outputs) this.#perform(socket, drain, output);
  }

  #perform(socket: WebSocket, drain: Drain, output: Output): void {
    switch (output.do) {
      case "send":
        return socket.send(JSON.stringify(output.message));
      case "sendEvent": {
        const { seq, topic, delivery, bytes } = output.row;
        if (drain.phase === "open") this.#sql.lease(seq, drain.relay);
        if (this.#config.relays.size > 1) this.#alarm?.arm(Date.now() + LEASE_MS);
        const replay = output.replay ? { replay: true } : {};
        socket.send(JSON.stringify({ type: "event", seq, topic, delivery, bytes, ...replay }));
        for (const chunk of this.#sql.chunks(seq)) socket.send(chunk);
        return;
      }
      case "admit":
        this.#sql.clearAbsence(output.relay);
        for (const [other, { relay }] of this.#sockets.open()) {
          if (other !== socket && relay === output.relay)
            this.#close(other, CLOSE.superseded, "the same relay opened another drain");
        }
        return;
      case "close":
        return this.#close(socket, output.code, output.reason);
      default:
        return output satisfies never;
    }
  }
}

/** @throws OnionhookError `ERR_BODY_LENGTH` when there are not exactly as many bytes as there is room. */
async function fill(room: Uint8Array, payload: Uint8Array | ReadableStream<Uint8Array>): Promise<void> {
  if (payload instanceof Uint8Array) {
    if (payload.length !== room.length) throw wrongLength();
    return room.set(payload);
  }
  const reader = payload.getReader({ mode: "byob" });
  // As it comes, a stream has pieces of 4 KiB, each of which costs its turn.
  let piece = new Uint8Array(FILL_BYTES);
  for (let at = 0; ;) {
    const { done, value } = await reader.readAtLeast(piece.length, piece);
    if (value) {
      if (at + value.length > room.length) throw wrongLength();
      room.set(value, at);
      at += value.length;
    }
    if (done || !value || value.length < FILL_BYTES) {
      if (at !== room.length) throw wrongLength();
      return;
    }
    piece = new Uint8Array(value.buffer);
  }
}

function wrongLength(): OnionhookError {
  return new OnionhookError("ERR_BODY_LENGTH", "the payload has another size than was announced");
}

function replayOf(of: (ToEdge & { type: "replay" })["of"]): ReplayOf {
  return "since" in of ? { since: Date.parse(of.since), until: Date.parse(of.until) } : of;
}

async function isSignature(base64: string, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  let signature: Uint8Array;
  try {
    signature = decodeBase64(base64);
  } catch {
    return false;
  }
  // WebCrypto throws for any other length.
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, message);
}
