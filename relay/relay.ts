import { describeError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { joinWamp } from "../shared/wamp/session.ts";
import { superviseWamp } from "../shared/wamp/supervisor.ts";
import type { RelayConfig } from "./config.ts";
import { startDrains } from "./drain-client.ts";
import { makePublisher } from "./publisher.ts";
import type { DeliveryQueue } from "./queue.ts";

/** After the edge refused a receipt: rarely, since only a wrong key or a lying router leads here. */
const REFUSED_PAUSE_MS = 60_000;

/**
 * drain → queue → publish → receipt → `done`. Runs until the signal, then hands back what is in hand.
 * Every step may fail on its own: what was not done is still in the edge's outbox.
 */
export async function runRelay(
  config: RelayConfig,
  queue: DeliveryQueue,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  /** The queue's store may be away; it says so itself, and the outbox still has every event. */
  const quietly = (work: Promise<unknown>) => {
    work.catch((error: unknown) => report("error", describeError(error)));
  };

  const publisher = makePublisher(report, (present) => {
    if (present) {
      quietly(queue.resume());
      quietly(queue.promote());
    } else quietly(queue.pause());
  });

  const drains = startDrains(
    config,
    {
      async onEvent(event) {
        const { delivery, stream, seq } = event;
        const added = await queue.add(event);
        report("drained", { delivery, stream, seq });
        return added.state === "received" ? added.receipt : undefined;
      },
      async onOpened(stream) {
        const received = await queue.received();
        return received.filter((event) => event.stream === stream);
      },
      async onSettled(stream, seq, code) {
        // What is sealed to a key that was taken out is of no use here; the edge keeps it.
        const isOver = code === undefined || code === "ERR_UNKNOWN_EVENT" || code === "ERR_KEY_REVOKED";
        if (isOver) return queue.remove(stream, seq);
        report("error", {
          code,
          message: "the edge refused a receipt; the event is published again",
          stream,
          seq,
        });
        return queue.requeue(stream, seq, REFUSED_PAUSE_MS);
      },
    },
    report,
    signal,
  );

  queue.process(
    publisher.publish,
    ({ stream, seq }, receipt) => drains.done(stream, seq, receipt),
    drains.restart,
  );

  const wamp = superviseWamp({
    join: () => joinWamp({ ...config.router, tor: config.tor, isolation: "publish", signal }),
    onSession: publisher.onSession,
    onLost: publisher.onLost,
    report,
    signal,
  });
  await Promise.all([drains.ended, wamp]);
  await queue.close();
}
