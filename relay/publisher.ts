import * as v from "valibot";
import { CRYPTOBOX, sealTag } from "../shared/cryptobox.ts";
import { describeError, OnionhookError } from "../shared/errors.ts";
import { SLOW_CIRCUIT } from "../shared/host/upload.ts";
import { receiptMessage, refusalMessage } from "../shared/receipt.ts";
import type { Report } from "../shared/report.ts";
import { RECEIPT_TOPIC } from "../shared/topic.ts";
import { Passthru } from "../shared/wamp/passthru.ts";
import type { WampEvent, WampSession } from "../shared/wamp/session.ts";
import { type Audience, watchAudience } from "./audience.ts";
import { type Life, type LifeInput, RECEIPT_MS, stepLife } from "./life.ts";
import type { EventName, Outcome, QueuedEvent, Tries } from "./queue/queue.ts";

export interface Publisher {
  /** Publishes an event and sees it through to its outcome. Never rejects. */
  publish: (event: QueuedEvent, tries: Tries) => Promise<Outcome>;
  /** Whether an event of this stream can be delivered now. */
  isReady: (stream: string) => boolean;
  hasBuilders: () => boolean;
  /** Begins to publish on a fresh session, as soon as somebody listens. */
  onSession: (session: WampSession) => Promise<void>;
  /** The session is over: what is under way keeps its place. */
  onLost: () => void;
}

export interface PublisherParts {
  readonly report: Report;
  /** Whether the events of a stream are done by a builder's receipt alone. */
  readonly givesReceipts: (stream: string) => boolean;
  /** Called at every change of who listens; `cameOne`: and somebody new does. */
  readonly onAudience: (cameOne: boolean) => void;
}

/** Milliseconds that a try goes on after a builder's refusal: another builder's receipt may be on its way. */
const AFTER_REFUSAL_MS = 500;
/** On top of {@link RECEIPT_MS}, for an event and those ahead of it to go up and down again. */
const RECEIPT_MS_PER_BYTE = (2 * 1000) / SLOW_CIRCUIT;

/** Events of which is remembered that they were first when a session ended; another relay may have delivered them. */
const MAX_BROKEN = 64;

/** A try under way. */
interface Try {
  readonly stream: string;
  readonly seq: number;
  readonly tag: string;
  readonly step: (input: LifeInput) => void;
  /** Whether the router has acknowledged it. */
  readonly isPublished: () => boolean;
}

export function makePublisher({ report, givesReceipts, onAudience }: PublisherParts): Publisher {
  let listening: { session: WampSession; audience: Audience } | undefined;
  /** What waits for its receipt. An event may be under way twice: out of the queue, and sent again by the edge. */
  const tries = new Set<Try>();
  let bytesUnderWay = 0;
  /** What was the first being published when a session ended. */
  const broken = new Set<string>();
  /** Sessions whose end was put down to an event. */
  const ended = new WeakSet<WampSession>();
  /** When a builder last gave a receipt, by stream; of the monotonic clock. */
  const passedAt = new Map<string, number>();

  const hasBuilders = (): boolean => (listening?.audience.builders.length ?? 0) > 0;
  const isReady = (stream: string): boolean =>
    hasBuilders() || (listening !== undefined && !givesReceipts(stream));

  function onWord({ kwargs }: WampEvent): void {
    const receipt = v.safeParse(receiptMessage, kwargs);
    if (receipt.success) {
      const { stream, seq } = receipt.output;
      for (const each of tries)
        if (each.seq === seq && each.stream === stream)
          each.step({ type: "receipt", receipt: receipt.output.receipt });
      return;
    }
    const refusal = v.safeParse(refusalMessage, kwargs);
    if (!refusal.success) {
      report("error", { code: "ERR_RECEIPT", message: "a malformed receipt was published and is ignored" });
      return;
    }
    const { tag, refused } = refusal.output;
    for (const each of tries) if (each.tag === tag) each.step({ type: "refusal", code: refused });
  }

  function setListening(now: typeof listening, cameOne: boolean): void {
    const before = listening?.audience.builders ?? [];
    const builders = now?.audience.builders ?? [];
    listening = now;
    if (builders.length !== before.length) report("audience", { builders: builders.length });
    // What is under way may have gone to a builder that is not there any more, whether or not the router knows.
    const isOther =
      before.length !== builders.length || before.some((builder) => !builders.includes(builder));
    for (const { stream, step, isPublished } of tries) {
      // Its publishing ends with the session, and knows whether it did before.
      if (now === undefined && !isPublished()) continue;
      if (!isReady(stream) || (isOther && givesReceipts(stream))) step({ type: "lost", again: false });
    }
    onAudience(cameOne);
  }

  async function publish(event: QueuedEvent, before: Tries): Promise<Outcome> {
    const { delivery, stream, seq, topic, sealed } = event;
    const key = keyOf(stream, seq);
    const current = listening;
    if (!current || !isReady(stream)) return { kind: "unavailable" };
    const started = performance.now();
    const { promise: settled, resolve: settle } = Promise.withResolvers<Outcome>();
    let life = stepLife({ at: "held" }, { type: "start" }, before);
    let timer: NodeJS.Timeout | undefined;

    function onTimeout(): void {
      step({ type: "timeout", othersPassed: (passedAt.get(stream) ?? -Infinity) > started });
    }
    function step(input: LifeInput): void {
      life = stepLife(life, input, before);
      if (input.type === "refusal") {
        clearTimeout(timer);
        timer = setTimeout(onTimeout, AFTER_REFUSAL_MS);
      }
      const outcome = outcomeOf(life);
      if (outcome) settle(outcome);
    }

    // Before publishing: a receipt may overtake the router's acknowledgement.
    const mine: Try = {
      stream,
      seq,
      tag: sealTag(sealed),
      step,
      isPublished: () => life.at === "published",
    };
    tries.add(mine);
    bytesUnderWay += sealed.length;
    const receipts = givesReceipts(stream);
    // Without a receipt to wait for, the router's acknowledgement is the end, for which the session has a time of its own.
    if (receipts) timer = setTimeout(onTimeout, RECEIPT_MS + bytesUnderWay * RECEIPT_MS_PER_BYTE);
    try {
      const eligible = current.audience.eligible(stream);
      const [heardBefore] = await Promise.all([
        // Before it is published: whoever subscribes after that does not get it.
        receipts || current.audience.hears(topic, eligible),
        current.session.publish(topic, new Passthru(sealed, CRYPTOBOX, "json"), eligible),
      ]);
      broken.delete(key);
      report("published", { delivery, stream, seq });
      // The last one may have left meanwhile.
      const heard = heardBefore && (receipts || (await listening?.audience.hears(topic, eligible)) === true);
      step({ type: "acknowledged", receipts, heard });
    } catch (error) {
      step(failure(error, current.session, { delivery, stream, seq }));
    }
    const outcome = await settled;
    clearTimeout(timer);
    tries.delete(mine);
    bytesUnderWay -= sealed.length;
    if (outcome.kind === "received") {
      passedAt.set(stream, performance.now());
      report("received", { delivery, stream, seq });
    }
    return outcome;
  }

  /** The router said no, or the way to it broke. */
  function failure(error: unknown, session: WampSession, event: EventName): LifeInput {
    if (!(error instanceof OnionhookError) || !error.retryable) {
      report("error", { ...describeError(error), to: "router", ...event });
      return { type: "rejected" };
    }
    // Of those under way the first may have ended it: they are told in the order of publishing.
    if (ended.has(session)) return { type: "lost", again: false };
    ended.add(session);
    // Whatever its socket says: nothing more is published on it, or what comes back would be so at once, for ever.
    if (listening?.session === session) setListening(undefined, false);
    void session.close();
    // A session may end by chance; twice with the same event, and the event is what ends it.
    const key = keyOf(event.stream, event.seq);
    const again = broken.delete(key);
    if (broken.size > MAX_BROKEN) broken.clear();
    if (!again) broken.add(key);
    return { type: "lost", again };
  }

  return {
    publish,
    isReady,
    hasBuilders,
    async onSession(session) {
      await session.subscribe(RECEIPT_TOPIC, "exact", onWord);
      await watchAudience(
        session,
        (audience, cameOne) => setListening({ session, audience }, cameOne),
        report,
      );
    },
    onLost: () => setListening(undefined, false),
  };
}

/** The end of a try, if it is one. */
function outcomeOf(life: Life): Outcome | undefined {
  switch (life.at) {
    case "held":
      return { kind: "unavailable" };
    case "received":
      return { kind: "received", receipt: life.receipt };
    case "delayed":
      return { kind: "later", delayMs: life.delayMs, spent: life.spent };
    case "dead":
      return { kind: "dead", reason: life.reason };
    case "publishing":
    case "published":
    case "done":
      return undefined;
    default:
      return life satisfies never;
  }
}

function keyOf(stream: string, seq: number): string {
  return `${stream}-${seq}`;
}
