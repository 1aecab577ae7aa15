import { describeError, OnionhookError } from "../shared/errors.ts";
import { fnv1a } from "../shared/fnv1a.ts";
import type { Report } from "../shared/report.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";
import type { WampSession } from "../shared/wamp/session.ts";

/** As the router sent it: one above 2^32 is a BigInt, and must be sent back as one. */
export type SessionId = number | bigint;

/** Who listens at the router now. Every `Audience` is a snapshot that does not change. */
export interface Audience {
  /** Builders: those that subscribed to all of {@link TOPIC_PREFIX}. */
  readonly builders: readonly SessionId[];
  /**
   * The only sessions that are to get events of this stream, where builders share their work: one of these, and the
   * builders that take every event. The same one while the same builders are there; and nobody who came since, so that no
   * two of them get one event.
   */
  eligible(stream: string): readonly SessionId[] | undefined;
  /** Whether anybody subscribed to this topic, of those that are `eligible`, or at all. */
  hears(topic: string, eligible: readonly SessionId[] | undefined): Promise<boolean>;
}

/** Meta events after which somebody else may be listening. */
const MEMBERSHIP = ["on_create", "on_subscribe", "on_unsubscribe", "on_delete"] as const;

/**
 * Watches, through the router's subscription meta API, who listens. `onChange` hears of the state now, and again after
 * whatever may have changed it, once for all that came meanwhile; `cameOne`: somebody subscribed.
 *
 * A builder that takes every event subscribes to {@link TOPIC_PREFIX} by prefix; builders that share the work of one
 * recipient subscribe to it as a wildcard, and each stream goes to one of them.
 */
export async function watchAudience(
  session: WampSession,
  onChange: (audience: Audience, cameOne: boolean) => void,
  report: Report,
): Promise<void> {
  /** What is known of topics since the last change. */
  const heard = new Map<string, Promise<boolean>>();
  /** What no check has begun for. The first is for all that comes until everything is subscribed to. */
  let due: { cameOne: boolean } | undefined = { cameOne: true };
  let isChecking = true;
  /** One at a time, so that the last answer is the newest; one more is for all that came meanwhile. None after a failure. */
  const check = async (): Promise<void> => {
    isChecking = true;
    while (due) {
      const { cameOne } = due;
      due = undefined;
      onChange(await takeStock(session, heard), cameOne);
    }
    isChecking = false;
  };
  const onMembership = (cameOne: boolean) => {
    heard.clear();
    due = { cameOne: cameOne || due?.cameOne === true };
    if (isChecking) return;
    check().catch((error: unknown) => {
      if (error instanceof OnionhookError && error.code === "ERR_WAMP_LOST") return;
      report("error", describeError(error));
      void session.close();
    });
  };
  for (const what of MEMBERSHIP) {
    const cameOne = what === "on_create" || what === "on_subscribe";
    await session.subscribe(`wamp.subscription.${what}`, "exact", () => onMembership(cameOne));
  }
  await check();
}

async function takeStock(session: WampSession, heard: Map<string, Promise<boolean>>): Promise<Audience> {
  const everything = await subscribers(session, await lookup(session, "prefix"));
  const sharing = await subscribers(session, await lookup(session, "wildcard"));
  return {
    builders: [...everything, ...sharing],
    eligible: (stream) => {
      const chosen = chooseFor(stream, sharing);
      return chosen === undefined ? undefined : [...everything, chosen];
    },
    hears(topic, eligible) {
      if (eligible) return hasSubscriber(session, topic, eligible);
      const answer = heard.get(topic) ?? hasSubscriber(session, topic);
      heard.set(topic, answer);
      // A router that gave no answer is asked again.
      answer.catch(() => heard.delete(topic));
      return answer;
    },
  };
}

function lookup(session: WampSession, match: "prefix" | "wildcard"): Promise<unknown> {
  return session.call("wamp.subscription.lookup", TOPIC_PREFIX, { match });
}

async function hasSubscriber(
  session: WampSession,
  topic: string,
  eligible?: readonly SessionId[],
): Promise<boolean> {
  const found = await session.call("wamp.subscription.match", topic);
  // A router may keep a subscription that nobody has any more.
  for (const subscription of Array.isArray(found) ? found : []) {
    const there = await subscribers(session, subscription);
    if (there.some((each) => eligible === undefined || eligible.includes(each))) return true;
  }
  return false;
}

async function subscribers(session: WampSession, subscription: unknown): Promise<SessionId[]> {
  if (subscription === null) return [];
  try {
    const ids = await session.call("wamp.subscription.list_subscribers", subscription);
    return Array.isArray(ids) ? ids.filter(isSessionId) : [];
  } catch (error) {
    // The last one left between the two calls.
    if (error instanceof OnionhookError && error.message.endsWith("wamp.error.no_such_subscription"))
      return [];
    throw error;
  }
}

/**
 * Rendezvous hashing: a builder that leaves takes nothing but its own streams with it, and one that comes takes its share.
 */
function chooseFor(stream: string, sessions: readonly SessionId[]): SessionId | undefined {
  // The session last: names of streams that differ in their ends alone would all go to the same one.
  const weigh = (session: SessionId) => fnv1a(`${stream} ${session}`);
  return sessions.toSorted((a, b) => weigh(b) - weigh(a) || Number(b) - Number(a))[0];
}

function isSessionId(id: unknown): id is SessionId {
  return typeof id === "number" || typeof id === "bigint";
}
