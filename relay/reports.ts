import type { Report } from "../shared/report.ts";

/** One report, and everybody who wants to hear it. */
export interface Reports {
  readonly report: Report;
  /** From now on; returns how to stop it. */
  subscribe(listener: Report): () => void;
}

export function makeReports(out: Report): Reports {
  const listeners = new Set<Report>([out]);
  return {
    report(event, fields) {
      for (const listener of listeners) listener(event, fields);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
