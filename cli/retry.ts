import { countAnswer, EVENT_ID, RETRIED_STATES } from "../relay/control/messages.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type Command, EXIT } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";
import { stateOf } from "./list.ts";

export const retry: Command = {
  name: "retry",
  summary: "has a running relay try events again now",
  usage: `retry ID… | retry --state STATE

  The same bytes are published again: a builder that has an event already does not run it again.
  ID is STREAM-SEQ or the GUID of a delivery. Exits 1 when an ID is not held by the relay.`,
  takesWords: true,
  options: {
    state: { type: "string", value: "STATE", help: `all that are ${RETRIED_STATES.join(", or ")}` },
    ...RELAY_OPTIONS,
  },
  async run(call) {
    const ids = call.positionals;
    const { state } = stateOf(call, RETRIED_STATES);
    if (ids.length > 0 === (state !== undefined)) {
      throw new OnionhookError("ERR_USAGE", "either IDs or --state was expected", {
        hint: "retry --state dead tries every dead letter again",
      });
    }
    const wrong = ids.find((id) => !EVENT_ID.test(id));
    if (wrong !== undefined) {
      throw new OnionhookError("ERR_USAGE", `${JSON.stringify(wrong)} is no ID`, {
        hint: "STREAM-SEQ, as onionhook list has it, or a delivery's GUID",
      });
    }
    const wish = state === undefined ? { ids } : { state };
    const answer = await makeControlClient(call).post("/retry", wish, countAnswer);
    const { events, unknown = [] } = answer;
    call.output.result(
      answer,
      `${events === 1 ? "1 event is" : `${events} events are`} tried again`,
      ...unknown.map((id) => `${id} is not held by this relay: onionhook replay asks the edge for it`),
    );
    return unknown.length > 0 ? EXIT.failed : EXIT.ok;
  },
};
