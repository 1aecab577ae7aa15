import { HEARTBEAT_MS } from "../../shared/drain.ts";
import type { Alarm } from "../outbox/alarm.ts";
import type { Open } from "./machine.ts";
import type { DrainSockets } from "./sockets.ts";
import type { Stream } from "../outbox/stream.ts";

/** After this long without a heartbeat, what a relay had is given to another. */
const LEASE_MS = 4 * HEARTBEAT_MS + 10_000;

/** Which relay has which events, while it is here and for a while after: docs/edge.md, "Leases". */
export class Leases {
  readonly #stream: Stream;
  readonly #sockets: DrainSockets;
  readonly #alarm: Alarm;
  /** Events that went from one relay to another over a false receipt, since the object woke. */
  readonly #passedOn = new Set<number>();

  constructor(stream: Stream, sockets: DrainSockets, alarm: Alarm) {
    this.#stream = stream;
    this.#sockets = sockets;
    this.#alarm = alarm;
  }

  /** The event is with this relay from now on. */
  give(seq: number, relay: string): void {
    this.#stream.sql.lease(seq, relay);
    if (this.#stream.config.relays.size > 1) this.#alarm.arm(Date.now() + LEASE_MS);
  }

  isHere(relay: string): boolean {
    return this.#sockets.open().some(([, drain]) => drain.relay === relay);
  }

  /** Whether all that the relay has is known: what it did not say `stored` for was noted. */
  mayResume(relay: string): boolean {
    const here = this.#sockets.open().find(([, drain]) => drain.relay === relay);
    if (here) return here[1].whole;
    return !this.#stream.sql.holders().includes(relay) || this.#stream.sql.isAbsenceKnown(relay);
  }

  /** Relays that have events and are not connected lose them after a while. `known`: it may resume until then. */
  noteAbsences(known?: string): void {
    const until = Date.now() + LEASE_MS;
    for (const relay of this.#stream.sql.holders()) {
      if (this.isHere(relay)) continue;
      this.#stream.sql.setAbsent(relay, until, relay === known);
      this.#alarm.arm(until);
    }
  }

  /** Relays that were away for too long lose what they had. */
  endAbsences(now: number): void {
    for (const { relay, until } of this.#stream.sql.absences()) if (until <= now) this.setFree(relay);
  }

  /** What a relay had is anybody's again. */
  setFree(relay: string): void {
    this.#stream.sql.clearAbsence(relay);
    if (!this.#stream.sql.release(relay)) return;
    for (const [socket, drain] of this.#sockets.open()) this.#sockets.keep(socket, { ...drain, freed: 0 });
  }

  /**
   * What a relay brought a false receipt for, another relay may try; not for ever from one to the other. The drains that may
   * send it now.
   */
  passOn(seq: number, relay: string): [WebSocket, Open][] {
    if (this.#stream.config.relays.size < 2 || this.#passedOn.has(seq)) return [];
    if (!this.#stream.sql.releaseOne(seq, relay)) return [];
    this.#passedOn.add(seq);
    return this.#sockets
      .open()
      .filter(([, drain]) => drain.relay !== relay)
      .map(([socket, drain]) => [socket, { ...drain, freed: Math.min(drain.freed ?? seq - 1, seq - 1) }]);
  }

  /** A relay that went silent matters only where another can have its events. */
  silent(now: number): [WebSocket, Open][] {
    if (this.#stream.config.relays.size < 2) return [];
    return this.#sockets.open().filter(([socket, drain]) => this.#endOf(socket, drain) <= now);
  }

  /** When relays that have undone events lose them, as far as is known now. */
  ends(): number[] {
    const holders =
      this.#stream.config.relays.size > 1 && this.#stream.sql.hasUndone() ? this.#stream.sql.holders() : [];
    const silent = this.#sockets
      .open()
      .filter(([, { relay }]) => holders.includes(relay))
      .map(([socket, drain]) => this.#endOf(socket, drain));
    return [...silent, ...this.#stream.sql.absences().map(({ until }) => until)];
  }

  #endOf(socket: WebSocket, drain: Open): number {
    return this.#sockets.heardAt(socket, drain) + LEASE_MS;
  }
}
