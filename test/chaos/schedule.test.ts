import { describe, expect, it } from "vitest";
import { type Fault, makeSchedule, queueOf, type ScheduleOptions } from "./schedule.ts";

const OPTIONS: ScheduleOptions = { deliveries: 2000, tor: true, queue: "redis" };
const SEEDS = Array.from({ length: 40 }, (_, seed) => seed);

function faultsOf(options: ScheduleOptions): Fault[] {
  return SEEDS.flatMap((seed) =>
    makeSchedule(seed, options).flatMap(({ faults }) => faults.map(({ fault }) => fault)),
  );
}

describe("the schedule of faults", () => {
  it("is the same for the same seed, and another for another", () => {
    expect(makeSchedule(7, OPTIONS)).toEqual(makeSchedule(7, OPTIONS));
    expect(makeSchedule(7, OPTIONS)).not.toEqual(makeSchedule(8, OPTIONS));
  });

  it("has every kind of fault, and every victim", () => {
    const faults = faultsOf(OPTIONS);
    expect(new Set(faults.map(({ kind }) => kind))).toEqual(
      new Set(["kill", "stop", "redeploy", "cut", "clock", "disk"]),
    );
    const victims = new Set(faults.filter(({ kind }) => kind === "kill").map(({ victim }) => victim));
    expect([...victims].toSorted((a, b) => a.localeCompare(b))).toEqual([
      "builder",
      "redis",
      "relay",
      "router",
      "tor:authority",
      "tor:builder-client",
      "tor:relay-client",
      "tor:relay1",
      "tor:relay2",
      "tor:relay3",
      "tor:relay4",
      "tor:service",
      "worker",
    ]);
  });

  it("has clocks go forth and back, by minutes and by hours", () => {
    const jumps = faultsOf(OPTIONS).flatMap((fault) => (fault.kind === "clock" ? [fault.byS] : []));
    expect(Math.min(...jumps)).toBeLessThan(-3600);
    expect(Math.max(...jumps)).toBeGreaterThan(3600);
    expect(jumps.some((byS) => Math.abs(byS) < 3600)).toBe(true);
  });

  it("leaves out what is not there", () => {
    const victims = faultsOf({ ...OPTIONS, tor: false, queue: "embedded" }).map(({ victim }) => victim);
    expect(victims.filter((victim) => victim.startsWith("tor:") || victim === "redis")).toEqual([]);
  });

  it("stops the authority for less than a vote takes", () => {
    const stops = faultsOf(OPTIONS).filter(
      ({ kind, victim }) => kind === "stop" && victim === "tor:authority",
    );
    expect(stops.length).toBeGreaterThan(0);
    expect(Math.max(...stops.map(({ forMs }) => forMs))).toBeLessThanOrEqual(4000);
  });

  it("has strikes of overlapping faults, in order, and none at the end of a run", () => {
    for (const seed of SEEDS) {
      const strikes = makeSchedule(seed, OPTIONS);
      const begins = strikes.map(({ afterTaken }) => afterTaken);
      expect(begins).toEqual(begins.toSorted((a, b) => a - b));
      expect(begins.at(-1)).toBeLessThanOrEqual(1800);
      expect(strikes.some(({ faults }) => faults.length > 1)).toBe(true);
    }
  });

  it("takes either store for the queue", () => {
    expect(new Set(SEEDS.map(queueOf))).toEqual(new Set(["embedded", "redis"]));
  });
});
