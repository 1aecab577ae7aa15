import { expect, it } from "vitest";
import { CIRCUIT_PAUSES, MOST_CIRCUITS, startSearch } from "../../../relay/drain/circuits.ts";

it("a search is quick, then takes minutes, says that once, and begins anew after a success", () => {
  const search = startSearch(CIRCUIT_PAUSES);
  for (let round = 0; round < 2; round += 1) {
    const tries = Array.from({ length: MOST_CIRCUITS + 5 }, () => search.vain("ERR_EDGE_CHALLENGED"));
    expect(tries.findIndex(({ pauses }) => pauses === CIRCUIT_PAUSES.slow)).toBe(MOST_CIRCUITS - 1);
    expect(tries.slice(MOST_CIRCUITS - 1).every(({ pauses }) => pauses.capMs >= 60_000)).toBe(true);
    expect(tries.map(({ report }) => report).filter(Boolean)).toHaveLength(1);
    expect(tries[MOST_CIRCUITS - 1]?.report).toBe(true);
    search.found();
  }
});

it("what is no challenge is always worth saying, and does not hide the challenge that comes later", () => {
  const search = startSearch(CIRCUIT_PAUSES);
  for (let tries = 0; tries < MOST_CIRCUITS; tries += 1) {
    expect(search.vain("ERR_CERTIFICATE").report).toBe(true);
  }
  expect(search.vain("ERR_EDGE_CHALLENGED").report).toBe(true);
  expect(search.vain("ERR_EDGE_CHALLENGED").report).toBe(false);
});
