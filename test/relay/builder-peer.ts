/** A builder at a test's router that answers each event as the test says. */
import { sealTag } from "../../shared/cryptobox.ts";
import type { QueuedEvent } from "../../relay/queue/queue.ts";
import { RECEIPT_TOPIC, TOPIC_PREFIX } from "../../shared/topic.ts";
import type { WampSession } from "../../shared/wamp/session.ts";
import type { Testbed } from "../router/testbed.ts";
import { join } from "../shared/wamp/joined.ts";

export interface BuilderPeer {
  readonly session: WampSession;
  /** `STREAM-SEQ` of each event that came, in order. */
  readonly seen: string[];
  say(kwargs: Record<string, unknown>): Promise<void>;
}

/** What a builder says to an event; nothing when undefined. */
export type Answer = (seen: {
  stream: string;
  seq: number;
  tag: string;
}) => Record<string, unknown> | undefined;

export const receipt: Answer = ({ stream, seq }) => ({ stream, seq, receipt: "AAAA" });
export const refusal: Answer = ({ tag }) => ({ tag, refused: "ERR_NOT_OPENED" });
export const silence: Answer = () => undefined;

/** An event that {@link startBuilderPeer} can read: nothing is sealed here. */
export function plainEvent(seq: number, stream = "docs", more: Partial<QueuedEvent> = {}): QueuedEvent {
  const delivery = `delivery-${stream}-${seq}`;
  const sealed = Buffer.from(`${stream} ${seq} ${"x".repeat(80)}`);
  return { stream, seq, topic: "webhook.github.push", delivery, sealed, ...more };
}

/** Ends with the test, if not before. */
export async function startBuilderPeer(
  bed: Testbed,
  answer: Answer = receipt,
  {
    match = "prefix",
    topic = TOPIC_PREFIX,
  }: { match?: "exact" | "prefix" | "wildcard"; topic?: string } = {},
): Promise<BuilderPeer> {
  const session = await join(bed, "builder");
  const seen: string[] = [];
  const say = (kwargs: Record<string, unknown>) => session.publish(RECEIPT_TOPIC, kwargs);
  await session.subscribe(topic, match, ({ passthru }) => {
    const sealed = passthru?.bytes ?? new Uint8Array();
    const [stream = "", seq = ""] = Buffer.from(sealed).toString().split(" ");
    seen.push(`${stream}-${seq}`);
    const said = answer({ stream, seq: Number(seq), tag: sealTag(sealed) });
    if (said) say(said).catch(() => undefined);
  });
  return { session, seen, say };
}
