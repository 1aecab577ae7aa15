/** What a recipient wants, on which of its streams, and under which of its keys. */
import type { BodyFacts } from "../shared/body-facts.ts";
import { fnv1a } from "../shared/fnv1a.ts";
import { type EdgeConfig, MAX_STREAMS, type Recipient } from "./config.ts";

/** Whether `repository` (`owner/name`) is one of `patterns`: itself, or `owner/*`. */
export function matchesRepository(patterns: readonly string[], repository: string | undefined): boolean {
  if (repository === undefined) return false;
  const [owner, name, ...more] = repository.toLowerCase().split("/");
  if (!owner || !name || more.length > 0) return false;
  return patterns.includes(`${owner}/${name}`) || patterns.includes(`${owner}/*`);
}

/** Whether the recipient gets this event: its filters let it through, and there is a key to seal it with. */
export function wants(
  recipient: Recipient,
  { event, topic, facts }: { event: string; topic: string; facts: BodyFacts },
): boolean {
  const { events, repositories } = recipient;
  if (events && !events.includes(event)) return false;
  if (repositories && !matchesRepository(repositories, facts.repository)) return false;
  return keysFor(recipient, topic).length > 0;
}

/** The keys for a topic: those of the longest prefix, as Autobahn's KeyRing has it. None, and it is not sealed. */
export function keysFor({ keys }: Recipient, topic: string): readonly Uint8Array[] {
  const prefixes = [...keys.keys()].filter((prefix) => topic.startsWith(prefix));
  const longest = prefixes.toSorted((a, b) => b.length - a.length)[0];
  return (longest !== undefined && keys.get(longest)) || [];
}

/**
 * The stream of an event: the same one for all of a repository, so that its order is kept. The first is
 * named like the recipient, further ones `NAME-2`, `NAME-3`, …: adding streams leaves the first in place.
 */
export function streamFor({ name, streams }: Recipient, { repositoryId, repository }: BodyFacts): string {
  return streamName(name, fnv1a(repositoryId ?? repository ?? "") % streams);
}

function streamName(recipient: string, index: number): string {
  return index === 0 ? recipient : `${recipient}-${index + 1}`;
}

/** Whose stream this is. One that is not in use any more can still be drained. */
export function recipientOf({ recipients }: EdgeConfig, stream: string): Recipient | undefined {
  const [, name = stream, number = "1"] = /^(.+)-([2-9]|[1-9]\d+)$/.exec(stream) ?? [];
  return Number(number) <= MAX_STREAMS ? recipients.get(name) : undefined;
}

/** The only stream that there is, for relays which do not name one. */
export function onlyStream({ recipients }: EdgeConfig): string | undefined {
  const [only, another] = recipients.values();
  return only && !another && only.streams === 1 ? only.name : undefined;
}
