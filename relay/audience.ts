import type { Report } from "../shared/report.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";
import type { WampSession } from "../shared/wamp/session.ts";

/** Meta events after which the number of builders may be another one. */
const MEMBERSHIP_TOPICS = ["on_subscribe", "on_unsubscribe", "on_delete"].map(
  (name) => `wamp.subscription.${name}`,
);

/**
 * Watches, through the router's subscription meta API, whether a builder of ours is there: one that
 * subscribed to all of {@link TOPIC_PREFIX}. `onChange` hears of the state now, of every change, and of
 * every builder that comes while another is there.
 */
export async function watchAudience(
  session: WampSession,
  onChange: (present: boolean) => void,
  report: Report,
): Promise<void> {
  let builders = 0;
  let checks = Promise.resolve();

  async function check(): Promise<void> {
    const before = builders;
    builders = await countBuilders(session);
    if (builders > before || (builders === 0 && before > 0)) onChange(builders > 0);
  }

  // One after the other, so that the last answer is the newest.
  const recheck = () => {
    checks = checks.then(check).catch((error: unknown) => {
      if (error instanceof OnionhookError && error.code === "ERR_WAMP_LOST") return;
      report("error", describeError(error));
      void session.close();
    });
  };
  for (const topic of MEMBERSHIP_TOPICS) await session.subscribe(topic, "exact", recheck);
  await check();
}

async function countBuilders(session: WampSession): Promise<number> {
  const subscription = await session.call("wamp.subscription.lookup", TOPIC_PREFIX, { match: "prefix" });
  if (subscription === null) return 0;
  return Number(await session.call("wamp.subscription.count_subscribers", subscription));
}
