/** How long a relay goes on to look for a circuit of Tor's whose exit the front door lets in. */
import type { Pauses } from "../../shared/host/backoff.ts";

export interface CircuitPauses {
  /** While other circuits are tried. */
  another: Pauses;
  /** Once {@link MOST_CIRCUITS} were tried in vain. */
  slow: Pauses;
}

/** Circuits that are left in a row at the quick pace. Some exits are flagged and others are not; after this many
 *  it is the rule at the front door that is missing. */
export const MOST_CIRCUITS = 8;

export const CIRCUIT_PAUSES: CircuitPauses = {
  // A new circuit takes Tor a second or two. All together are some 16 s on average.
  another: { firstMs: 250, capMs: 30_000 },
  // Minutes: what hammers a front door makes its exits worse for everybody.
  slow: { firstMs: 300_000, capMs: 300_000 },
};

/** How one drain's tries go that ended at the front door. */
export interface Search {
  /** The circuit was in vain: the pauses to go on by, and whether that is worth a report. */
  vain(code: string): { pauses: Pauses; report: boolean };
  /** The front door opened: the search is over. */
  found(): void;
}

/** A challenge is reported once a search, when {@link MOST_CIRCUITS} did not help; everything else always. */
export function startSearch(pauses: CircuitPauses): Search {
  let left = 0;
  let reported = false;
  return {
    vain(code) {
      left += 1;
      const slow = left >= MOST_CIRCUITS;
      const challenged = code === "ERR_EDGE_CHALLENGED";
      const report = !challenged || (slow && !reported);
      if (challenged && report) reported = true;
      return { pauses: slow ? pauses.slow : pauses.another, report };
    },
    found() {
      left = 0;
      reported = false;
    },
  };
}
