/** How a bench prints what it measured. */
import { type Flight, quantiles } from "./statistics.ts";

/** Of the longest words in front of figures. */
const WIDTH = 58;

export function line(what: string, figures: string): void {
  console.log(`  ${what.padEnd(WIDTH)} ${figures}`);
}

export function ratio(what: string, value: number, goal: string): void {
  line(what, `${value.toFixed(2)}   (goal ${goal})`);
}

/** By how many were in flight. */
export type Flights = ReadonlyMap<number, Flight>;

export function printFlights(what: string, flights: Flights): void {
  for (const [inFlight, { times, perSecond }] of flights) {
    line(`${what}, ${inFlight} in flight`, `${quantiles(times)}   ${perSecond.toFixed(0).padStart(6)}/s`);
  }
}
