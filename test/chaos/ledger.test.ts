/** The ledger must be able to fail: histories with one thing wrong each. */
import { describe, expect, it } from "vitest";
import { checkLedger, type History, type KeptBuild, type KeptEvent, type ToldEvent } from "./ledger.ts";

const NAMES = ["a1", "a2", "b1"];

function event(delivery: string, seq: number): KeptEvent {
  return { tag: `tag-${seq}`, stream: "builder", seq, delivery };
}

function build(id: number, seq: number, delivery: string): KeptBuild {
  return { id, tag: `tag-${seq}`, exit: "0", printed: [`hash of ${delivery}`] };
}

function told(name: string, seq: number, fields: object = {}): ToldEvent {
  return { event: name, stream: "builder", seq, ...fields };
}

function clean(): History & {
  sent: History["sent"][number][];
  kept: KeptEvent[];
  builds: KeptBuild[];
  told: ToldEvent[];
} {
  return {
    sent: NAMES.map((delivery) => ({
      delivery,
      lane: delivery.slice(0, 1),
      sha256: `hash of ${delivery}`,
      tries: 1,
      isTaken: true,
    })),
    kept: NAMES.map((delivery, index) => event(delivery, index + 1)),
    builds: NAMES.map((delivery, index) => build(index + 1, index + 1, delivery)),
    told: NAMES.flatMap((_, index) => [
      told("opened", index + 1, { redelivery: false }),
      told("built", index + 1),
      told("done", index + 1),
    ]),
    builderDeaths: 0,
    mayHaveFailed: new Set(),
  };
}

/** A second event of `a1`: the answer to the first try was lost. */
function redelivered(tries: number, redelivery: boolean): History {
  const history = clean();
  Object.assign(history.sent[0] ?? {}, { tries });
  history.kept.push(event("a1", 4));
  history.builds.push(build(4, 4, "a1"));
  history.told.push(told("opened", 4, { redelivery }), told("built", 4), told("done", 4));
  return history;
}

function rulesBroken(history: History): string[] {
  return checkLedger(history).map(({ rule, delivery }) => `${rule} ${delivery}`);
}

describe("the ledger of a run", () => {
  it("finds nothing in a clean one", () => {
    expect(checkLedger(clean())).toEqual([]);
  });

  it("finds a delivery that never came", () => {
    const history = clean();
    history.kept.pop();
    history.builds.pop();
    expect(rulesBroken(history)).toEqual(["lost b1"]);
  });

  it("does not miss what the edge never took", () => {
    const history = clean();
    history.kept.pop();
    history.builds.pop();
    Object.assign(history.sent[2] ?? {}, { isTaken: false });
    expect(rulesBroken(history)).toEqual([]);
  });

  it("finds an event that no build was made of", () => {
    const history = clean();
    history.builds.pop();
    expect(rulesBroken(history)).toEqual(["lost b1"]);
  });

  it.each([
    ["that is not over", { exit: null }],
    ["that failed", { exit: "1" }],
    ["whose command never ran", { printed: [] }],
  ])("finds a build %s", (_, change) => {
    const history = clean();
    Object.assign(history.builds[1] ?? {}, change);
    expect(rulesBroken(history)).toEqual(["lost a2"]);
  });

  it("lets a build fail on a full disk", () => {
    const history = { ...clean(), mayHaveFailed: new Set(["builder/2"]) };
    Object.assign(history.builds[1] ?? {}, { exit: "1", printed: [] });
    expect(rulesBroken(history)).toEqual([]);
  });

  it("finds an event that was kept twice", () => {
    const history = clean();
    history.kept.push({ ...event("a2", 2), tag: "another seal" });
    history.builds.push({ ...build(4, 2, "a2"), tag: "another seal" });
    expect(rulesBroken(history)).toContain("twice a2");
  });

  it("finds an event that was built twice", () => {
    const history = clean();
    history.builds.push(build(4, 3, "b1"));
    expect(rulesBroken(history)).toEqual(["twice b1"]);
  });

  it("finds a build that ran twice, unless the builder had died", () => {
    const history = clean();
    Object.assign(history.builds[0] ?? {}, { printed: ["hash of a1", "hash of a1"] });
    expect(rulesBroken(history)).toEqual(["twice a1"]);
    expect(rulesBroken({ ...history, builderDeaths: 1 })).toEqual([]);
  });

  it("allows a redelivery that the sender made, and no other", () => {
    expect(rulesBroken(redelivered(2, true))).toEqual([]);
    expect(rulesBroken(redelivered(1, true))).toEqual(["twice a1"]);
    expect(rulesBroken(redelivered(2, false))).toEqual(["twice a1"]);
  });

  it("finds an event that nobody sent", () => {
    const history = clean();
    history.kept.push(event("x1", 4));
    history.builds.push(build(4, 4, "x1"));
    history.told.push(told("done", 4));
    expect(rulesBroken(history)).toContain("invented x1");
  });

  it("finds a build of another body", () => {
    const history = clean();
    Object.assign(history.builds[0] ?? {}, { printed: ["another hash"] });
    expect(rulesBroken(history)).toEqual(["invented a1"]);
  });

  it("finds a ref's pushes built in another order", () => {
    const history = clean();
    const isOfFirst = ({ event: name, seq }: ToldEvent) => name === "built" && seq === 1;
    const late = history.told.filter(isOfFirst);
    expect(
      rulesBroken({ ...history, told: [...history.told.filter((each) => !isOfFirst(each)), ...late] }),
    ).toEqual(["order a2"]);
  });

  it("has no order between refs", () => {
    const history = clean();
    Object.assign(history.builds[2] ?? {}, { id: 0 });
    expect(rulesBroken(history)).toEqual([]);
  });

  it("finds an event that the edge still has", () => {
    const history = clean();
    expect(
      rulesBroken({ ...history, told: history.told.filter(({ event: name }) => name !== "done") }),
    ).toEqual(["undone a1", "undone a2", "undone b1"]);
  });

  it("finds a number that was left out", () => {
    const history = clean();
    Object.assign(history.kept[2] ?? {}, { seq: 4 });
    history.told.push(told("built", 4), told("done", 4));
    expect(checkLedger(history)).toEqual([
      { rule: "gap", delivery: "", what: "builder/3 is not in the journal" },
    ]);
  });
});
