/**
 * What the control API takes and answers: `app.ts` speaks it, `cli/control-client.ts` listens.
 * docs/operations.md has it for people.
 */
import * as v from "valibot";
import { DELIVERY_ID, NAME } from "../../shared/delivery.ts";
import type { Status } from "../health.ts";
import type { Journey } from "../journeys.ts";
import { type HeldEvent, QUEUE_STATES } from "../queue/queue.ts";

/** Events that one request names, at most: each GUID is looked for in all that is held. */
const MAX_NAMED = 100;
/** Events that one answer lists, at most. */
export const MAX_LISTED = 10_000;

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const stream = v.pipe(v.string(), v.regex(NAME, "a stream's name was expected"));
const delivery = v.pipe(v.string(), v.regex(DELIVERY_ID, "a delivery's GUID was expected"));
const time = v.pipe(v.string(), v.isoTimestamp("an ISO 8601 time in UTC was expected"));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** `dead`: kept for a person. `done`: of the last that passed. Left out: all that are held. */
export const LISTED_STATES = [...QUEUE_STATES, "done"] as const;

export const listQuery = v.strictObject({
  state: v.optional(v.picklist(LISTED_STATES, `one of ${LISTED_STATES.join(", ")} was expected`)),
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,5}$/, `a number up to ${MAX_LISTED} was expected`),
      v.transform(Number),
      v.minValue(1),
      v.maxValue(MAX_LISTED, `a number up to ${MAX_LISTED} was expected`),
    ),
    "100",
  ),
});

/** `STREAM-SEQ`, or a delivery's GUID. */
export const EVENT_ID = /^[0-9A-Za-z-]{1,128}$/;
const eventId = v.pipe(v.string(), v.regex(EVENT_ID, "STREAM-SEQ or a delivery's GUID was expected"));

/** States out of which a person may call an event. */
export const RETRIED_STATES = ["dead", "delayed", "received"] as const;

export const retryRequest = v.pipe(
  v.strictObject({
    ids: v.optional(v.pipe(v.array(eventId), v.minLength(1), v.maxLength(MAX_NAMED))),
    state: v.optional(v.picklist(RETRIED_STATES, `one of ${RETRIED_STATES.join(", ")} was expected`)),
  }),
  v.check(
    ({ ids, state }) => (ids === undefined) !== (state === undefined),
    "either ids or state was expected",
  ),
);

export const replayRequest = v.pipe(
  v.strictObject({
    how: v.picklist(["again", "missed"], "again or missed was expected"),
    stream: v.optional(stream),
    delivery: v.optional(delivery),
    from: v.optional(seq),
    to: v.optional(seq),
    since: v.optional(time),
    until: v.optional(time),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { delivery: named, from, to, since, until, stream: of } = dataset.value;
    const expect = (holds: boolean, message: string) => {
      if (!holds) addIssue({ message });
    };
    const ways = [named, from ?? to, since ?? until].filter((way) => way !== undefined).length;
    expect(ways === 1, "one of delivery, from and to, or since was expected");
    expect((from === undefined) === (to === undefined), "from and to were expected together");
    expect((from ?? 0) <= (to ?? Infinity), "from was expected not to be above to");
    expect(from === undefined || of !== undefined, "a stream was expected: numbers count within one");
    expect(until === undefined || since !== undefined, "since was expected with until");
  }),
);

export type ReplayRequest = v.InferInput<typeof replayRequest>;

/** An event as it is shown: what the queue says of it, and what was seen of it. At least one of both. */
export interface ShownEvent {
  readonly held?: HeldEvent;
  readonly journey?: Journey;
}

const heldEvent = v.object({
  stream: v.string(),
  seq,
  topic: v.string(),
  delivery: v.string(),
  state: v.picklist(QUEUE_STATES),
  bytes: count,
  addedAt: v.number(),
  tries: v.object({ started: count, spent: count }),
  dueAt: v.exactOptional(v.number()),
  reason: v.exactOptional(v.string()),
});

const journey = v.object({
  stream: v.string(),
  seq,
  delivery: v.string(),
  topic: v.exactOptional(v.string()),
  bytes: v.exactOptional(count),
  at: v.object({
    drained: v.exactOptional(v.number()),
    queued: v.exactOptional(v.number()),
    published: v.exactOptional(v.number()),
    received: v.exactOptional(v.number()),
    accepted: v.exactOptional(v.number()),
  }),
  published: count,
});

export const eventsAnswer = v.object({
  events: v.array(v.object({ held: v.exactOptional(heldEvent), journey: v.exactOptional(journey) })),
}) satisfies v.GenericSchema<unknown, { events: ShownEvent[] }>;

/** `events`: of how many it was so. `unknown`: ids that name nothing here. */
export const countAnswer = v.object({ events: count, unknown: v.exactOptional(v.array(v.string())) });

export const errorAnswer = v.object({
  error: v.object({
    code: v.pipe(v.string(), v.regex(/^[A-Z0-9_]{2,64}$/)),
    message: v.string(),
    hint: v.exactOptional(v.string()),
  }),
});

const counts = v.object({
  waiting: count,
  "in hand": count,
  delayed: count,
  received: count,
  dead: count,
});

export const statusAnswer = v.object({
  at: v.number(),
  startedAt: v.number(),
  healthy: v.boolean(),
  reasons: v.array(v.string()),
  attention: v.array(v.string()),
  hops: v.array(
    v.object({
      hop: v.picklist(["edge", "router", "builder"]),
      stream: v.exactOptional(v.string()),
      receipts: v.exactOptional(v.boolean()),
      up: v.boolean(),
      since: v.number(),
      lastEventAt: v.exactOptional(v.number()),
    }),
  ),
  queue: v.exactOptional(v.object({ counts, oldestAt: v.exactOptional(v.number()) })),
  oldestAt: v.exactOptional(v.number()),
  acceptedAt: v.exactOptional(v.number()),
  canaries: v.array(
    v.object({
      stream: v.string(),
      at: v.exactOptional(v.number()),
      ms: v.exactOptional(v.number()),
      lostAt: v.exactOptional(v.number()),
      where: v.exactOptional(v.string()),
    }),
  ),
  lastError: v.exactOptional(
    v.object({
      at: v.number(),
      code: v.string(),
      message: v.string(),
      hint: v.exactOptional(v.string()),
      to: v.exactOptional(v.string()),
      stream: v.exactOptional(v.string()),
      overAt: v.exactOptional(v.number()),
    }),
  ),
}) satisfies v.GenericSchema<unknown, Status>;
