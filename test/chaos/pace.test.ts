import { expect, it } from "vitest";
import { makePace } from "./pace.ts";

it("lets deliveries begin evenly, and goes on from where it is", () => {
  let now = 0;
  const pace = makePace(10, () => now);
  expect(pace.allowed()).toBe(10);
  pace.grow(30, 1000);
  expect(pace.allowed()).toBe(10);
  now = 500;
  expect(pace.allowed()).toBe(20);
  pace.grow(40, 0);
  expect(pace.allowed()).toBe(40);
  now = 5000;
  expect(pace.allowed()).toBe(40);
});
