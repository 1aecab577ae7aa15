import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { makeKeyring } from "../shared/keyring.ts";
import { type Report, reportAbout } from "../shared/report.ts";
import { sharedKey } from "../shared/shared-key.ts";
import { REPLAY_PROCEDURE, TOPIC_PREFIX } from "../shared/topic.ts";
import { watchTor } from "../shared/tor/watch.ts";
import { joinWamp } from "../shared/wamp/session.ts";
import { superviseWamp } from "../shared/wamp/supervisor.ts";
import type { BuilderConfig } from "./config.ts";
import { makeIntake } from "./intake.ts";
import { type Journal, openJournal } from "./journal.ts";
import { journalError } from "./journal-fault.ts";
import { makeRecovery } from "./recovery.ts";
import { removeLogs, startRunner } from "./runner.ts";

/**
 * Milliseconds that the journal remembers an event: three times as long as an edge can be told to retain it, so
 * that nothing is run again that is sent again.
 */
const REMEMBERED_MS = 90 * 24 * 3600 * 1000;

/**
 * Joins, opens, checks, journals, sends receipts, asks for what is missing, and runs the rules' commands, until the
 * signal. Builds run beside: opening, journal and receipt of the events behind a build never wait for it.
 */
export async function runBuilder(config: BuilderConfig, report: Report, stop: AbortSignal): Promise<void> {
  const { dataDir, rules, webhookSecret, requireSignature, relayBoxPublic, share } = config;
  // When builds cannot be run there is nothing to do here: that ends the builder, which says so.
  const failed = new AbortController();
  const signal = AbortSignal.any([stop, failed.signal]);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const keysWith = (peer: Uint8Array) => config.boxSecrets.map((secret) => sharedKey(peer, secret));
  const journal = openJournalOf(config);
  const keyring = makeKeyring([
    { uri: TOPIC_PREFIX, match: "prefix", responder: keysWith(config.edgeBoxPublic) },
    {
      uri: REPLAY_PROCEDURE,
      match: "exact",
      ...(relayBoxPublic && { originator: keysWith(relayBoxPublic) }),
    },
  ]);
  const recovery = makeRecovery({ journal, keyring, report }, () => runner.wake());
  const runner = startRunner({ dataDir, rules, journal, isHeld: recovery.holds, report }, signal);
  const intake = makeIntake(
    { journal, rules, keyring, webhookSecret, requireSignature, report },
    (streams) => {
      recovery.noted(streams);
      runner.wake();
    },
  );

  const leaving = new AbortController();
  const leave = () => void intake.end().finally(() => leaving.abort());
  signal.addEventListener("abort", leave);
  if (signal.aborted) leave();
  const watch = watchTor(config.torControl, reportAbout(report, { to: "tor" }), leaving.signal);
  const wamp = superviseWamp({
    purpose: "builder",
    join: (isolation) => joinWamp({ ...config.router, tor: config.tor, isolation, signal: leaving.signal }),
    onSession: async (session) => {
      // The relay gives each stream to one of the builders that subscribe by wildcard.
      await session.subscribe(TOPIC_PREFIX, share ? "wildcard" : "prefix", (event) =>
        intake.onEvent(session, event),
      );
      recovery.onSession(session);
    },
    onLost: () => recovery.onLost(),
    watch,
    report,
    signal: leaving.signal,
  });
  try {
    await Promise.all([wamp, watch.ended, runner.ended.finally(() => failed.abort())]);
  } finally {
    await intake.end();
    recovery.end();
    journal.close();
  }
}

/** @throws OnionhookError `ERR_JOURNAL` */
function openJournalOf({ dataDir, share }: BuilderConfig): Journal {
  try {
    // Where builders share, what is missing here may be another's.
    const journal = openJournal(join(dataDir, "journal.sqlite"), { numbered: !share });
    removeLogs(dataDir, journal.forget(Date.now() - REMEMBERED_MS));
    return journal;
  } catch (cause) {
    throw journalError("the builder does not start", cause);
  }
}
