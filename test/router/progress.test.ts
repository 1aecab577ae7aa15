import { describe, expect, it } from "vitest";
import { parseMessage } from "../../router/messages.ts";
import { serializerOf } from "./raw-client.ts";
import { startRealm } from "./realm-bed.ts";

function openCall(options: object, features = { callCanceling: true, progressiveCallResults: true }) {
  const { join, clock } = startRealm();
  const [callee, caller] = [join({ features }), join()];
  callee.say(64, 1, {}, "a.b");
  caller.say(48, 7, options, "a.b");
  const [invocation] = callee.heard();
  return { clock, callee, caller, details: invocation?.[3] };
}

describe("progressive results", () => {
  it.each([
    [{}, false],
    [{ progressive_call_results: true }, false],
    [{ call_canceling: true }, false],
    [{ progressive_call_results: true, call_canceling: true }, true],
  ])("are asked for of a callee that announces %j: %s", (features, isAsked) => {
    const hello = parseMessage([1, "a", { roles: { callee: { features } } }]);
    if (hello.type !== "hello") throw new TypeError("no HELLO");
    expect(hello.callee.progressiveCallResults).toBe(isAsked);
  });

  it("are passed on in order, up to the result", () => {
    const { callee, caller, details } = openCall({ receive_progress: true });
    expect(details).toEqual({ receive_progress: true });
    callee.say(70, 1, { progress: true }, [1]);
    callee.say(70, 1, { progress: true }, [], { at: 2 });
    callee.say(70, 1, { progress: true });
    callee.say(70, 1, {}, ["all"]);
    callee.say(70, 1, { progress: true }, ["late"]);
    expect(caller.heard()).toEqual([
      [50, 7, { progress: true }, [1]],
      [50, 7, { progress: true }, [], { at: 2 }],
      [50, 7, { progress: true }],
      [50, 7, {}, ["all"]],
    ]);
  });

  it("may end in an error", () => {
    const { callee, caller } = openCall({ receive_progress: true });
    callee.say(70, 1, { progress: true }, [1]);
    callee.say(8, 68, 1, {}, "a.broken");
    expect(caller.heard().at(-1)).toEqual([8, 48, 7, {}, "a.broken"]);
  });

  it.each([
    ["who was not asked", {}, { callCanceling: true, progressiveCallResults: true }],
    [
      "who did not announce it",
      { receive_progress: true },
      { callCanceling: true, progressiveCallResults: false },
    ],
  ])("from a callee %s are dropped; the result is not", (_name, options, features) => {
    const { callee, caller, details } = openCall(options, features);
    expect(details).toEqual({});
    expect(callee.say(70, 1, { progress: true }, [1])).toEqual([]);
    expect(caller.heard()).toEqual([]);
    callee.say(70, 1, {}, ["all"]);
    expect(caller.heard()).toEqual([[50, 7, {}, ["all"]]]);
  });

  it("stop when the caller leaves: the callee is interrupted", () => {
    const { callee, caller } = openCall({ receive_progress: true });
    callee.say(70, 1, { progress: true }, [1]);
    caller.leave();
    expect(callee.heard()).toEqual([[69, 1, { mode: "killnowait" }]]);
  });

  it("begin a call's time limit anew", () => {
    const { clock, callee, caller } = openCall({ receive_progress: true, timeout: 500 });
    for (let step = 0; step < 3; step += 1) {
      clock.forward(499);
      callee.say(70, 1, { progress: true }, [step]);
    }
    expect(caller.heard()).toHaveLength(3);
    clock.forward(500);
    expect(caller.heard()[0]?.[4]).toBe("wamp.error.timeout");
  });

  it("that cannot be written for the caller end the call", () => {
    const { join } = startRealm();
    const callee = join({ features: { callCanceling: true, progressiveCallResults: true } });
    const json = serializerOf("json");
    const caller = join({
      serializer: {
        ...json,
        serialize: (message) => {
          if (message[0] === 50) throw new RangeError("nested too deep");
          return json.serialize(message);
        },
      },
    });
    callee.say(64, 1, {}, "a.b");
    caller.say(48, 7, { receive_progress: true }, "a.b");
    callee.heard();
    expect(callee.say(70, 1, { progress: true }, [1])).toEqual([[69, 1, { mode: "killnowait" }]]);
    expect(caller.heard()[0]?.slice(0, 5)).toEqual([8, 48, 7, {}, "wamp.error.invalid_argument"]);
  });
});
