import { expect, it } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { isCircuitFailure, makeCircuits } from "../../../shared/tor/circuits.ts";

it("circuits are left one by one, and once only by connections that were on the same", () => {
  const circuits = makeCircuits("drain");
  const first = circuits.current();
  expect(first).toBe("drain-1");
  circuits.leave(first);
  circuits.leave(first);
  expect(circuits.current()).toBe("drain-2");
});

it.each([
  [new OnionhookError("ERR_TOR_TIMEOUT", "", { retryable: true }), true],
  [new OnionhookError("ERR_TOR_REFUSED", "", { retryable: true }), true],
  [new OnionhookError("ERR_TOR_CLIENT_AUTH_WRONG", ""), false],
  [new OnionhookError("ERR_TOR_UNREACHABLE", "", { retryable: true }), false],
  [new OnionhookError("ERR_UNREACHABLE", "", { retryable: true }), false],
  [new Error("ERR_TOR_TIMEOUT"), false],
])("of %o another circuit helps: %s", (error, helps) => {
  expect(isCircuitFailure(error)).toBe(helps);
});
