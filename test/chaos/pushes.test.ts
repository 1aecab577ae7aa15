import { describe, expect, it } from "vitest";
import { bodyOf, laneOf, planPushes, sha256 } from "./pushes.ts";

const pushes = planPushes(3, 1000);

describe("the pushes that are sent", () => {
  it("are the same for the same seed", () => {
    expect(planPushes(3, 1000)).toEqual(pushes);
    expect(planPushes(4, 1000)).not.toEqual(pushes);
  });

  it("are all different, in what they are called and what they say", () => {
    expect(new Set(pushes.map(({ delivery }) => delivery)).size).toBe(1000);
    expect(new Set(pushes.map((push) => sha256(bodyOf(push)))).size).toBe(1000);
  });

  it("go to several refs, and are small and large", () => {
    expect(new Set(pushes.map(laneOf)).size).toBe(12);
    const sizes = pushes.map((push) => bodyOf(push).length);
    expect(Math.min(...sizes)).toBeLessThan(1000);
    expect(Math.max(...sizes)).toBeGreaterThan(250_000);
    expect(Math.max(...sizes)).toBeLessThan(1_200_000);
    const small = sizes.filter((bytes) => bytes < 10_000);
    expect(small.length).toBeGreaterThan(900);
  });
});
