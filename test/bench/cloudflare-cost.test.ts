import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import {
  costTables,
  exceeded,
  freeLimits,
  METERS,
  monthlyPrice,
  SCENARIOS,
  usageOf,
} from "../../bench/cloudflare-cost.ts";

const doc = readFileSync(new URL("../../docs/deploy-cloudflare.md", import.meta.url), "utf8");
const nothing = usageOf(0);

describe("docs/deploy-cloudflare.md", () => {
  it("has the tables that bench/cloudflare-cost.ts prints", () => {
    const [, between] = /<!-- node bench\/cloudflare-cost.ts -->\n\n([^]*?)\n\n<!-- end -->/.exec(doc) ?? [];
    expect(between).toBe(costTables());
  });

  it("says which allowance of the free plan ends first, and when", () => {
    const [[first, events] = []] = freeLimits();
    if (first === undefined || events === undefined) throw new Error("no limit");
    expect(doc).toContain(
      `the ${METERS[first].name} end first, at ${events.toLocaleString("en-US")} events a day`,
    );
  });

  it("names every price", () => {
    for (const { price, free } of Object.values(METERS)) {
      expect(doc).toContain(`$${price < 0.01 ? price : price.toFixed(2)}`);
      if (free !== undefined) expect(doc).toContain(free.toLocaleString("en-US"));
    }
  });
});

describe("what a day uses", () => {
  it("grows with the events in everything", () => {
    const [few, more, many] = SCENARIOS.map(usageOf);
    for (const key of Object.keys(METERS) as (keyof typeof METERS)[]) {
      expect(more?.[key]).toBeGreaterThan(few?.[key] ?? NaN);
      expect(many?.[key]).toBeGreaterThan(more?.[key] ?? NaN);
    }
  });

  it("is within the free plan when nothing happens, and costs no more than the paid plan itself", () => {
    expect(exceeded(nothing)).toEqual([]);
    for (const key of Object.keys(METERS) as (keyof typeof METERS)[])
      expect(monthlyPrice(key, nothing)).toBe(0);
  });
});

describe("an allowance of the free plan", () => {
  it.for(freeLimits())("%s lasts up to %i events a day, and not for one more", ([key, events]) => {
    expect(exceeded(usageOf(events))).not.toContain(key);
    expect(exceeded(usageOf(events + 1))).toContain(key);
  });

  it("is not missing from the list", () => {
    const limited = Object.values(METERS).filter(({ free }) => free !== undefined);
    expect(freeLimits()).toHaveLength(limited.length);
  });
});

describe("a month's bill", () => {
  // Of 1 million requests included, and for each further million or part of one 0.15 USD.
  test.for([
    { requests: 33_333, usd: 0 },
    { requests: 33_334, usd: 0.15 },
    { requests: 66_666, usd: 0.15 },
    { requests: 66_667, usd: 0.3 },
  ])("has $usd USD for $requests requests a day to objects", ({ requests, usd }) => {
    expect(monthlyPrice("objectRequests", { ...nothing, objectRequests: requests })).toBeCloseTo(usd, 10);
  });

  it("has nothing for an object that never sleeps: 331,776 GB-s of the 400,000 that are included", () => {
    const durationGbS = 24 * 60 * 60 * 0.128;
    expect(Math.round(durationGbS * 30)).toBe(331_776);
    expect(monthlyPrice("durationGbS", { ...nothing, durationGbS })).toBe(0);
    expect(exceeded({ ...nothing, durationGbS })).toEqual([]);
    expect(exceeded({ ...nothing, durationGbS: durationGbS * 2 })).toEqual(["durationGbS"]);
  });

  it("counts what is stored once, not by the day", () => {
    expect(monthlyPrice("storedGb", { ...nothing, storedGb: 5 })).toBe(0);
    expect(monthlyPrice("storedGb", { ...nothing, storedGb: 5.01 })).toBeCloseTo(0.2, 10);
  });
});
