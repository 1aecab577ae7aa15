import * as v from "valibot";
import { eventsAnswer, LISTED_STATES, MAX_LISTED, type ShownEvent } from "../relay/control/messages.ts";
import { keyOf } from "../relay/journeys.ts";
import type { HeldEvent } from "../relay/queue/queue.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type Call, type Command, EXIT, required, text } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";
import { when } from "./moment.ts";
import { table } from "./table.ts";

export const list: Command = {
  name: "list",
  summary: "the events that a running relay holds, the oldest first",
  usage: `list [--state STATE] [--limit N]

  Without --state: all that are held, that is, not done. done: of the last 1,000 that passed, the latest first.`,
  options: {
    state: { type: "string", value: "STATE", help: LISTED_STATES.join(", ") },
    limit: { type: "string", value: "N", help: `how many, at most ${MAX_LISTED}`, default: "100" },
    ...RELAY_OPTIONS,
  },
  async run(call) {
    const query = new URLSearchParams({ limit: String(limitOf(call)), ...stateOf(call, LISTED_STATES) });
    const { events } = await makeControlClient(call).get(`/events?${query.toString()}`, eventsAnswer);
    const now = Date.now();
    if (call.output.json) for (const event of events) call.output.result(flat(event));
    else for (const line of listLines(events, limitOf(call), now)) call.output.say(line);
    return EXIT.ok;
  },
};

/**
 * `--state`, if it was given; `in-hand` is as good as `"in hand"`.
 * @throws OnionhookError `ERR_USAGE`
 */
export function stateOf<const State extends string>(call: Call, states: readonly State[]): { state?: State } {
  const given = text(call, "state")?.replace("-", " ");
  if (given === undefined) return {};
  const parsed = v.safeParse(v.picklist(states), given);
  if (parsed.success) return { state: parsed.output };
  throw new OnionhookError("ERR_USAGE", `--state ${JSON.stringify(given)} is no state`, {
    hint: `one of: ${states.join(", ")}`,
  });
}

function limitOf(call: Call): number {
  const given = required(call, "limit");
  const limit = Number(given);
  if (/^\d+$/.test(given) && limit >= 1 && limit <= MAX_LISTED) return limit;
  throw new OnionhookError("ERR_USAGE", `--limit ${given} is no number of events`, {
    hint: `1 to ${MAX_LISTED}`,
  });
}

/** One object of what is known of an event. */
export function flat({ held, journey }: ShownEvent): Readonly<Record<string, unknown>> {
  const isDone = journey?.at.accepted !== undefined;
  return { ...journey, ...(!held && { state: isDone ? "done" : "under way" }), ...held };
}

function listLines(events: readonly ShownEvent[], limit: number, now: number): string[] {
  if (events.length === 0) return ["no such event is here"];
  const rows = events.map((event) => row(event, now));
  const more = events.length < limit ? [] : [`the first ${limit}; --limit N shows more`];
  return [
    ...table([["EVENT", "STATE", "SINCE", "TRIES", "BYTES", "TOPIC", "DELIVERY", ""], ...rows]),
    ...more,
  ];
}

function row({ held, journey }: ShownEvent, now: number): string[] {
  if (held) {
    const { state, addedAt, tries, bytes, topic, delivery } = held;
    return [
      keyOf(held),
      state,
      when(addedAt, now),
      String(tries.started),
      String(bytes),
      topic,
      delivery,
      note(held, now),
    ];
  }
  if (!journey) return [];
  const { at, published, bytes = "", topic = "", delivery } = journey;
  const took =
    at.drained === undefined || at.accepted === undefined ? "" : `took ${at.accepted - at.drained} ms`;
  return [
    keyOf(journey),
    "done",
    when(at.accepted ?? now, now),
    String(published),
    String(bytes),
    topic,
    delivery,
    took,
  ];
}

/** What comes next, or why nothing does. */
export function note({ reason, dueAt }: HeldEvent, now: number): string {
  if (reason !== undefined) return reason;
  return dueAt === undefined ? "" : `again ${when(dueAt, now)}`;
}
