import { encodeBase64 } from "../../shared/bytes.ts";
import { CLOSE, DRAIN_SUBPROTOCOL, parseToEdge, type ToEdge } from "../../shared/drain.ts";
import { describeError, OnionhookError } from "../../shared/errors.ts";
import type { Alarm } from "../outbox/alarm.ts";
import {
  type Drain,
  fillWindow,
  type Input,
  type Open,
  type Output,
  stepDrain,
  type Surroundings,
} from "./machine.ts";
import { isProven } from "./proof.ts";
import type { DrainSockets } from "./sockets.ts";
import { surroundingsOf } from "./surroundings.ts";
import { Leases } from "./leases.ts";
import type { EventRow } from "../outbox/events.ts";
import type { Stream } from "../outbox/stream.ts";

const CHALLENGE_BYTES = 32;
/** A new circuit of Tor's takes seconds; a socket is closed within 10 s, the alarm's delay included. */
const PROVE_MS = 9000;
/** An alarm costs a row written: a flood of sockets may cost one a second, not one each. */
const PROVE_PAUSE_MS = 1000;
/** Sockets that may wait to be proven: beyond, one of them makes room. */
const MAX_UNPROVEN = 1000;
/** Undone for longer, events are reported, once in this time. */
const WAITING_MS = 60 * 60 * 1000;
/** Purging costs a wake-up and an alarm's row: not for every event. */
const PURGE_PAUSE_MS = 60 * 60 * 1000;
/** How long a troublesome event is left alone: twice the first for each time, so 8 minutes when it is set aside. */
const RETRY_MS = { first: 60_000, cap: 60 * 60 * 1000 };
/** RFC 6455 §7.4.1. */
const INTERNAL_ERROR = 1011;

/**
 * How the relays empty a stream: what comes and goes on their sockets, what makes trouble, and all that the object's
 * alarm is for.
 */
export class Drains {
  readonly #stream: Stream;
  readonly #sockets: DrainSockets;
  readonly #alarm: Alarm;
  readonly #leases: Leases;

  constructor(stream: Stream, sockets: DrainSockets, alarm: Alarm) {
    this.#stream = stream;
    this.#sockets = sockets;
    this.#alarm = alarm;
    this.#leases = new Leases(stream, sockets, alarm);
  }

  /** Takes a relay's WebSocket and challenges it. */
  accept(request: Request): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    const now = Date.now();
    const unproven = this.#sockets.unproven();
    // Not the oldest: a relay takes longer through Tor than a flood to come up to it.
    const victim = unproven[Math.floor(Math.random() * unproven.length)];
    if (victim && unproven.length >= MAX_UNPROVEN)
      this.#close(victim[0], CLOSE.crowded, "too many sockets wait");
    const challenge = encodeBase64(crypto.getRandomValues(new Uint8Array(CHALLENGE_BYTES)));
    const { host } = new URL(request.url);
    this.#sockets.accept(server, { v: 2, phase: "challenged", host, challenge, since: now });
    this.#alarm.arm(now + PROVE_MS);
    server.send(JSON.stringify({ type: "challenge", stream: this.#stream.name, challenge }));
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "Sec-WebSocket-Protocol": DRAIN_SUBPROTOCOL },
    });
  }

  async hear(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
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
    const { relay, resume = false } = message;
    const place = this.#stream.recipient && {
      stream: this.#stream.name,
      recipient: this.#stream.recipient.name,
    };
    const proven =
      drain?.phase === "challenged" &&
      !!place &&
      (await isProven(message, drain, place, this.#stream.config));
    return { type: "hello", relay, proven, resumed: proven && resume && this.#leases.mayResume(relay) };
  }

  /** A relay that closes the socket itself leaves what it has to whoever connects next. */
  closed(socket: WebSocket, wasClean: boolean): void {
    try {
      const drain = this.#ended(socket);
      if (wasClean && drain && !this.#leases.isHere(drain.relay)) {
        this.#leases.setFree(drain.relay);
        this.#sendOn();
      }
      // Not the peer's own code: one that must not be sent would throw, and the socket stay.
      socket.close(1000);
    } catch (error) {
      this.#fail(socket, error);
    }
  }

  broken(socket: WebSocket): void {
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
    const [first, ...others] = drain.unstored;
    if (first) this.#addTrouble(first[0]);
    for (const [seq] of others) this.#stream.sql.noteUnstored(seq);
    this.#leases.noteAbsences(drain.whole ? drain.relay : undefined);
    return drain;
  }

  /** After the object started: what was due, and who is gone. */
  start(): void {
    this.#leases.noteAbsences();
    // An alarm that is armed was for what is due first, and to find that out costs rows read.
    if (!this.#alarm.isArmed) this.#alarm.arm(this.#due(Date.now()));
  }

  /** Whatever is due by now; every step leaves the next alarm to what then is due. */
  ring(): void {
    this.#alarm.rang();
    const now = Date.now();
    // First, since a full store has no room for what follows.
    const more = this.#purge(now);
    try {
      for (const [socket, since] of this.#sockets.unproven())
        if (since + PROVE_MS <= now) this.#close(socket, CLOSE.silent, "not proven in time");
      for (const [socket, { relay }] of this.#leases.silent(now)) {
        this.#close(socket, CLOSE.silent, "no heartbeat");
        this.#leases.setFree(relay);
      }
      this.#leases.noteAbsences();
      this.#leases.endAbsences(now);
      this.#sendOn();
      this.#reportWaiting(now);
      this.#alarm.arm(more ? now : this.#due(now));
    } catch (error) {
      this.#stream.report("error", { ...describeError(error), stream: this.#stream.name });
      this.#alarm.arm(now + PURGE_PAUSE_MS);
    }
  }

  /** Whether there is more. That it fails must not keep the events of a silent relay from the others. */
  #purge(now: number): boolean {
    const { sql, recipient, name, report } = this.#stream;
    try {
      return recipient !== undefined && sql.purge(now - recipient.retentionMs);
    } catch (error) {
      report("error", { ...describeError(error), stream: name });
      return false;
    }
  }

  /** What nobody fetches must not wait in silence: a key that was taken out, a stream that no relay names. */
  #reportWaiting(now: number): void {
    const waiting = this.#stream.sql.waiting(now - WAITING_MS, this.#stream.keyring?.ids ?? []);
    if (waiting.events > 0) this.#stream.report("waiting", { stream: this.#stream.name, ...waiting });
  }

  /** When the next thing is due; undefined: nothing is. */
  #due(now: number): number | undefined {
    const [oldest] = this.#sockets.unproven();
    const oldestDone = this.#stream.sql.oldestDoneAt();
    const times = [
      oldest && Math.max(oldest[1] + PROVE_MS, now + PROVE_PAUSE_MS),
      ...this.#leases.ends(),
      this.#stream.sql.nextRetryAt(now),
      this.#stream.sql.hasUndone() ? now + WAITING_MS : undefined,
      oldestDone === undefined ? undefined : this.#purgeAt(oldestDone, now),
    ].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  #purgeAt(doneAt: number, now: number): number | undefined {
    return (
      this.#stream.recipient && Math.max(doneAt + this.#stream.recipient.retentionMs, now + PURGE_PAUSE_MS)
    );
  }

  #surroundings(): Surroundings {
    const now = Date.now();
    return surroundingsOf(this.#stream, now, {
      finished: () => this.#alarm.arm(this.#purgeAt(now, now)),
      refused: (seq, relay) => {
        for (const [socket, drain] of this.#leases.passOn(seq, relay)) this.#fill(socket, drain);
      },
    });
  }

  #addTrouble(seq: number): void {
    this.#stream.sql.addTrouble(
      seq,
      (times) => Date.now() + Math.min(RETRY_MS.cap, RETRY_MS.first * 2 ** times),
    );
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
    this.#stream.report("error", { ...describeError(error), stream: this.#stream.name });
    try {
      this.#close(socket, INTERNAL_ERROR, "the outbox failed");
    } catch {
      // Not even that could be noted: the constructor finds out what the relay has.
      socket.close(INTERNAL_ERROR, "the outbox failed");
    }
  }

  #act(socket: WebSocket, [drain, outputs]: [Drain, Output[]]): void {
    this.#sockets.keep(socket, drain);
    for (const output of outputs) this.#perform(socket, drain, output);
  }

  #sendEvent(socket: WebSocket, drain: Drain, row: EventRow, isReplay: boolean): void {
    const { seq, topic, delivery, bytes } = row;
    try {
      if (drain.phase === "open") this.#leases.give(seq, drain.relay);
      const replay = isReplay ? { replay: true } : {};
      socket.send(JSON.stringify({ type: "event", seq, topic, delivery, bytes, ...replay }));
      for (const chunk of this.#stream.sql.chunks(seq)) socket.send(chunk);
    } catch (error) {
      // The connection ends over it: this event is the reason, and not the first under way.
      const others = drain.phase === "open" ? drain.unstored.filter(([other]) => other !== seq) : [];
      if (drain.phase === "open")
        this.#sockets.keep(socket, { ...drain, unstored: [[seq, bytes], ...others] });
      throw error;
    }
  }

  #perform(socket: WebSocket, drain: Drain, output: Output): void {
    switch (output.do) {
      case "send":
        return socket.send(JSON.stringify(output.message));
      case "sendEvent":
        return this.#sendEvent(socket, drain, output.row, output.replay);
      case "sendOn":
        return this.stored(Date.now());
      case "admit":
        this.#stream.sql.clearAbsence(output.relay);
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

  /** Events were stored: sent on, or, when they wait for too long, said to wait. */
  stored(now: number): void {
    this.#alarm.arm(now + WAITING_MS);
    this.#sendOn();
  }
}
