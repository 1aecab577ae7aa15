import { expect, it } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { keepTrying } from "../../../shared/host/keep-trying.ts";

it("tries again however an attempt ends, reports what was thrown, and stops at the signal", async () => {
  const stop = new AbortController();
  const reports: unknown[] = [];
  let attempts = 0;
  await keepTrying(
    async () => {
      attempts += 1;
      if (attempts === 1) throw new OnionhookError("ERR_TEST", "once");
      if (attempts === 3) stop.abort();
    },
    (event, fields) => reports.push([event, fields]),
    stop.signal,
  );
  expect(attempts).toBe(3);
  expect(reports).toEqual([["error", { code: "ERR_TEST", message: "once" }]]);
});

it("says nothing of what the signal itself broke off", async () => {
  const stop = new AbortController();
  const reports: unknown[] = [];
  await keepTrying(
    async () => {
      stop.abort();
      throw new Error("broken off");
    },
    (event) => reports.push(event),
    stop.signal,
  );
  expect(reports).toEqual([]);
});
