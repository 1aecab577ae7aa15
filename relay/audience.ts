import type { Report } from "../shared/report.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";
import type { WampSession } from "../shared/wamp/session.ts";

/** Meta events after which there may be one more builder, or one fewer. */
const MEMBERSHIP = [
  ["wamp.subscription.on_subscribe", true],
  ["wamp.subscription.on_unsubscribe", false],
  ["wamp.subscription.on_delete", false],
] as const;

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

  async function check(cameOne: boolean): Promise<void> {
    const before = builders;
    builders = await countBuilders(session);
    if (builders > 0 && (cameOne || before === 0)) onChange(true);
    else if (builders === 0 && before > 0) onChange(false);
  }

  // One after the other, so that the last answer is the newest.
  const recheck = (cameOne: boolean): Promise<void> => {
    checks = checks.then(() => check(cameOne));
    return checks;
  };
  const onMembership = (cameOne: boolean) => {
    recheck(cameOne).catch((error: unknown) => {
      if (error instanceof OnionhookError && error.code === "ERR_WAMP_LOST") return;
      report("error", describeError(error));
      void session.close();
    });
  };
  for (const [topic, cameOne] of MEMBERSHIP) {
    await session.subscribe(topic, "exact", () => onMembership(cameOne));
  }
  await recheck(false);
}

async function countBuilders(session: WampSession): Promise<number> {
  const subscription = await session.call("wamp.subscription.lookup", TOPIC_PREFIX, { match: "prefix" });
  if (subscription === null) return 0;
  try {
    return Number(await session.call("wamp.subscription.count_subscribers", subscription));
  } catch (error) {
    // The last builder left between the two calls.
    if (error instanceof OnionhookError && error.message.endsWith("wamp.error.no_such_subscription"))
      return 0;
    throw error;
  }
}
