import { describe, expect, it } from "vitest";
import { startRealm, permit, type Actor } from "./realm-bed.ts";

const EXISTS = "wamp.error.procedure_already_exists";
const DIFFERS = "wamp.error.procedure_exists_with_different_invocation_policy";
const NO_PROCEDURE = "wamp.error.no_such_procedure";

/** Who of the callees gets each of so many calls; each answers at once. */
function callsTo(caller: Actor, callees: readonly Actor[], count: number, procedure = "a.b"): number[] {
  return Array.from({ length: count }, (_, call) => {
    caller.say(48, call + 1, {}, procedure);
    const [called] = callees.flatMap((callee, index) =>
      callee.heard().map(([, invocation]) => ({ callee, index, invocation })),
    );
    called?.callee.say(70, called.invocation, {});
    caller.heard();
    return called?.index ?? -1;
  });
}

function share(invoke: string, count: number) {
  const { join } = startRealm();
  const callees = Array.from({ length: count }, () => join());
  const ids = callees.map((callee) => callee.say(64, 1, { invoke }, "a.b")[0]?.[2]);
  return { join, callees, ids, caller: join() };
}

describe("a shared registration", () => {
  it.each([
    ["first", [0, 0, 0]],
    ["last", [2, 2, 2]],
    ["roundrobin", [0, 1, 2, 0, 1, 2, 0]],
  ])("by %s invokes the callees %j", (invoke, expected) => {
    const { callees, ids, caller } = share(invoke, 3);
    expect(new Set(ids).size).toBe(1);
    expect(callsTo(caller, callees, expected.length)).toEqual(expected);
  });

  it("by random invokes each of them now and then", () => {
    const { callees, caller } = share("random", 3);
    // One of three is missed by 200 calls once in 10^35.
    expect(new Set(callsTo(caller, callees, 200))).toEqual(new Set([0, 1, 2]));
  });

  it.each([
    ["first", 0, 1],
    ["last", 2, 1],
    ["roundrobin", 1, 0],
  ])("by %s goes on when callee %i leaves", (invoke, leaving, next) => {
    const { callees, caller } = share(invoke, 3);
    callees[leaving]?.leave();
    expect(callsTo(caller, callees, 1)).toEqual([next]);
  });

  it.each([
    ["single", "single", EXISTS],
    ["single", "roundrobin", EXISTS],
    ["roundrobin", "single", DIFFERS],
    ["roundrobin", "random", DIFFERS],
  ])("that is %s is not joined as %s", (first, second, error) => {
    const { join } = startRealm();
    join().say(64, 1, { invoke: first }, "a.b");
    expect(join().say(64, 2, { invoke: second }, "a.b")[0]?.slice(0, 5)).toEqual([8, 64, 2, {}, error]);
  });

  it("is taken once by a callee that registers twice", () => {
    const { callees, ids, caller } = share("roundrobin", 2);
    expect(callees[0]?.say(64, 2, { invoke: "roundrobin" }, "a.b")).toEqual([[65, 2, ids[0]]]);
    expect(callsTo(caller, callees, 4)).toEqual([0, 1, 0, 1]);
  });

  it("is free again when the last callee has given it up", () => {
    const { join, callees, ids } = share("roundrobin", 2);
    for (const callee of callees) expect(callee.say(66, 5, ids[0])).toEqual([[67, 5]]);
    expect(callees[0]?.say(66, 6, ids[0])[0]?.[4]).toBe("wamp.error.no_such_registration");
    expect(join().say(64, 1, {}, "a.b")[0]?.[0]).toBe(65);
  });
});

describe("a pattern registration", () => {
  it("gets the calls that no better one gets, and the procedure's name", () => {
    const { join } = startRealm();
    const [exact, prefix, longer, wildcard, caller] = [join(), join(), join(), join(), join()];
    const callees = [exact, prefix, longer, wildcard];
    exact.say(64, 1, {}, "a.b.c");
    prefix.say(64, 1, { match: "prefix" }, "a.");
    longer.say(64, 1, { match: "prefix" }, "a.b");
    wildcard.say(64, 1, { match: "wildcard" }, "..c");
    const cases: ReadonlyArray<readonly [procedure: string, callee: number, details: object]> = [
      ["a.b.c", 0, {}],
      ["a.x.c", 1, { procedure: "a.x.c" }],
      ["a.bb", 2, { procedure: "a.bb" }],
      ["x.y.c", 3, { procedure: "x.y.c" }],
    ];
    for (const [procedure, callee, details] of cases) {
      callees.forEach((each) => each.heard());
      caller.say(48, 1, {}, procedure);
      const heard = callees.map((each) => each.heard());
      expect(heard.map((messages) => messages.length)).toEqual(callees.map((_, n) => (n === callee ? 1 : 0)));
      expect(heard[callee]?.[0]?.[3]).toEqual(details);
      callees[callee]?.say(70, heard[callee]?.[0]?.[1], {});
      caller.heard();
    }
    expect(caller.say(48, 1, {}, "x.c")[0]?.[4]).toBe(NO_PROCEDURE);
  });

  it("gets no call that its role may not serve: the next best callee does", () => {
    const { join } = startRealm({
      all: [permit("prefix", "")],
      // The pattern's own text is permitted, what it also stands for is not.
      narrow: [permit("exact", "a.b", ["register"])],
    });
    const [narrow, wide, caller] = [join({ role: "narrow" }), join(), join()];
    expect(narrow.say(64, 1, { match: "prefix" }, "a.b")[0]?.[0]).toBe(65);
    expect(caller.say(48, 1, {}, "a.bc")[0]?.[4]).toBe(NO_PROCEDURE);
    wide.say(64, 1, { match: "prefix" }, "a");
    expect(callsTo(caller, [narrow, wide], 1, "a.bc")).toEqual([1]);
    expect(callsTo(caller, [narrow, wide], 1, "a.b")).toEqual([0]);
  });

  it("shares with those of its role that may serve the call", () => {
    const { join } = startRealm({
      all: [permit("prefix", "")],
      narrow: [permit("exact", "a.b", ["register"])],
    });
    const callees = [join({ role: "narrow" }), join()];
    for (const callee of callees) callee.say(64, 1, { match: "prefix", invoke: "roundrobin" }, "a.b");
    expect(callsTo(join(), callees, 3, "a.bc")).toEqual([1, 1, 1]);
  });

  it("never gets a call of the router's own procedures", () => {
    const { join } = startRealm();
    const [callee, caller] = [join(), join()];
    callee.say(64, 1, { match: "prefix" }, "");
    callee.say(64, 2, { match: "wildcard" }, "..");
    callee.heard();
    expect(caller.say(48, 1, {}, "wamp.session.count")).toEqual([[50, 1, {}, [2]]]);
    expect(caller.say(48, 2, {}, "wamp.session.modify")[0]?.[4]).toBe(NO_PROCEDURE);
    expect(callee.heard()).toEqual([]);
  });

  it("is not joined by the same text under another match", () => {
    const { join } = startRealm();
    const [one, two] = [join(), join()];
    expect(one.say(64, 1, {}, "a.b")[0]?.[0]).toBe(65);
    expect(two.say(64, 1, { match: "prefix" }, "a.b")[0]?.[0]).toBe(65);
    expect(two.say(64, 2, { match: "wildcard" }, "a.b")[0]?.[0]).toBe(65);
  });
});

describe("invocations", () => {
  it("are numbered for each callee from 1, and answered by that callee only", () => {
    const { join } = startRealm();
    const [one, two, caller] = [join(), join(), join()];
    one.say(64, 1, {}, "a.one");
    two.say(64, 1, {}, "a.two");
    one.heard();
    two.heard();
    for (const request of [1, 2]) caller.say(48, request, {}, "a.one");
    caller.say(48, 3, {}, "a.two");
    expect(one.heard().map(([, id]) => id)).toEqual([1, 2]);
    expect(two.heard().map(([, id]) => id)).toEqual([1]);
    two.say(70, 2, {}, ["forged"]);
    expect(caller.heard()).toEqual([]);
    one.say(70, 2, {}, ["true"]);
    expect(caller.heard()).toEqual([[50, 2, {}, ["true"]]]);
  });

  it("end the session of a caller that asks again under the id of an open call", () => {
    const { join } = startRealm();
    const [callee, caller] = [join(), join()];
    callee.say(64, 1, {}, "a.b");
    caller.say(48, 1, {}, "a.b");
    expect(() => caller.say(48, 1, {}, "a.b")).toThrow("a request id of a call that is open");
    callee.say(70, 1, {});
    caller.heard();
    expect(caller.say(48, 1, {}, "a.b")).toEqual([]);
  });
});
