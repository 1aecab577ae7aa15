import { createInterface } from "node:readline";
import * as v from "valibot";
import { keyOf } from "../relay/journeys.ts";
import { errnoCode, OnionhookError } from "../shared/errors.ts";
import { type Command, EXIT } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";

export const watch: Command = {
  name: "watch",
  summary: "what a running relay does, as it happens; ctrl-c ends it",
  usage: "watch [--config FILE | --socket PATH]",
  options: RELAY_OPTIONS,
  async run(call) {
    const stop = new AbortController();
    const end = () => stop.abort();
    process.once("SIGINT", end).once("SIGTERM", end);
    // Who reads this may have enough before we have: head, grep -m.
    process.stdout.once("error", end);
    try {
      const answer = await makeControlClient(call).stream("/watch", stop.signal);
      for await (const line of createInterface({ input: answer })) {
        const report = v.parse(reportLine, JSON.parse(line));
        if (report.event === "too_slow") throw new OnionhookError("ERR_TOO_SLOW", TOO_SLOW);
        if (call.output.json) call.output.forward(report);
        else call.output.say(lineOf(report));
      }
    } catch (error) {
      // A relay that ends cuts this off.
      if (!stop.signal.aborted && errnoCode(error) !== "ECONNRESET") throw error;
    } finally {
      process.off("SIGINT", end).off("SIGTERM", end);
    }
    if (stop.signal.aborted) return EXIT.ok;
    throw new OnionhookError("ERR_RELAY_ENDED", "the relay ended", {
      hint: "onionhook status says how it is",
    });
  },
};

const TOO_SLOW = "what reads this is too slow: the relay did not wait for it";

const reportLine = v.looseObject({ event: v.string(), at: v.number() });

/** `TIME EVENT STREAM-SEQ DELIVERY` and the rest. */
function lineOf({ event, at, ...fields }: v.InferOutput<typeof reportLine>): string {
  const { stream, seq, delivery, ...others } = fields;
  const named = typeof stream === "string" && typeof seq === "number";
  const about = named ? [keyOf({ stream, seq })] : [];
  const whose = typeof delivery === "string" ? [delivery] : [];
  const rest = { ...(!named && stream !== undefined && { stream }), ...others };
  // Quoted: a peer's words must not look like a line of ours.
  const more = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [new Date(at).toISOString(), event.padEnd(9), ...about, ...whose, ...more].join(" ").trimEnd();
}
