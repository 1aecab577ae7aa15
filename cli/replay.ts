import { createInterface } from "node:readline/promises";
import { countAnswer, type ReplayRequest } from "../relay/control/messages.ts";
import { DELIVERY_ID, NAME } from "../shared/delivery.ts";
import { OnionhookError } from "../shared/errors.ts";
import { type Call, type Command, EXIT, text } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";
import { parseMoment } from "./moment.ts";

export const replay: Command = {
  name: "replay",
  summary: "has events that the edge keeps sent once more",
  usage: `replay (--delivery GUID | --stream S --from N --to M | --since T [--until T]) [--missed] [--yes]

  The edge stores the events anew, under new numbers, and they run AGAIN: that is asked about first.
  With --missed the same bytes are sent: what the builder has it does not run again.`,
  options: {
    delivery: { type: "string", value: "GUID", help: "one delivery, as GitHub names it" },
    stream: { type: "string", value: "NAME", help: "one stream; all of this relay's when left out" },
    from: { type: "string", value: "N", help: "the first number of the stream" },
    to: { type: "string", value: "M", help: "the last number of the stream" },
    since: { type: "string", value: "T", help: "30m, 2h, 7d (that long ago) or an ISO time" },
    until: { type: "string", value: "T", help: "the same; now when left out" },
    missed: { type: "boolean", help: "only what the builder does not have" },
    yes: { type: "boolean", help: "do not ask" },
    ...RELAY_OPTIONS,
  },
  async run(call) {
    const wish = wishOf(call, Date.now());
    const client = makeControlClient(call);
    if (wish.how === "again" && call.options["yes"] !== true) await confirm();
    const answer = await client.post("/replay", wish, countAnswer);
    const events = answer.events === 1 ? "1 event" : `${answer.events} events`;
    const what =
      wish.how === "again" ? "stored anew, to run again" : "sent again, to run where it was missed";
    call.output.result(answer, answer.events === 0 ? "the edge keeps no such event" : `${events}: ${what}`);
    return EXIT.ok;
  },
};

/** Which option names a selection, and which must come with it. */
const SELECTIONS = [
  { by: "delivery", needs: [] },
  { by: "from", needs: ["to", "stream"] },
  { by: "to", needs: ["from", "stream"] },
  { by: "since", needs: [] },
  { by: "until", needs: ["since"] },
] as const;

function wishOf(call: Call, now: number): ReplayRequest {
  const given = SELECTIONS.filter(({ by }) => text(call, by) !== undefined);
  if (given.length === 0)
    throw wrong("which events?", "--delivery GUID, --stream S --from N --to M, or --since T");
  for (const { by, needs } of given)
    for (const need of needs)
      if (text(call, need) === undefined) throw wrong(`--${need} is missing, which --${by} needs`, WAYS);
  const ways = new Set(given.map(({ by }) => (by === "to" ? "from" : by === "until" ? "since" : by)));
  if (ways.size > 1) throw wrong(`--${[...ways].join(" and --")} exclude each other`, WAYS);
  const moment = (option: string) => {
    const value = text(call, option);
    return value === undefined ? undefined : parseMoment(value, option, now).toISOString();
  };
  const wish = {
    how: call.options["missed"] === true ? ("missed" as const) : ("again" as const),
    stream: matching(call, "stream", NAME, "a stream's name, as onionhook status has it"),
    delivery: matching(call, "delivery", DELIVERY_ID, "the GUID, as onionhook list and GitHub have it"),
    from: seqOf(call, "from"),
    to: seqOf(call, "to"),
    since: moment("since"),
    until: moment("until"),
  };
  if ((wish.from ?? 0) > (wish.to ?? Infinity)) throw wrong("--from is above --to", WAYS);
  if (wish.since !== undefined && wish.since > (wish.until ?? "9"))
    throw wrong("--since is after --until", WAYS);
  return wish;
}

const WAYS = "one of: --delivery GUID; --stream S --from N --to M; --since T [--until T]";

function matching(call: Call, option: string, form: RegExp, expected: string): string | undefined {
  const value = text(call, option);
  if (value === undefined || form.test(value)) return value;
  throw wrong(`--${option} ${JSON.stringify(value)} is none`, expected);
}

function seqOf(call: Call, option: string): number | undefined {
  const value = text(call, option);
  if (value === undefined) return undefined;
  const seq = Number(value);
  if (/^\d+$/.test(value) && Number.isSafeInteger(seq) && seq > 0) return seq;
  throw wrong(
    `--${option} ${JSON.stringify(value)} is no number of an event`,
    "1 or more, as onionhook list has it",
  );
}

/** @throws OnionhookError `ERR_USAGE` unless a person says yes. */
async function confirm(): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw wrong(
      "commands would run again: that needs --yes",
      "or --missed, for only what the builder does not have",
    );
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question("The rules' commands run AGAIN for these events. Go on? [y/N] ");
    if (!/^y(?:es)?$/i.test(answer.trim())) throw wrong("nothing was done", "answer y, or give --yes");
  } finally {
    terminal.close();
  }
}

function wrong(message: string, hint: string): OnionhookError {
  return new OnionhookError("ERR_USAGE", message, { hint });
}
