import { describe, expect, it } from "vitest";
import { startRealm } from "./realm-bed.ts";

const errorOf = (reply: unknown[][]) => reply[0]?.[0] === 8 && reply[0][4];

describe("one session may have", () => {
  it.each([
    ["subscriptions", 32, 34],
    ["registrations", 64, 66],
  ])("1,000 %s, and again one when it gives one up", (kind, create, remove) => {
    const { join } = startRealm();
    const one = join();
    const ids = Array.from({ length: 1_000 }, (_, n) => one.say(create, n + 1, {}, `a.b${n}`)[0]?.[2]);
    expect(errorOf(one.say(create, 1_001, {}, "a.more"))).toBe(`onionhook.error.too_many_${kind}`);
    expect(one.say(remove, 1_002, ids[0])).toEqual([[remove + 1, 1_002]]);
    expect(errorOf(one.say(create, 1_003, {}, "a.more"))).toBe(false);
    expect(errorOf(join().say(create, 1, {}, "a.other"))).toBe(false);
  });

  it("a subscription twice, also when it may have no other", () => {
    const one = startRealm().join();
    const ids = Array.from({ length: 1_000 }, (_, n) => one.say(32, n + 1, {}, `a.b${n}`)[0]?.[2]);
    expect(one.say(32, 1_001, {}, "a.b7")).toEqual([[33, 1_001, ids[7]]]);
  });

  it("1,000 open calls, and again one when one is over", () => {
    const { join } = startRealm();
    const [callee, caller] = [join(), join()];
    callee.say(64, 1, {}, "a.b");
    for (let n = 1; n <= 1_000; n += 1) expect(caller.say(48, n, {}, "a.b")).toEqual([]);
    expect(errorOf(caller.say(48, 1_001, {}, "a.b"))).toBe("onionhook.error.too_many_calls");
    callee.say(70, 5, {});
    caller.heard();
    expect(caller.say(48, 1_001, {}, "a.b")).toEqual([]);
  });

  it.each([
    ["topic", 32],
    ["procedure", 64],
  ])("no %s of more than 1,024 characters", (_name, create) => {
    const one = startRealm().join();
    expect(one.say(create, 1, {}, "a".repeat(1_024))[0]?.[0]).toBe(create + 1);
    expect(errorOf(one.say(create, 2, {}, "a".repeat(1_025)))).toBe("wamp.error.invalid_uri");
  });
});
