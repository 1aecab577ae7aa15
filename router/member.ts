import type { Serializer } from "../shared/wamp/serializers.ts";
import type { CalleeFeatures } from "./messages.ts";
import type { Payload } from "./payload.ts";

/** Who a session is, from WELCOME on. */
export interface Identity {
  readonly session: number;
  readonly realm: string;
  readonly authid: string;
  readonly role: string;
}

/** A joined session, as broker and dealer see it. */
export interface Member {
  readonly identity: Identity;
  readonly features: CalleeFeatures;
  readonly serializer: Serializer;
  /** Sends a frame made with the member's serializer; one that cannot take more is disconnected instead. */
  send(frame: Uint8Array): void;
  /** Says GOODBYE and ends the session. */
  end(reason: string, message: string | undefined): void;
}

const utf8 = new TextEncoder();

/**
 * A message as a frame, in memory of its own: libraries and Node.js lay many into one piece, all of which each of
 * them would keep for as long as it waits. Text becomes bytes here, once, and not again for every receiver.
 */
export function toFrame(serializer: Serializer, message: readonly unknown[]): Uint8Array {
  const frame = serializer.serialize(message);
  return typeof frame === "string" ? utf8.encode(frame) : new Uint8Array(frame);
}

/** Sends a message that holds nothing of other clients, and so can always be serialised. */
export function tell(member: Member, message: readonly unknown[]): void {
  member.send(toFrame(member.serializer, message));
}

/** How a session joined, in the words of WELCOME. There is one way. */
export function describeIdentity({ authid, role }: Identity) {
  return { authid, authrole: role, authmethod: "cryptosign", authprovider: "static" };
}

/**
 * A session as the meta API tells it. Nothing of its transport or of what it said of itself, which
 * Crossbar.io tells: addresses, headers, process ids.
 */
export function describeMember({ identity }: Member) {
  return { session: identity.session, ...describeIdentity(identity) };
}

/** Who sent something, in the words of EVENT (`publisher`) or INVOCATION (`caller`). */
export function disclosure(as: "publisher" | "caller", { identity }: Member): Record<string, unknown> {
  return { [as]: identity.session, [`${as}_authid`]: identity.authid, [`${as}_authrole`]: identity.role };
}

/** A message's end: what the payload needs beside the details, and the payload itself. */
export function withPayload(
  head: readonly unknown[],
  details: Readonly<Record<string, unknown>>,
  payload: Payload,
  afterDetails: readonly unknown[] = [],
): unknown[] {
  return [...head, { ...details, ...payload.encoding }, ...afterDetails, ...payload.tail];
}
