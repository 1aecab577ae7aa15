import * as v from "valibot";
import { CRYPTOBOX } from "../shared/cryptobox.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { receiptMessage } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import { RECEIPT_TOPIC } from "../shared/topic.ts";
import { Passthru } from "../shared/wamp/passthru.ts";
import type { WampEvent, WampSession } from "../shared/wamp/session.ts";
import { watchAudience } from "./audience.ts";
import type { Outcome, QueuedEvent } from "./queue.ts";

export interface Publisher {
  /** Publishes an event and waits for the builder's receipt. Never rejects. */
  publish: (event: QueuedEvent, tries: number) => Promise<Outcome>;
  /** Begins to publish on a fresh session, as soon as a builder is there. */
  onSession: (session: WampSession) => Promise<void>;
  /** The session is over: what waits for a receipt is `unavailable`. */
  onLost: () => void;
}

/** A builder journals an event in milliseconds; through an onion service a round trip is under a second. */
const RECEIPT_MS = 10_000;
/** On top, for a large event to go up and down again: 128 KiB/s is a slow onion circuit. */
const RECEIPT_MS_PER_BYTE = 2 * (1000 / (128 * 1024));
/** An event without a receipt is published again ever more rarely, at last every five minutes. */
const MAX_LATER_MS = 300_000;

/** `onAudience`: whether events can arrive; called at every change, and when one more builder came. */
export function makePublisher(report: Report, onAudience: (present: boolean) => void): Publisher {
  let session: WampSession | undefined;
  /** What waits for its receipt, by stream and seq. */
  const waiting = new Map<string, (outcome: Outcome) => void>();

  /** What was being published when a session ended. */
  const broken = new Set<string>();

  function onReceipt({ kwargs }: WampEvent): void {
    const message = v.safeParse(receiptMessage, kwargs);
    if (!message.success) {
      report("error", { code: "ERR_RECEIPT", message: "a malformed receipt was published and is ignored" });
      return;
    }
    const { stream, seq, receipt } = message.output;
    waiting.get(keyOf(stream, seq))?.({ kind: "received", receipt });
  }

  function setAudience(audience: WampSession | undefined): void {
    session = audience;
    if (!audience) for (const settle of waiting.values()) settle({ kind: "unavailable" });
    onAudience(audience !== undefined);
  }

  return {
    async publish(event, tries) {
      if (!session) return { kind: "unavailable" };
      const { delivery, stream, seq, topic, sealed } = event;
      const later: Outcome = {
        kind: "later",
        delayMs: Math.min(MAX_LATER_MS, RECEIPT_MS * 2 ** Math.min(tries, 8)),
      };
      const { promise: outcome, resolve: settle } = Promise.withResolvers<Outcome>();
      // Before publishing: a receipt may overtake the router's acknowledgement.
      const key = keyOf(stream, seq);
      waiting.set(key, settle);
      const timer = setTimeout(() => settle(later), RECEIPT_MS + sealed.length * RECEIPT_MS_PER_BYTE);
      try {
        await session.publish(topic, new Passthru(sealed, CRYPTOBOX, "json"));
        broken.delete(key);
        report("published", { delivery, stream, seq });
        return await outcome;
      } catch (error) {
        report("error", { ...describeError(error), delivery, stream, seq });
        if (!(error instanceof OnionhookError) || !error.retryable) return later;
        // A session may end by chance; twice with the same event, and the event is what ends it.
        const again = broken.delete(key);
        if (!again) broken.add(key);
        return again ? later : { kind: "unavailable" };
      } finally {
        clearTimeout(timer);
        if (waiting.get(key) === settle) waiting.delete(key);
      }
    },
    async onSession(fresh) {
      await fresh.subscribe(RECEIPT_TOPIC, "exact", onReceipt);
      await watchAudience(fresh, (present) => setAudience(present ? fresh : undefined), report);
    },
    onLost: () => setAudience(undefined),
  };
}

function keyOf(stream: string, seq: number): string {
  return `${stream}-${seq}`;
}
