import { expect, test } from "vitest";
import { reportAbout } from "../../shared/report.ts";

test("errors say what they are about, and other reports are as they were", () => {
  const told: unknown[] = [];
  const report = reportAbout((event, fields) => told.push([event, fields]), { to: "router" });
  const fields = { code: "ERR_WAMP_LOST", message: "lost" };
  report("error", fields);
  report("error");
  report("published", { seq: 1 });
  report("audience");
  expect(told).toEqual([
    ["error", { ...fields, to: "router" }],
    ["error", { to: "router" }],
    ["published", { seq: 1 }],
    ["audience", undefined],
  ]);
  expect(fields).not.toHaveProperty("to");
});
