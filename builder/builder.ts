import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { sharedKey } from "../shared/shared-key.ts";
import { encodeBase64 } from "../shared/bytes.ts";
import { sealTag } from "../shared/cryptobox.ts";
import { describeError } from "../shared/errors.ts";
import { type ReceiptMessage, sealReceipt } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import { RECEIPT_TOPIC, TOPIC_PREFIX } from "../shared/topic.ts";
import { joinWamp, type WampEvent, type WampSession } from "../shared/wamp/session.ts";
import { superviseWamp } from "../shared/wamp/supervisor.ts";
import type { BuilderConfig } from "./config.ts";
import { openJournal } from "./journal.ts";
import { openEvent } from "./opener.ts";
import { matches, subjectOf } from "./rules.ts";
import { startRunner } from "./runner.ts";

/**
 * Joins, opens, checks, journals, sends receipts, and runs the rules' commands, until the signal. Builds
 * run beside: opening, journal and receipt of the events behind a build never wait for it.
 */
export async function runBuilder(config: BuilderConfig, report: Report, stop: AbortSignal): Promise<void> {
  const { dataDir, rules } = config;
  // Without a journal there is nothing to do here: its failure ends the builder, which says so.
  const failed = new AbortController();
  const signal = AbortSignal.any([stop, failed.signal]);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const sharedKeys = config.boxSecrets.map((secret) => sharedKey(config.edgeBoxPublic, secret));
  const journal = openJournal(join(dataDir, "journal.sqlite"));
  const runner = startRunner({ dataDir, rules, journal, report }, signal);

  /** What cannot be opened is reported and gets no receipt: the edge keeps it. */
  function onEvent(session: WampSession, { topic, passthru }: WampEvent): void {
    try {
      const event = openEvent(topic, passthru, sharedKeys, config.webhookSecret);
      const sealed = passthru?.bytes ?? new Uint8Array();
      const tag = sealTag(sealed);
      const { id, stream, seq, redelivery } = event.delivery;
      const wanted = wantedBy(event);
      if (journal.keep(tag, event, wanted) !== "again") {
        report("opened", { delivery: id, stream, seq, topic, redelivery, signature: event.signature });
        journal.eventTold(tag);
      }
      const receipt = encodeBase64(sealReceipt({ stream, seq, delivery: id, tag }, event.shared));
      // Lost receipts do no harm: the relay publishes again, and a duplicate is answered again.
      session
        .publish(RECEIPT_TOPIC, { stream, seq, receipt } satisfies ReceiptMessage)
        .catch((error: unknown) => {
          report("error", { ...describeError(error), delivery: id });
        });
      if (wanted.length > 0) runner.wake();
    } catch (error) {
      report("error", describeError(error));
    }
  }

  function wantedBy(event: ReturnType<typeof openEvent>): string[] {
    const subject = subjectOf(event);
    return rules.filter((rule) => matches(rule, subject)).map(({ name }) => name);
  }

  const wamp = superviseWamp({
    join: () => joinWamp({ ...config.router, tor: config.tor, isolation: "builder", signal }),
    onSession: (session) => session.subscribe(TOPIC_PREFIX, "prefix", (event) => onEvent(session, event)),
    onLost: () => {},
    report,
    signal,
  });
  try {
    await Promise.all([wamp, runner.ended.finally(() => failed.abort())]);
  } finally {
    journal.close();
  }
}
