/**
 * One WebSocket: frames in and out for the session machine, the realm that it joins, and the reasons
 * for which it ends.
 */
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { RawData, WebSocket } from "ws";
import { OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import type { Serializer } from "../shared/wamp/serializers.ts";
import { Backlog, type Backlogs } from "./backlog.ts";
import type { Clock } from "./clock.ts";
import {
  ABORT,
  CLOSE_GOING_AWAY,
  CLOSE_INTERNAL_ERROR,
  CLOSE_NORMAL,
  CLOSE_TOO_BIG,
  GOODBYE,
} from "./codes.ts";
import type { TransportConfig } from "./config.ts";
import { CHALLENGE_BYTES } from "./cryptosign.ts";
import { malformed, ProtocolFault } from "./faults.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { newId } from "./ids.ts";
import { toFrame, type Identity, type Member } from "./member.ts";
import { parseMessage, type CalleeFeatures } from "./messages.ts";
import { isHeld, type Claim, type Principals } from "./principals.ts";
import type { Realm } from "./realm.ts";
import { opened, step, type SessionOutput, type SessionState, type SessionWorld } from "./session.ts";

/** Bytes. Who has not joined has nothing longer to say. */
const MAX_HANDSHAKE_FRAME = 16 * 1024;

/** Bytes, from the TCP connection's first to WELCOME: the upgrade, and two frames, whole or in pieces. */
const MAX_HANDSHAKE = 64 * 1024;

/** Why a member left, for the log; never a client's own words. */
type Leaving =
  | "goodbye"
  | "abort"
  | "killed"
  | "revoked"
  | "refused"
  | "fault"
  | "slow"
  | "silent"
  | "shutdown"
  | "lost";

export interface ConnectionParts {
  readonly ws: WebSocket;
  readonly socket: Socket;
  readonly serializer: Serializer;
  readonly transport: TransportConfig;
  /** Who may join, at this moment. */
  readonly principals: () => Principals;
  readonly realms: ReadonlyMap<string, Realm>;
  readonly clock: Clock;
  readonly report: Report;
  readonly backlogs: Backlogs;
  /** Called once when the client has joined. */
  readonly joined: () => void;
}

export class Connection {
  readonly #parts: ConnectionParts;
  readonly #world: SessionWorld;
  readonly #stopHeartbeat: () => void;
  readonly #backlog: Backlog;
  #state: SessionState = opened;
  #member: Member | undefined;
  /** What the member has proven. */
  #claim: Claim | undefined;
  /** Whether the client was sent its last message. */
  #isSilent = false;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    const { ws, socket, transport, principals, clock, realms } = parts;
    this.#world = {
      principals,
      hasRealm: (realm) => realms.has(realm),
      hasRole: (realm, role) => realms.get(realm)?.hasRole(role) ?? false,
      newChallenge: () => randomBytes(CHALLENGE_BYTES),
      newSessionId: (realm) => newId(realms.get(realm)?.members),
    };
    this.#stopHeartbeat = startHeartbeat({
      clock,
      intervalMs: transport.pingIntervalMs,
      timeoutMs: transport.pingTimeoutMs,
      ping: (left) => ws.ping(undefined, undefined, left),
      bytesRead: () => socket.bytesRead,
      dead: () => this.#drop("silent"),
    });
    this.#backlog = new Backlog(parts.backlogs, {
      buffered: () => ws.bufferedAmount,
      drop: () => this.#drop("slow"),
    });
    socket.on("drain", () => this.#backlog.clear());
    const boundHandshake = () => {
      if (this.#state.phase === "joined" || this.#state.phase === "over") socket.off("data", boundHandshake);
      // `ws` would gather a whole message, of the size that members may send, before we see it.
      else if (socket.bytesRead > MAX_HANDSHAKE) this.#drop("fault");
    };
    socket.on("data", boundHandshake);
    ws.on("message", (data, isBinary) => this.#receive(data, isBinary));
    // `ws` closes by itself after a broken frame: 1002, 1007, and 1009 for one over the size.
    ws.on("error", () => this.#leave("fault"));
    ws.on("close", () => {
      this.#leave("lost");
      this.#backlog.clear();
    });
  }

  /**
   * Tells the client that the router goes away. Close code 1001 and no GOODBYE, because every client
   * dials again after the former, and Autobahn|JS gives up for good after the latter.
   */
  shutDown(): void {
    this.#close(CLOSE_GOING_AWAY, "shutdown");
  }

  /** Ends the session, or the attempt at one, whose name, key, realm or role is no longer what it was. */
  recheck(): void {
    const claim = this.#state.phase === "challenged" ? this.#state.claim : this.#claim;
    if (claim === undefined || isHeld(claim, this.#parts.principals())) return;
    this.#end("wamp.error.not_authorized", undefined, "revoked");
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#state.phase === "over") return;
    try {
      const { serializer } = this.#parts;
      const frame = toBytes(data);
      if (this.#state.phase !== "joined" && frame.byteLength > MAX_HANDSHAKE_FRAME)
        throw new ProtocolFault(CLOSE_TOO_BIG, "too long for somebody who has not joined");
      if (isBinary !== serializer.binary) throw malformed("a frame of the wrong kind");
      const [state, outputs] = step(this.#state, parseMessage(serializer.parse(frame)), this.#world);
      this.#state = state;
      for (const output of outputs) this.#perform(output);
    } catch (error) {
      this.#fault(error);
    }
  }

  #perform(output: SessionOutput): void {
    const { serializer, joined, report } = this.#parts;
    switch (output.do) {
      case "route":
        if (this.#member !== undefined) this.#realm(this.#member).route(this.#member, output.message);
        return;
      case "send":
        // What the machine says when it is over is its farewell.
        return this.#send(toFrame(serializer, output.message), this.#state.phase === "over");
      case "join":
        joined();
        return this.#join(output.claim, output.identity, output.features);
      case "refuse":
        return report("refused", { why: output.why, ...(output.authid && { authid: output.authid }) });
      case "close":
        return this.#close(output.code, output.why);
    }
  }

  #join(claim: Claim, identity: Identity, features: CalleeFeatures): void {
    const { serializer, report } = this.#parts;
    if (this.#state.phase === "over") return;
    this.#claim = claim;
    this.#member = {
      identity,
      features,
      serializer,
      send: (frame) => this.#send(frame),
      end: (reason, message) => this.#end(reason, message, "killed"),
    };
    this.#realm(this.#member).join(this.#member);
    report("joined", { authid: identity.authid, role: identity.role, serializer: serializer.id });
  }

  /** Nothing goes out after what `isLast`, whatever comes of sending it: others may be dropped as slow by it. */
  #send(frame: Uint8Array, isLast = false): void {
    const { ws, serializer } = this.#parts;
    if (this.#isSilent || ws.readyState !== ws.OPEN) return;
    this.#isSilent = isLast;
    if (!this.#backlog.hasRoom()) return this.#drop("slow");
    ws.send(frame, { binary: serializer.binary });
    this.#backlog.add(frame);
  }

  /** The session is wanted away. It need not answer. */
  #end(reason: string, message: string | undefined, why: "killed" | "revoked"): void {
    const farewell = this.#state.phase === "joined" ? GOODBYE : ABORT;
    const details = message === undefined ? {} : { message };
    this.#send(toFrame(this.#parts.serializer, [farewell, details, reason]), true);
    this.#close(CLOSE_NORMAL, why);
  }

  /** ABORT as WAMP wants it ("Protocol errors"), and the close code that Crossbar.io has for it. */
  #fault(error: unknown): void {
    const isTheirs = error instanceof ProtocolFault || error instanceof OnionhookError;
    const reason = isTheirs ? error.message : "internal error";
    let code = malformed("").closeCode;
    if (!isTheirs) code = CLOSE_INTERNAL_ERROR;
    else if (error instanceof ProtocolFault) code = error.closeCode;
    this.#send(
      toFrame(this.#parts.serializer, [ABORT, { message: reason }, "wamp.error.protocol_violation"]),
      true,
    );
    this.#close(code, "fault", reason);
  }

  #close(code: number, why: Leaving, reason?: string): void {
    this.#leave(why);
    this.#parts.ws.close(code, reason);
  }

  /** For a peer that would not read a close frame either. */
  #drop(why: Leaving): void {
    this.#leave(why);
    this.#parts.ws.terminate();
  }

  /** From here on the client is nobody's subscriber or callee, though its WebSocket may yet linger. */
  #leave(why: Leaving): void {
    this.#state = { phase: "over" };
    // A member hears nothing of its own leaving.
    this.#isSilent = true;
    this.#stopHeartbeat();
    const member = this.#member;
    if (member === undefined) return;
    this.#member = undefined;
    this.#realm(member).leave(member);
    this.#parts.report("left", { authid: member.identity.authid, reason: why });
  }

  #realm({ identity }: Member): Realm {
    const realm = this.#parts.realms.get(identity.realm);
    if (realm === undefined) throw new TypeError("a member of a realm that is not there");
    return realm;
  }
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
