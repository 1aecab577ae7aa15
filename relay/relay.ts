import { setTimeout as sleep } from "node:timers/promises";
import type { Report } from "../shared/report.ts";
import { describeError } from "../shared/errors.ts";
import { reportAbout } from "../shared/report.ts";
import { watchTor } from "../shared/tor/watch.ts";
import { joinWamp } from "../shared/wamp/session.ts";
import { superviseWamp } from "../shared/wamp/supervisor.ts";
import { startCanaries } from "./canary.ts";
import type { RelayConfig } from "./config.ts";
import { startControl } from "./control/control.ts";
import { type DrainClient, startDrains } from "./drain/client.ts";
import { makeIntake } from "./intake.ts";
import { stepLife } from "./life.ts";
import { makeMetrics } from "./metrics.ts";
import { makeOperations } from "./operations.ts";
import { makePublisher } from "./publisher.ts";
import type { DeliveryQueue, Handler } from "./queue/queue.ts";
import { serveReplay } from "./replay.ts";
import { makeReports } from "./reports.ts";
import { makeStatus } from "./status.ts";

/** Milliseconds; an event of a stream that nobody is there for waits this long, or until somebody comes. */
const NOBODY_THERE_MS = 60_000;
/** Milliseconds, at the end, for what is just being put into the queue. */
const ADDING_MS = 3000;
/** Dead letters that are looked through when a builder comes. */
const MAX_REVIVED = 10_000;
const NEVER_TRIED = { started: 0, spent: 0 };

/**
 * drain → (queue →) publish → receipt → `done`. Runs until the signal, then hands back what is in hand.
 * Every step may fail on its own: what was not done is still in the edge's outbox.
 */
export async function runRelay(
  config: RelayConfig,
  queue: DeliveryQueue,
  out: Report,
  signal: AbortSignal,
): Promise<void> {
  const reports = makeReports(out);
  const status = makeStatus(Date.now, config.edge.streams);
  reports.subscribe(status.note);
  /** Streams whose recipient gives no receipts. */
  const silent = new Set<string>();
  const givesReceipts = (stream: string) => !silent.has(stream);

  const canaries = startCanaries({
    drains: () => drains.open(),
    givesReceipts,
    everyMs: config.canaryMs,
    report: reports.report,
    signal,
  });
  const report = canaries.sift(reports.report);

  /** The queue's store may be away; it says so itself, and the outbox still has every event. */
  const quietly = (work: Promise<unknown>) => {
    work.catch((error: unknown) => report("error", describeError(error)));
  };

  const publisher = makePublisher({ report, givesReceipts, onAudience });
  const intake = makeIntake({
    queue,
    publisher,
    stored: (stream, seq) => drains.stored(stream, seq),
    done: (stream, seq, receipt) => drains.done(stream, seq, receipt),
    report,
  });
  const watch = watchTor(config.torControl, reportAbout(report, { to: "tor" }), signal);
  const drains: DrainClient = startDrains(
    config,
    {
      onEvent: intake.take,
      onOpened(stream, receipts) {
        if (receipts) silent.delete(stream);
        else silent.add(stream);
        onAudience(false);
        quietly(repeatReceipts(stream));
      },
      onSettled: (stream, seq, code) => quietly(settle(stream, seq, code)),
    },
    report,
    signal,
    { watch },
  );

  function onAudience(cameOne: boolean): void {
    const isAnyReady = publisher.hasBuilders() || [...silent].some(publisher.isReady);
    if (isAnyReady) quietly(resume(cameOne));
    else quietly(queue.pause());
    intake.pump();
  }

  /** What was delayed is to start before what came after it. */
  async function resume(cameOne: boolean): Promise<void> {
    try {
      if (cameOne) await welcome();
    } finally {
      await queue.resume();
    }
  }

  /** Somebody came: what waits for its time need not wait, nor what those who were there had no key for. */
  async function welcome(): Promise<void> {
    await queue.promote();
    for (const { stream, seq, reason } of await queue.list("dead", MAX_REVIVED))
      if (reason === "ERR_NOT_OPENED") await queue.retry(stream, seq);
  }

  /** An acceptance may have been lost with the last connection. */
  async function repeatReceipts(stream: string): Promise<void> {
    for (const { seq, receipt } of intake.received(stream)) drains.done(stream, seq, receipt);
    for (const event of await queue.received())
      if (event.stream === stream) drains.done(stream, event.seq, event.receipt);
  }

  async function settle(stream: string, seq: number, code: string | undefined): Promise<void> {
    const input = code === undefined ? { type: "accepted" as const } : { type: "refused" as const, code };
    const next = stepLife({ at: "received", receipt: undefined }, input, NEVER_TRIED);
    if (next.at === "delayed") {
      report("error", {
        code: code ?? "",
        message: "the edge refused a receipt; the event is published again",
        stream,
        seq,
      });
      intake.settled(stream, seq, code);
      await queue.requeue(stream, seq, next.delayMs);
      return;
    }
    if (code === undefined) {
      report("accepted", { stream, seq });
      canaries.accepted(stream, seq);
    } else report("unwanted", { stream, seq, code });
    intake.settled(stream, seq, undefined);
    await queue.remove(stream, seq);
  }

  const publish: Handler = async (event, tries) => {
    const isOthersTurn = !publisher.isReady(event.stream) && [...silent].some(publisher.isReady);
    if (isOthersTurn) return { kind: "later", delayMs: NOBODY_THERE_MS, spent: false };
    const outcome = await publisher.publish(event, tries);
    const { delivery, stream, seq } = event;
    if (outcome.kind === "later")
      report("later", { delivery, stream, seq, delay_ms: outcome.delayMs, spent: outcome.spent });
    if (outcome.kind === "dead") report("dead", { delivery, stream, seq, reason: outcome.reason });
    return outcome;
  };
  queue.process(publish, ({ stream, seq }, receipt) => drains.done(stream, seq, receipt), {
    onRecovered: drains.restart,
    onIdle: intake.pump,
  });

  const routerReport = reportAbout(report, { to: "router" });
  const { replay } = config;
  const wamp = superviseWamp({
    purpose: "publish",
    join: (isolation) => joinWamp({ ...config.router, tor: config.tor, isolation, signal }),
    async onSession(session) {
      if (replay) await serveReplay(session, { queue, drains, sharedKeys: replay.sharedKeys, report });
      await publisher.onSession(session);
    },
    onLost: publisher.onLost,
    watch,
    report: routerReport,
    signal,
  });
  const control = startControl({
    control: config.control,
    operations: makeOperations({ queue, drains, status }),
    metrics: makeMetrics({ reports }),
    reports,
    report,
    signal,
  });
  await Promise.all([drains.ended, wamp, canaries.ended, control, watch.ended]);
  // What waits for room in the queue would wait for ever; the edge has it.
  await Promise.race([intake.close(), sleep(ADDING_MS, undefined, { ref: false })]);
  await queue.close();
}
