import { describe, expect, it } from "vitest";
import { permit, startRealm, type Actor } from "./realm-bed.ts";
import { EVERYTHING, startTestbed } from "./testbed.ts";

const NO_SESSION = "wamp.error.no_such_session";

function ask(actor: Actor, name: string, args: unknown[] = [], kwargs = {}): unknown {
  const [reply] = actor.say(48, 1, {}, `wamp.session.${name}`, args, kwargs);
  if (reply?.[0] === 8) return reply[4];
  expect(reply?.slice(0, 3)).toEqual([50, 1, {}]);
  return Object(reply?.[3])[0];
}

const ROLES = { all: [permit("prefix", "")], other: [permit("exact", "a.b")] };

describe("the session meta API", () => {
  it("tells who is there, and nothing of how they came", () => {
    const { join } = startRealm(ROLES);
    const [one, two] = [join(), join({ role: "other", authid: "two" })];
    expect(ask(one, "count")).toBe(2);
    expect(ask(one, "count", [["other", "third"]])).toBe(1);
    expect(ask(one, "list")).toEqual([one.session, two.session]);
    expect(ask(one, "list", [["all"]])).toEqual([one.session]);
    expect(ask(one, "get", [two.session])).toEqual({
      session: two.session,
      authid: "two",
      authrole: "other",
      authmethod: "cryptosign",
      authprovider: "static",
    });
    two.leave();
    expect(ask(one, "get", [two.session])).toBe(NO_SESSION);
    expect(ask(one, "list")).toEqual([one.session]);
  });

  it.each([
    ["count", ["all"], {}, "wamp.error.invalid_argument"],
    ["get", [], {}, "wamp.error.invalid_argument"],
    ["get", [77], {}, NO_SESSION],
    ["kill", [77], {}, NO_SESSION],
    ["kill", [2], { reason: "a b" }, "wamp.error.invalid_uri"],
    ["kill", [2], { reason: "" }, "wamp.error.invalid_uri"],
    ["kill", [2], { message: 7 }, "wamp.error.invalid_argument"],
    ["kill", [2], { message: "\0!" }, "wamp.error.invalid_argument"],
    ["kill_by_authid", [7], {}, "wamp.error.invalid_argument"],
    ["kill_all", [], { reason: 7 }, "wamp.error.invalid_uri"],
    ["add_testament", [], {}, "wamp.error.no_such_procedure"],
  ])("answers %s(%j, %j) with %s, and kills nobody", (name, args, kwargs, uri) => {
    const { join } = startRealm();
    const [one, two] = [join(), join()];
    expect(ask(one, name, args, kwargs)).toBe(uri);
    expect(two.heard()).toEqual([]);
  });

  it.each([
    ["kill", [2], null, [false, true, false]],
    ["kill_by_authid", ["b"], [2], [false, true, false]],
    ["kill_by_authid", ["a"], [3], [false, false, true]],
    ["kill_by_authid", ["nobody"], [], [false, false, false]],
    ["kill_by_authrole", ["all"], 2, [false, true, true]],
    ["kill_all", [], 2, [false, true, true]],
  ])("ends by %s(%j) those that are meant, but never the caller", (name, args, answer, ended) => {
    const { join } = startRealm();
    const all = ["a", "b", "a"].map((authid) => join({ authid }));
    expect(ask(all[0]!, name, args, { reason: "a.reason", message: "why" })).toEqual(answer);
    const heard = all.map((each) => each.heard());
    expect(heard).toEqual(ended.map((isEnded) => (isEnded ? [["ended", "a.reason", "why"]] : [])));
  });

  it("lets nobody kill himself", () => {
    const { join } = startRealm();
    const one = join();
    expect(ask(one, "kill", [one.session])).toBe(NO_SESSION);
  });

  it("is denied to every role that is not granted it", () => {
    const { join } = startRealm({ ...ROLES, counts: [permit("exact", "wamp.session.count", ["call"])] });
    const counts = join({ role: "counts" });
    expect(ask(counts, "count")).toBe(1);
    for (const name of ["list", "get", "kill", "kill_by_authid", "kill_by_authrole", "kill_all"])
      expect(ask(counts, name, [1])).toBe("wamp.error.not_authorized");
    expect(counts.say(32, 1, {}, "wamp.session.on_join")[0]?.[4]).toBe("wamp.error.not_authorized");
  });

  it("announces who joins and who leaves", () => {
    const { join } = startRealm(ROLES);
    const watcher = join();
    for (const event of ["on_join", "on_leave"]) watcher.say(32, 1, {}, `wamp.session.${event}`);
    const { session, leave } = join({ role: "other", authid: "two" });
    leave();
    expect(watcher.heard().map(([, , , , args]) => args)).toEqual([
      [{ session, authid: "two", authrole: "other", authmethod: "cryptosign", authprovider: "static" }],
      [session, "two", "other"],
    ]);
  });
});

describe("a killed session", () => {
  it("gets GOODBYE and is closed; it is gone at once", async () => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const [one, two] = [await testbed.join("relay"), await testbed.join("relay", "json")];
    const killed = one.ask([48, 1, {}, "wamp.session.kill", [two.session], { message: "enough" }]);
    expect(await two.next()).toEqual([6, { message: "enough" }, "wamp.close.normal"]);
    expect(await two.closed).toBe(1000);
    expect(await killed).toEqual([50, 1, {}, [null]]);
    expect(await one.ask([48, 2, {}, "wamp.session.count"])).toEqual([50, 2, {}, [1]]);
    expect(testbed.reports.at(-1)).toEqual(["left", { authid: "relay", reason: "killed" }]);
  });
});
