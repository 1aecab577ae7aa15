/**
 * What the parts of a run say, line by line: passes the contract's events on, keeps the last error of each
 * part, and tells when something has become true.
 */
import * as v from "valibot";
import type { Output } from "../output.ts";

/** Events that go out as the part said them, and the part whose word counts for each. */
const FORWARDED: Readonly<Record<string, string>> = {
  received: "worker",
  stored: "worker",
  done: "worker",
  drained: "relay",
  published: "relay",
  opened: "builder",
  built: "builder",
};

const partEvent = v.looseObject({ event: v.string(), at: v.number() });

export type PartEvent = Readonly<v.InferOutput<typeof partEvent>>;
export type Said = (part: string, event: PartEvent) => boolean;

export interface Watch {
  /** A line of a part's standard output. What is not a JSON object with `event` is only in the part's log. */
  line(part: string, line: string): void;
  /** Resolves with the first event, from now on or before, for which `said` is true. */
  until(said: Said): Promise<PartEvent>;
  /** Whether errors of parts go out at once: not while the run starts or ends, when parts wait for others. */
  tellErrors(wanted: boolean): void;
  /** The last error that each part reported. */
  lastErrors(): { part: string; code: unknown; message: unknown; hint: unknown }[];
}

/** Events kept for an `until` that comes late: a start says far fewer. */
const KEPT = 500;

export function makeWatch(output: Output, onEvent: (event: PartEvent) => void): Watch {
  const kept: [string, PartEvent][] = [];
  const waiting = new Set<{ said: Said; resolve: (event: PartEvent) => void }>();
  const errors = new Map<string, PartEvent>();
  /** Connections whose errors were told, as `PART PEER`. */
  const troubled = new Set<string>();
  let errorsOut = false;

  function take(part: string, event: PartEvent): void {
    if (FORWARDED[event.event] === part) {
      output.forward(event);
      onEvent(event);
    } else if (event.event === "error") {
      errors.set(part, event);
      if (errorsOut) tell(part, event);
    } else if (event.event === "connected" && troubled.delete(linkOf(part, event)) && !output.json)
      output.say(`  ${part.padEnd(8)} connected to the ${String(event["to"])} again`);
    kept.push([part, event]);
    if (kept.length > KEPT) kept.shift();
    for (const waiter of waiting) {
      if (!waiter.said(part, event)) continue;
      waiting.delete(waiter);
      waiter.resolve(event);
    }
  }

  function tell(part: string, event: PartEvent): void {
    output.forward({ ...event, part });
    troubled.add(linkOf(part, event));
    if (!output.json)
      output.say(`  ${part.padEnd(8)} ${String(event["message"])} (${String(event["code"])})`);
  }

  return {
    line(part, line) {
      const event = parse(line);
      if (event) take(part, event);
    },
    until(said) {
      const before = kept.find(([part, event]) => said(part, event));
      if (before) return Promise.resolve(before[1]);
      return new Promise((resolve) => waiting.add({ said, resolve }));
    },
    tellErrors(wanted) {
      errorsOut = wanted;
    },
    lastErrors: () => [...errors].map(([part, { code, message, hint }]) => ({ part, code, message, hint })),
  };
}

/** A builder's errors need not say which peer they are about: it has one. */
function linkOf(part: string, { to = "router" }: PartEvent): string {
  return `${part} ${String(to)}`;
}

function parse(line: string): PartEvent | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return v.parse(partEvent, JSON.parse(line));
  } catch {
    return undefined;
  }
}
