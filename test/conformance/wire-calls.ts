/** Calls on the wire: their numbers, how they are canceled, and their progress. */
import { expect } from "vitest";
import { type RawClient, record } from "../router/raw-client.ts";
import { ABLE, type WireScenario, type WireWorld } from "./wire-scenario.ts";

const CANCELED = "wamp.error.canceled";

const UNINTERRUPTIBLE = { ...ABLE, callee: { features: { progressive_call_results: true } } };

/** A callee of `kept`, its caller, and one call that waits: the INVOCATION's id and the CALL's. */
async function waitingCall({ join, uri }: WireWorld, roles?: object) {
  const callee = await join("alice", roles);
  const caller = await join("bob");
  expect((await callee.ask([64, 1, {}, uri("kept")])).slice(0, 2)).toEqual([65, 1]);
  caller.send([48, 7, {}, uri("kept"), ["question"]]);
  const [code, invocation] = await callee.next();
  expect(code).toBe(68);
  return { callee, caller, invocation, call: 7 };
}

/** The next message, a RESULT: the call, its arguments, and whether there is more to come. */
async function result(caller: RawClient): Promise<unknown[]> {
  const [code, request, details, args] = await caller.next();
  expect(code).toBe(50);
  return [request, args, record(details)["progress"] ?? false];
}

export const wireCalls: readonly WireScenario[] = [
  {
    title: "invocations of each callee are numbered from 1",
    except: { "Crossbar.io": "it numbers the invocations of all callees together" },
    async run(world) {
      const first = await waitingCall(world);
      expect(first.invocation).toBe(1);
      first.caller.send([48, 8, {}, world.uri("kept")]);
      expect((await first.callee.next()).slice(0, 2)).toEqual([68, 2]);
      const other = await world.join("carol");
      await other.ask([64, 1, {}, world.uri("other")]);
      first.caller.send([48, 9, {}, world.uri("other")]);
      expect((await other.next()).slice(0, 2)).toEqual([68, 1]);
    },
  },
  {
    title: "unregistering what is not one's own, or is not there, is refused, and harms nobody",
    async run({ join, uri }) {
      const [callee, stranger] = [await join("alice"), await join("carol")];
      const [, , id] = await callee.ask([64, 1, {}, uri("mine")]);
      const refused = [8, 66, 3, expect.anything() as unknown, "wamp.error.no_such_registration"];
      expect((await stranger.ask([66, 3, id])).slice(0, 5)).toEqual(refused);
      expect((await stranger.ask([66, 3, 12345])).slice(0, 5)).toEqual(refused);
      stranger.send([48, 4, {}, uri("mine")]);
      const [, invocation] = await callee.next();
      callee.send([70, invocation, {}, ["here"]]);
      expect(await result(stranger)).toEqual([4, ["here"], false]);
      expect(await callee.ask([66, 3, id])).toEqual([67, 3]);
    },
  },
  {
    title: "killnowait: the callee is interrupted, the caller has its error, the answer goes nowhere",
    async run(world) {
      const { callee, caller, invocation, call } = await waitingCall(world, ABLE);
      caller.send([49, call, { mode: "killnowait" }]);
      expect((await caller.next()).slice(0, 5)).toEqual([8, 48, call, {}, CANCELED]);
      const [code, interrupted, options] = await callee.next();
      expect([code, interrupted]).toEqual([69, invocation]);
      expect(record(options)["mode"] ?? "killnowait").toBe("killnowait");
      callee.send([8, 68, invocation, {}, CANCELED]);
      expect(await caller.settled()).toEqual([]);
      expect(await callee.settled()).toEqual([]);
    },
  },
  {
    title: "kill: the caller has its error only once the callee has given up",
    async run(world) {
      const { callee, caller, invocation, call } = await waitingCall(world, ABLE);
      caller.send([49, call, { mode: "kill" }]);
      const [code, interrupted, options] = await callee.next();
      expect([code, interrupted, record(options)["mode"]]).toEqual([69, invocation, "kill"]);
      expect(await caller.settled()).toEqual([]);
      callee.send([8, 68, invocation, {}, CANCELED]);
      expect((await caller.next()).slice(0, 5)).toEqual([8, 48, call, {}, CANCELED]);
    },
  },
  ...(["skip", "kill", "killnowait"] as const).map((mode): WireScenario => ({
    title: `${mode}, where the callee cannot be interrupted or shall not be: it hears nothing, the caller has its error`,
    except: { "Crossbar.io": "it never answers such a call, which the specification wants answered at once" },
    async run(world) {
      const { callee, caller, invocation, call } = await waitingCall(
        world,
        mode === "skip" ? ABLE : UNINTERRUPTIBLE,
      );
      caller.send([49, call, { mode }]);
      expect((await caller.next()).slice(0, 5)).toEqual([8, 48, call, {}, CANCELED]);
      callee.send([70, invocation, {}, ["too late"]]);
      expect(await callee.settled()).toEqual([]);
      expect(await caller.settled()).toEqual([]);
    },
  })),
  {
    title: "a call that takes too long ends with wamp.error.timeout, and its callee is interrupted",
    except: { "Crossbar.io": "it counts whole seconds, and calls it wamp.error.canceled" },
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      await callee.ask([64, 1, {}, uri("slow")]);
      caller.send([48, 7, { timeout: 50 }, uri("slow")]);
      const [, invocation] = await callee.next();
      expect((await caller.next()).slice(0, 5)).toEqual([8, 48, 7, {}, "wamp.error.timeout"]);
      expect((await callee.next()).slice(0, 2)).toEqual([69, invocation]);
    },
  },
  {
    title: "canceling twice, what is over, or another's call does nothing",
    async run(world) {
      const { callee, caller, invocation, call } = await waitingCall(world, ABLE);
      const stranger = await world.join("carol");
      stranger.send([49, call, { mode: "killnowait" }]);
      caller.send([49, 12345, { mode: "killnowait" }]);
      expect(await stranger.settled()).toEqual([]);
      expect(await callee.settled()).toEqual([]);
      caller.send([49, call, { mode: "killnowait" }]);
      caller.send([49, call, { mode: "killnowait" }]);
      expect(await caller.settled()).toHaveLength(1);
      expect(await callee.settled()).toHaveLength(1);
      callee.send([8, 68, invocation, {}, CANCELED]);
      expect(await callee.settled()).toEqual([]);
      caller.send([49, call, { mode: "kill" }]);
      expect(await caller.settled()).toEqual([]);
    },
  },
  {
    title: "progress that was asked for is marked, and ends with the result",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice", ABLE), await join("bob", ABLE)];
      await callee.ask([64, 1, {}, uri("steps")]);
      caller.send([48, 5, { receive_progress: true }, uri("steps")]);
      const [, invocation, , details] = await callee.next();
      expect(details).toMatchObject({ receive_progress: true });
      callee.send([70, invocation, { progress: true }, [1]]);
      callee.send([70, invocation, { progress: true }, [2]]);
      callee.send([70, invocation, {}, [3]]);
      callee.send([70, invocation, {}, ["after the end"]]);
      expect(await result(caller)).toEqual([5, [1], true]);
      expect(await result(caller)).toEqual([5, [2], true]);
      expect(await result(caller)).toEqual([5, [3], false]);
      await callee.settled();
      expect(await caller.settled()).toEqual([]);
    },
  },
  {
    title: "an answer to somebody else's invocation does not reach its caller",
    async run(world) {
      const { callee, caller, invocation } = await waitingCall(world);
      const stranger = await world.join("carol");
      stranger.send([70, invocation, {}, ["false"]]);
      stranger.send([8, 68, invocation, {}, "com.example.false"]);
      stranger.send([66, 1, 1]);
      // It may be thrown out for it, as Crossbar.io does.
      await Promise.race([stranger.next(), stranger.closed]);
      callee.send([70, invocation, {}, ["true"]]);
      expect(await result(caller)).toEqual([7, ["true"], false]);
    },
  },
];
