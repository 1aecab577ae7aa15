/**
 * The receiving half: opens and checks what comes, journals it, and answers with a receipt, or a refusal. Events that
 * come in the same turn of the event loop share one transaction, and so one wait for the disk.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { encodeBase64 } from "../shared/bytes.ts";
import { sealTag } from "../shared/cryptobox.ts";
import { describeError } from "../shared/errors.ts";
import type { Keyring } from "../shared/keyring.ts";
import { type ReceiptMessage, type RefusalMessage, sealReceipt } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import { CANARY_TOPIC, RECEIPT_TOPIC } from "../shared/topic.ts";
import { MAX_UNACKNOWLEDGED, type WampEvent, type WampSession } from "../shared/wamp/session.ts";
import type { Entry, Journal, Kept } from "./journal.ts";
import { makeJournalFault } from "./journal-fault.ts";
import { openEvent } from "./opener.ts";
import { type Rule, rulesFor } from "./rules.ts";

export interface Intake {
  onEvent(session: WampSession, event: WampEvent): void;
  /**
   * Nothing is taken any more. Resolves when what was said to the router has reached it, or soon: a builder that
   * shares its work would else leave behind what another is given, too.
   */
  end(): Promise<void>;
}

/** Milliseconds, at the end, for receipts to reach the router. */
const RECEIPTS_MS = 2000;

interface Opened extends Entry {
  session: WampSession;
  event: ReturnType<typeof openEvent>;
}

/**
 * @param onKept events of these streams were kept.
 */
export function makeIntake(
  {
    journal,
    rules,
    keyring,
    webhookSecret,
    requireSignature,
    report,
  }: {
    journal: Journal;
    rules: readonly Rule[];
    keyring: Keyring;
    webhookSecret: string | undefined;
    requireSignature: boolean;
    report: Report;
  },
  onKept: (streams: ReadonlySet<string>) => void,
): Intake {
  const fault = makeJournalFault("events are not taken; the relay tries again", report);
  let opened: Opened[] = [];
  let turn: NodeJS.Immediate | undefined;
  /** Receipts and refusals on their way to the router. */
  const unsent = new Set<Promise<void>>();
  let ended = false;
  /** What was said, and the disk could not mark as said. */
  const unmarked = new Set<string>();
  /** Whether it was said, since all that waited was gone last, that too much waits. */
  let toldFull = false;

  function keep(): void {
    turn = undefined;
    const entries = opened;
    opened = [];
    let kept: Kept[];
    try {
      kept = journal.keep(entries);
      fault.works();
    } catch (error) {
      // No word to the relay: the event is not to blame, and is published again.
      fault.failed(error);
      return;
    }
    for (const [index, { was, restarted }] of kept.entries()) {
      const entry = entries[index];
      if (!entry) continue;
      const { stream, seq } = entry.event.delivery;
      if (restarted) report("stream_restarted", { stream, seq });
      if (was !== "again") tell(entry);
      sendReceipt(entry);
    }
    onKept(new Set(entries.map(({ event }) => event.delivery.stream)));
  }

  function tell({ tag, event, rules: wanted }: Opened): void {
    const { id, stream, seq, redelivery } = event.delivery;
    const { topic, signature } = event;
    if (!unmarked.delete(tag)) {
      if (topic === CANARY_TOPIC) report("canary", { stream, seq });
      else
        report("opened", {
          delivery: id,
          stream,
          seq,
          topic,
          redelivery,
          signature,
          rules: wanted.length,
        });
    }
    try {
      journal.eventTold(tag);
    } catch (error) {
      unmarked.add(tag);
      fault.failed(error);
    }
  }

  /** Lost receipts do no harm: the relay publishes again, and a duplicate is answered again. */
  function sendReceipt({ session, tag, event }: Opened): void {
    const { stream, seq, id: delivery } = event.delivery;
    const receipt = encodeBase64(sealReceipt({ stream, seq, delivery, tag }, event.shared));
    const message = { stream, seq, receipt } satisfies ReceiptMessage;
    say(session, message, { delivery });
  }

  function refuse(session: WampSession, sealed: Uint8Array, error: unknown): void {
    const described = describeError(error);
    report("error", described);
    if (sealed.length === 0) return;
    const refused = described.code.startsWith("ERR_") ? described.code : "ERR_INTERNAL";
    const message = { tag: sealTag(sealed), refused } satisfies RefusalMessage;
    say(session, message);
  }

  function say(
    session: WampSession,
    message: ReceiptMessage | RefusalMessage,
    about: { delivery?: string } = {},
  ): void {
    const sent = session
      .publish(RECEIPT_TOPIC, message)
      .catch((error: unknown) => report("error", { ...describeError(error), ...about }))
      .finally(() => unsent.delete(sent));
    unsent.add(sent);
  }

  function isFull(): boolean {
    const waiting = opened.length + unsent.size;
    if (waiting === 0) toldFull = false;
    if (waiting < MAX_UNACKNOWLEDGED) return false;
    if (!toldFull) {
      const message = "the router acknowledges nothing; events are not taken meanwhile";
      report("error", { code: "ERR_UNACKNOWLEDGED", message });
    }
    toldFull = true;
    return true;
  }

  return {
    onEvent(session, { topic, passthru }) {
      // An event that is not taken gets no receipt, and is published again.
      if (ended || isFull()) return;
      const sealed = passthru?.bytes ?? new Uint8Array();
      try {
        const event = openEvent(topic, passthru, keyring, webhookSecret, requireSignature);
        const wanted = topic === CANARY_TOPIC ? [] : rulesFor(event, rules);
        opened.push({ session, tag: sealTag(sealed), event, rules: wanted });
        turn ??= setImmediate(keep);
      } catch (error) {
        refuse(session, sealed, error);
      }
    },
    async end() {
      ended = true;
      clearImmediate(turn);
      await Promise.race([Promise.all(unsent), sleep(RECEIPTS_MS, undefined, { ref: false })]);
    },
  };
}
