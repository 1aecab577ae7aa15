import { describe, expect, it } from "vitest";
import { startRealm } from "./realm-bed.ts";

const CANCELED = "wamp.error.canceled";

function openCall(features = { callCanceling: true }) {
  const { join, clock } = startRealm();
  const [callee, caller] = [join({ features }), join()];
  callee.say(64, 1, {}, "a.b");
  expect(caller.say(48, 7, {}, "a.b")).toEqual([]);
  expect(callee.heard()).toEqual([[68, 1, expect.any(Number), {}]]);
  return { join, clock, callee, caller };
}

const canceled = [8, 48, 7, {}, CANCELED, ["canceled by the caller"]];

describe("cancelling a call", () => {
  it.each([
    ["killnowait", { mode: "killnowait" }, true, [[69, 1, { mode: "killnowait" }]]],
    ["killnowait, the default,", {}, true, [[69, 1, { mode: "killnowait" }]]],
    ["skip", { mode: "skip" }, true, []],
    ["killnowait with a callee that cannot be interrupted", {}, false, []],
    ["kill with a callee that cannot be interrupted", { mode: "kill" }, false, []],
  ])(
    "by %s ends it at once; what the callee still says is dropped",
    (_name, options, callCanceling, told) => {
      const { callee, caller } = openCall({ callCanceling });
      expect(caller.say(49, 7, options)).toEqual([canceled]);
      expect(callee.heard()).toEqual(told);
      expect(callee.say(70, 1, {}, ["late"])).toEqual([]);
      expect(callee.say(8, 68, 1, {}, CANCELED)).toEqual([]);
      expect(caller.heard()).toEqual([]);
    },
  );

  it.each([
    ["its error", [8, 68, 1, {}, "a.stopped"], [8, 48, 7, {}, "a.stopped"]],
    ["its result, when it was done before the interrupt came", [70, 1, {}, ["done"]], [50, 7, {}, ["done"]]],
  ])("by kill waits for what the callee says: %s", (_name, said, heard) => {
    const { callee, caller } = openCall();
    expect(caller.say(49, 7, { mode: "kill" })).toEqual([]);
    expect(callee.heard()).toEqual([[69, 1, { mode: "kill" }]]);
    callee.say(...said);
    expect(caller.heard()).toEqual([heard]);
  });

  it("by kill, again, interrupts once; by killnowait after it, ends the waiting", () => {
    const { callee, caller } = openCall();
    caller.say(49, 7, { mode: "kill" });
    caller.say(49, 7, { mode: "kill" });
    expect(callee.heard()).toHaveLength(1);
    expect(caller.say(49, 7, {})).toEqual([canceled]);
  });

  it("by kill ends when the callee leaves", () => {
    const { callee, caller } = openCall();
    caller.say(49, 7, { mode: "kill" });
    callee.leave();
    expect(caller.heard()).toEqual([[8, 48, 7, {}, CANCELED, ["the callee has left"]]]);
  });

  it("does nothing when the call is another's, or over", () => {
    const { join, callee, caller } = openCall();
    expect(join().say(49, 7, {})).toEqual([]);
    expect(callee.heard()).toEqual([]);
    callee.say(70, 1, {}, ["done"]);
    expect(caller.heard()).toEqual([[50, 7, {}, ["done"]]]);
    expect(caller.say(49, 7, {})).toEqual([]);
    expect(callee.heard()).toEqual([]);
  });

  it.each([
    ["is interrupted", true, [[69, 1, { mode: "killnowait" }]]],
    ["is not, when it cannot be", false, []],
  ])("happens when the caller leaves: its callee %s", (_name, callCanceling, told) => {
    const { callee, caller } = openCall({ callCanceling });
    caller.leave();
    expect(callee.heard()).toEqual(told);
    expect(callee.say(70, 1, {}, ["late"])).toEqual([]);
  });
});

describe("a call's time limit", () => {
  it("ends the call and interrupts the callee", () => {
    const { clock, callee, caller } = openCall();
    callee.say(70, 1, {});
    caller.heard();
    caller.say(48, 8, { timeout: 500 }, "a.b");
    callee.heard();
    clock.forward(499);
    expect(caller.heard()).toEqual([]);
    clock.forward(1);
    expect(caller.heard()).toEqual([[8, 48, 8, {}, "wamp.error.timeout", ["the call took too long"]]]);
    expect(callee.heard()).toEqual([[69, 2, { mode: "killnowait" }]]);
    expect(callee.say(70, 2, {}, ["late"])).toEqual([]);
    expect(caller.heard()).toEqual([]);
  });

  it("is forgotten with the call, however it ends", () => {
    const { clock, callee, caller } = openCall();
    for (const request of [8, 9, 10]) caller.say(48, request, { timeout: 500 }, "a.b");
    callee.say(70, 2, {});
    caller.say(49, 9, {});
    expect(clock.waiting).toBe(1);
    callee.leave();
    expect(clock.waiting).toBe(0);
  });

  it("of more than 24 days is 24 days, and not none", () => {
    const { clock, caller } = openCall();
    caller.say(48, 8, { timeout: 2 ** 40 }, "a.b");
    clock.forward(2 ** 31 - 2);
    expect(caller.heard()).toEqual([]);
    clock.forward(1);
    expect(caller.heard()).toHaveLength(1);
  });
});
