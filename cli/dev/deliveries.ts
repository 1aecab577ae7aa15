/** A line for each delivery that has gone through, for people who look on. */
import { keyOf } from "../../relay/journeys.ts";
import type { PartEvent } from "./watch.ts";

interface Passing {
  /** The first that was seen of it, and when: `received`, or `drained` when it is sent once more. */
  readonly from: PartEvent;
  /** GitHub's name of the event and `STREAM-SEQ`, as far as they are known. */
  about: string;
  /** How many there will be, as soon as the builder has opened it. */
  builds: number;
  readonly built: string[];
}

/** Deliveries under way that get their line, the last that began: those of a busy hour. Some never end. */
const MOST = 1000;

/** Takes note of the events of all parts; those of deliveries that began before are told by their builds alone. */
export function makeDeliveries(say: (line: string) => void): { note(event: PartEvent): void } {
  const passing = new Map<string, Passing>();

  function end(delivery: string, step: string, at: number, { from, about }: Passing, what: string): void {
    passing.delete(delivery);
    const way = from.event === step ? "" : `${from.event} → ${step} ${span(at - from.at)}   `;
    say(`${step.padEnd(9)} ${about} ${delivery.slice(0, 8)}…   ${way}${what}`);
  }

  return {
    note(event) {
      const { event: step, at, delivery, topic, rules, rule, exit } = event;
      if (typeof delivery !== "string") return;
      const one = passing.get(delivery) ?? { from: event, about: aboutOf(event), builds: 1, built: [] };
      if (topic !== undefined) one.about = aboutOf(event);
      if (step === "received" || step === "drained") {
        passing.set(delivery, one);
        const [oldest] = passing.keys();
        if (oldest !== undefined && passing.size > MOST) passing.delete(oldest);
      } else if (step === "stored" && event["duplicate"] === true) {
        end(delivery, step, at, one, "duplicate: this body is stored already");
      } else if (step === "opened") {
        one.builds = Number(rules);
        if (one.builds === 0) end(delivery, step, at, one, "no rule is for it");
      } else if (step === "built") {
        one.built.push(`${String(rule)} exit ${String(exit)}`);
        if (one.built.length >= one.builds) end(delivery, step, at, one, one.built.join(", "));
      }
    },
  };
}

function aboutOf({ topic, stream, seq }: PartEvent): string {
  const name = typeof topic === "string" ? [topic.replace("webhook.github.", "")] : [];
  const place = typeof stream === "string" && typeof seq === "number" ? [keyOf({ stream, seq })] : [];
  return [...name, ...place].join(" ");
}

function span(ms: number): string {
  return ms < 1000 ? `${Math.max(0, ms).toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
