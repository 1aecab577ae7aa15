/**
 * Whether the relay is healthy. Health is about events, not about sockets. It is bad when
 *
 * - an event is undone for longer than {@link FLOW_MS}, and none was accepted in that time;
 * - a hop is down for longer than {@link FLOW_MS} (the builder: where builders give receipts);
 * - the last canary was lost, and nothing of its stream was accepted since;
 * - the queue's store is away.
 *
 * Dead letters do not make it bad: everything else flows, and a person must look at them anyway. They are told as
 * something that wants `attention`.
 */
import type { Facts, HopStatus } from "./status.ts";

/** Milliseconds: a new circuit through Tor takes seconds, a router's start half a minute. */
export const FLOW_MS = 120_000;

/** How the relay is, and what that is worth. */
export interface Status extends Facts {
  readonly healthy: boolean;
  /** Why it is not healthy, as sentences. */
  readonly reasons: readonly string[];
  /** What somebody should look at, healthy or not, as sentences. */
  readonly attention: readonly string[];
}

export function judge(facts: Facts): Status {
  const reasons = reasonsOf(facts);
  return { ...facts, healthy: reasons.length === 0, reasons, attention: attentionOf(facts) };
}

function reasonsOf(facts: Facts): string[] {
  const { at, hops, queue, canaries } = facts;
  const reasons = stuck(facts);
  const wantsBuilder = hops.some(({ hop, receipts }) => hop === "edge" && receipts !== false);
  for (const hop of hops)
    if (!hop.up && at - hop.since > FLOW_MS && (hop.hop !== "builder" || wantsBuilder))
      reasons.push(`${absence(hop)} for ${span(at - hop.since)}`);
  for (const { stream, lostAt, where } of canaries)
    if (lostAt !== undefined)
      reasons.push(
        `the test event of ${span(at - lostAt)} ago on the stream ${stream} did not come back; the last that was seen of it: ${where}`,
      );
  if (!queue) reasons.push("the queue's store is away");
  return reasons;
}

function stuck({ at, startedAt, oldestAt, acceptedAt }: Facts): string[] {
  // What was waiting when the relay began has as long to pass as anything else.
  const flowedAt = Math.max(acceptedAt ?? startedAt, oldestAt ?? at);
  if (oldestAt === undefined || at - flowedAt <= FLOW_MS) return [];
  const last =
    acceptedAt === undefined
      ? `none was done since the relay began, ${span(at - startedAt)} ago`
      : `the last one was done ${span(at - acceptedAt)} ago`;
  return [`events do not flow: the oldest has waited for ${span(at - oldestAt)}, and ${last}`];
}

function absence({ hop, stream }: HopStatus): string {
  if (hop === "builder") return "no builder has been there";
  if (hop === "router") return "the router has not been reached";
  return stream === undefined
    ? "the edge has not been reached"
    : `the drain of the stream ${stream} has been down`;
}

/** What a person should look at all the same. */
function attentionOf({ at, hops, queue }: Facts): string[] {
  const sentences = hops
    .filter((hop) => !hop.up && at - hop.since <= FLOW_MS)
    .map(
      (hop) => `${absence(hop)} for ${span(at - hop.since)}; from ${span(FLOW_MS)} on that is not healthy`,
    );
  const dead = queue?.counts.dead ?? 0;
  if (dead > 0) {
    const [are, them] =
      dead === 1 ? ["1 event is a dead letter", "it"] : [`${dead} events are dead letters`, "them"];
    sentences.push(`${are}: list --state dead shows why; retry --state dead tries ${them} again`);
  }
  return sentences;
}

/** A length of time for people: its largest unit only. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (const [size, unit] of UNITS)
    if (seconds >= 2 * size || size === 1) return `${Math.floor(seconds / size)} ${unit}`;
  return "";
}

/** Seconds of each; two of a unit are enough to name it. */
const UNITS = [
  [86_400, "days"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
] as const;
