import { createRequire } from "node:module";
import * as v from "valibot";
import { encodeUtf8 } from "../shared/bytes.ts";
import { OnionhookError } from "../shared/errors.ts";

const INDEX = "@octokit/webhooks-examples/api.github.com/index.json";

const index = v.array(v.object({ name: v.string(), examples: v.array(v.looseObject({})) }));

/**
 * GitHub's own first example of an event's payload, with one more member, `sent_at`: the edge takes the
 * same body for a duplicate, under whatever id it comes.
 * @throws OnionhookError `ERR_NO_EXAMPLE`
 */
export function examplePayload(event: string): Uint8Array {
  const events = v.parse(index, createRequire(import.meta.url)(INDEX));
  const example = events.find(({ name }) => name === event)?.examples[0];
  if (example === undefined) {
    throw new OnionhookError("ERR_NO_EXAMPLE", `there is no example of the event ${event}`, {
      hint: "name a payload with --file FILE, or one of GitHub's events, for example push, issues or release",
    });
  }
  return encodeUtf8(JSON.stringify({ ...example, sent_at: new Date().toISOString() }));
}
