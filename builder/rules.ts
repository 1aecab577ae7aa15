import { decodeUtf8 } from "../shared/bytes.ts";
import type { OpenedEvent } from "../shared/event.ts";
import { TOPIC_PREFIX } from "../shared/topic.ts";

/** Which events lead to which commands. */
export interface Rule {
  name: string;
  /** GitHub's event name, e.g. `push`. */
  event: string;
  /** `owner/name`; every repository when left out. */
  repository?: string | undefined;
  /** e.g. `refs/heads/main`; every ref when left out. */
  ref?: string | undefined;
  /** Commands as argument lists, run in order until one fails. Never a shell. */
  run: readonly (readonly string[])[];
  /** Where the commands run, absolute. */
  directory: string;
  timeoutMs: number;
}

/** What rules and commands may know of a payload without reading the whole of it. */
export interface Subject {
  event: string;
  repository: string | undefined;
  ref: string | undefined;
  /** The commit that the ref points to now. */
  sha: string | undefined;
}

/** @param topic names the event: the body does not. */
export function subjectOf({ topic, rawBody }: Pick<OpenedEvent, "topic" | "rawBody">): Subject {
  const body: unknown = JSON.parse(decodeUtf8(rawBody));
  return {
    event: topic.slice(TOPIC_PREFIX.length),
    repository: textAt(body, "repository", "full_name"),
    ref: textAt(body, "ref"),
    sha: textAt(body, "after"),
  };
}

/** The names of the rules that an event leads to. */
export function rulesFor(event: Pick<OpenedEvent, "topic" | "rawBody">, rules: readonly Rule[]): string[] {
  const ofEvent = rules.filter((rule) => TOPIC_PREFIX + rule.event === event.topic);
  if (ofEvent.length === 0) return [];
  const subject = subjectOf(event);
  return ofEvent.filter((rule) => matches(rule, subject)).map(({ name }) => name);
}

function matches(rule: Rule, subject: Subject): boolean {
  return (
    (rule.repository === undefined || rule.repository === subject.repository) &&
    (rule.ref === undefined || rule.ref === subject.ref)
  );
}

function textAt(value: unknown, ...path: string[]): string | undefined {
  let at = value;
  for (const key of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = Object.entries(at).find(([name]) => name === key)?.[1];
  }
  return typeof at === "string" ? at : undefined;
}
