import { expect, it } from "vitest";
import { makeWatch } from "../../cli/dev/watch.ts";
import type { Output } from "../../cli/output.ts";

/** What people are told of these lines of a relay, once errors are told. */
function toldOf(...lines: object[]): string[] {
  const told: string[] = [];
  const output: Output = {
    json: false,
    isTerminal: false,
    report: () => {},
    forward: () => {},
    say: (line) => told.push(line),
    result: () => {},
    error: () => {},
  };
  const watch = makeWatch(output, () => {});
  watch.tellErrors(true);
  for (const line of lines) watch.line("relay", JSON.stringify({ at: 0, ...line }));
  return told;
}

const away = { event: "error", code: "ERR_TOR_REFUSED", message: "the connection was refused", to: "router" };
const connected = (to: string) => ({ event: "connected", to });

it("an outage has a line when it begins and one when it ends", () => {
  expect(toldOf(away, connected("edge"), connected("router"), connected("router"))).toEqual([
    "  relay    the connection was refused (ERR_TOR_REFUSED)",
    "  relay    connected to the router again",
  ]);
});

it("a connection that was not missed is not told", () => {
  expect(toldOf(connected("edge"), connected("router"))).toEqual([]);
});
