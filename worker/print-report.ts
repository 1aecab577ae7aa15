import type { Report } from "../shared/report.ts";

/** A Worker's log is its standard output: one JSON object a line, also under `wrangler tail`. */
export const printReport: Report = (event, fields) => {
  console.log(JSON.stringify({ event, at: Date.now(), ...fields }));
};
