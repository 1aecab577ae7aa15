/** What is left of a run that went wrong: for people now, and as files for whoever looks into it. */
import { cpSync, existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Told } from "./chronicle.ts";
import type { Outcome } from "./inflict.ts";
import type { Fault } from "./schedule.ts";

export interface Inflicted {
  /** When it began; milliseconds since 1970. */
  at: number;
  fault: Fault;
  outcome: Outcome;
}

const SHOWN_DELIVERIES = 4;
const SHOWN_EVENTS = 12;

/** The last of what was said about some deliveries, and the last error of each part. */
export function describeTrouble(deliveries: readonly string[], told: readonly Told[]): string[] {
  const lines = deliveries.slice(0, SHOWN_DELIVERIES).flatMap((delivery) => {
    const about = told.filter(({ event }) => event["delivery"] === delivery).slice(-SHOWN_EVENTS);
    return [`  ${delivery}`, ...about.map(({ event }) => `    ${JSON.stringify(event)}`)];
  });
  const more = deliveries.length - SHOWN_DELIVERIES;
  const errors = new Map<unknown, string>();
  for (const { event } of told) {
    if (event.event === "error") errors.set(event["part"], `    ${JSON.stringify(event)}`);
  }
  return [
    ...lines,
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...(errors.size > 0 ? ["  last errors:", ...errors.values()] : []),
  ];
}

/** Copies journal, logs, events and faults to a folder of their own, and returns it. */
export function keepEvidence(
  seed: number,
  dataDir: string,
  told: readonly Told[],
  inflicted: readonly Inflicted[],
): string {
  const kept = mkdtempSync(join(tmpdir(), `chaos-${seed}-`));
  const lines = (items: readonly unknown[]) => items.map((item) => `${JSON.stringify(item)}\n`).join("");
  writeFileSync(join(kept, "events.jsonl"), lines(told.map(({ event }) => event)));
  writeFileSync(join(kept, "faults.jsonl"), lines(inflicted));
  for (const name of ["logs", "builder", "relay", "edge"]) {
    const from = join(dataDir, name);
    if (existsSync(from)) cpSync(from, join(kept, name), { recursive: true });
  }
  return kept;
}
