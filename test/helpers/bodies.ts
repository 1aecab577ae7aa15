/** Webhook bodies for tests: GitHub's own examples, and those at which something changes. */
import { createRequire } from "node:module";
import { encodeUtf8 } from "../../shared/bytes.ts";

export interface Body {
  event: string;
  bytes: Uint8Array;
}

const index = createRequire(import.meta.url)("@octokit/webhooks-examples/api.github.com/index.json") as {
  name: string;
  examples: unknown[];
}[];

/** GitHub's 329 examples. Five are there twice: under another GUID that is a duplicate, and no event. */
export const examples: readonly Body[] = [
  ...new Map(
    index.flatMap(({ name, examples: payloads }) =>
      payloads.map((payload) => [JSON.stringify(payload), name] as const),
    ),
  ),
].map(([body, event]) => ({ event, bytes: encodeUtf8(body) }));

/** A push of exactly this size, mostly not ASCII. */
export function paddedPush(bytes: number): Body {
  const empty = JSON.stringify({ ref: "refs/heads/main", padding: "" });
  const missing = bytes - empty.length;
  const padding = "é".repeat(missing >> 1) + "x".repeat(missing % 2);
  return { event: "push", bytes: encodeUtf8(empty.replace('""', `"${padding}"`)) };
}
