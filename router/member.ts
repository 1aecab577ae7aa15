import type { Serializer } from "../shared/wamp/serializers.ts";
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
  readonly serializer: Serializer;
  /** Sends a frame made with the member's serializer; one that cannot take more is disconnected instead. */
  send(frame: Uint8Array): void;
}

/** A message as a frame. Text becomes bytes here, once, and not again for every receiver. */
export function toFrame(serializer: Serializer, message: readonly unknown[]): Uint8Array {
  const frame = serializer.serialize(message);
  return typeof frame === "string" ? Buffer.from(frame, "utf8") : frame;
}

/** Sends a message that holds nothing of other clients, and so can always be serialised. */
export function tell(member: Member, message: readonly unknown[]): void {
  member.send(toFrame(member.serializer, message));
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
