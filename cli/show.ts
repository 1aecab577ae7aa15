import { eventsAnswer, type ShownEvent } from "../relay/control/messages.ts";
import { type Journey, keyOf, STEPS } from "../relay/journeys.ts";
import { span } from "../relay/health.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type Call, type Command, EXIT, refuseWords } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";
import { flat, note } from "./list.ts";
import { when } from "./moment.ts";
import { table } from "./table.ts";

export const show: Command = {
  name: "show",
  summary: "what a running relay knows of one event",
  usage: `show ID

  ID is STREAM-SEQ, as list has it, or the GUID of a delivery, as GitHub has it.`,
  takesWords: true,
  options: RELAY_OPTIONS,
  async run(call) {
    const id = idOf(call);
    const { events } = await makeControlClient(call).get(`/events/${id}`, eventsAnswer);
    const now = Date.now();
    for (const event of events) call.output.result(flat(event), ...table(rows(event, now)));
    return EXIT.ok;
  },
};

function idOf({ positionals: [id, ...more] }: Call): string {
  refuseWords(more);
  if (id !== undefined) return encodeURIComponent(id);
  throw new OnionhookError("ERR_USAGE", "ID is missing: which event?", {
    hint: "STREAM-SEQ, as onionhook list has it, or a delivery's GUID",
  });
}

function rows(event: ShownEvent, now: number): string[][] {
  const { held, journey } = event;
  const known = held ?? journey;
  if (!known) return [];
  const shown = [
    ["event", keyOf(known)],
    ["delivery", known.delivery],
    ["topic", known.topic ?? "unknown"],
    ["bytes", String(known.bytes ?? "unknown")],
    ["state", String(flat(event)["state"])],
  ];
  if (held) {
    const { tries, addedAt } = held;
    shown.push(["in the queue", when(addedAt, now)]);
    shown.push(["tries", `${tries.started} started, ${tries.spent} spent`]);
    const next = note(held, now);
    if (next !== "") shown.push([held.state === "dead" ? "reason" : "next", next]);
  }
  return [...shown, ...stepRows(journey?.at ?? {}, now)];
}

/** The first step with its time, the others by how much later they were. */
function stepRows(at: Journey["at"], now: number): string[][] {
  const taken = STEPS.flatMap((step) => {
    const time = at[step];
    return time === undefined ? [] : [{ step, time }];
  }).toSorted((a, b) => a.time - b.time);
  const first = taken[0]?.time ?? now;
  return taken.map(({ step, time }, index) => {
    const later = time - first;
    return [step, index === 0 ? when(time, now) : `${later < 2000 ? `${later} ms` : span(later)} later`];
  });
}
