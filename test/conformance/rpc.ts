/** Calls: WAMP Basic Profile, with what becomes of a call when one of its sides goes. */
import { expect } from "vitest";
import { until } from "../helpers/until.ts";
import { payloadOf, WampError, type Handler, type Invocation } from "./client.ts";
import { PAYLOADS } from "./pubsub.ts";
import { refusal, type Scenario } from "./scenario.ts";

const echo: Handler = ({ args, kwargs }) => payloadOf(args, kwargs);

/** A callee that keeps its calls until the test says what becomes of them. */
function keeper() {
  const calls: Array<Invocation & { readonly answer: PromiseWithResolvers<ReturnType<typeof payloadOf>> }> =
    [];
  const handler: Handler = (invocation) => {
    const answer = Promise.withResolvers<ReturnType<typeof payloadOf>>();
    calls.push({ ...invocation, answer });
    return answer.promise;
  };
  return { calls, handler };
}

export const rpc: readonly Scenario[] = [
  ...Object.entries(PAYLOADS).map(([what, payload]): Scenario => ({
    title: `a call brings its arguments, and its result comes back: ${what}`,
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      let invoked: Invocation | undefined;
      await callee.register(uri("echo"), (invocation) => {
        invoked = invocation;
        return echo(invocation);
      });
      expect(await caller.call(uri("echo"), payload).answer).toEqual(payload);
      expect(payloadOf(invoked?.args, invoked?.kwargs)).toEqual(payload);
      expect(invoked?.procedure).toBe(uri("echo"));
    },
  })),
  {
    title: "an error comes back with its URI, arguments and keywords",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      await callee.register(uri("fail"), () => {
        throw new WampError("com.example.broken", payloadOf([1, "two"], { why: { deep: [null] } }));
      });
      const failed = await caller.call(uri("fail")).answer.catch((error: unknown) => error);
      expect(failed).toMatchObject({
        uri: "com.example.broken",
        payload: payloadOf([1, "two"], { why: { deep: [null] } }),
      });
    },
  },
  {
    title: "a callee's own exception is a runtime error at the caller, and the callee goes on",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      let first = true;
      await callee.register(uri("throws"), (invocation) => {
        if (!first) return echo(invocation);
        first = false;
        throw new TypeError("not like this");
      });
      const failed = await caller.call(uri("throws")).answer.catch((error: unknown) => error);
      expect(failed).toMatchObject({ uri: "wamp.error.runtime_error", payload: { args: ["not like this"] } });
      expect(await caller.call(uri("throws"), payloadOf([2])).answer).toEqual(payloadOf([2]));
    },
  },
  {
    title: "what nobody registered, or somebody has unregistered, is no procedure",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      expect(await refusal(caller.call(uri("none")).answer)).toBe("wamp.error.no_such_procedure");
      const registration = await callee.register(uri("none"), echo);
      expect(await caller.call(uri("none"), payloadOf([1])).answer).toEqual(payloadOf([1]));
      await callee.unregister(registration);
      expect(await refusal(caller.call(uri("none")).answer)).toBe("wamp.error.no_such_procedure");
      await callee.register(uri("none"), echo);
      expect(await caller.call(uri("none"), payloadOf([2])).answer).toEqual(payloadOf([2]));
    },
  },
  {
    title: "a procedure is registered once, until its callee has gone",
    async run({ join, uri }) {
      const [first, second, caller] = [await join("alice"), await join("bob"), await join("carol")];
      await first.register(uri("mine"), () => payloadOf(["first"]));
      expect(await refusal(second.register(uri("mine"), echo))).toBe("wamp.error.procedure_already_exists");
      expect(await refusal(first.register(uri("mine"), echo))).toBe("wamp.error.procedure_already_exists");
      expect(await caller.call(uri("mine")).answer).toEqual(payloadOf(["first"]));
      first.drop();
      await first.left;
      // The router may learn of it a moment later than we.
      await until(async () => void (await second.register(uri("mine"), () => payloadOf(["second"]))));
      expect(await caller.call(uri("mine")).answer).toEqual(payloadOf(["second"]));
    },
  },
  {
    title: "answers go to their own calls, in whatever order they come",
    async run({ join, uri }) {
      const [callee, one, other] = [await join("alice"), await join("bob"), await join("bob")];
      const { calls, handler } = keeper();
      await callee.register(uri("kept"), handler);
      const answers = Array.from(
        { length: 20 },
        (_, index) => (index % 2 === 0 ? one : other).call(uri("kept"), payloadOf([index])).answer,
      );
      await until(() => expect(calls).toHaveLength(20));
      for (const { args, answer } of calls.toReversed()) answer.resolve(payloadOf(args));
      expect((await Promise.all(answers)).map(({ args }) => args[0])).toEqual(
        answers.map((_, index) => index),
      );
    },
  },
  {
    title: "a session may call itself",
    async run({ join, uri }) {
      const client = await join();
      await client.register(uri("own"), echo);
      expect(await client.call(uri("own"), payloadOf([1])).answer).toEqual(payloadOf([1]));
    },
  },
  ...(["leave", "drop"] as const).map((how): Scenario => ({
    title: `a callee that goes in the middle of a call cancels it: ${how}`,
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      const { calls, handler } = keeper();
      await callee.register(uri("kept"), handler);
      const answer = refusal(caller.call(uri("kept")).answer);
      await until(() => expect(calls).toHaveLength(1));
      callee[how]();
      expect(await answer).toBe("wamp.error.canceled");
      expect(await refusal(caller.call(uri("kept")).answer)).toBe("wamp.error.no_such_procedure");
    },
  })),
  {
    title: "a caller that goes in the middle of a call leaves its callee in order",
    async run({ join, uri, library }) {
      const [callee, lost, caller] = [await join("alice"), await join("bob"), await join("bob")];
      const { calls, handler } = keeper();
      await callee.register(uri("kept"), handler);
      lost.call(uri("kept")).answer.catch(() => {});
      await until(() => expect(calls).toHaveLength(1));
      lost.drop();
      await lost.left;
      if (library.name === "Autobahn|Python") await calls[0]?.interrupted;
      calls[0]?.answer.resolve(payloadOf(["for nobody"]));
      const answer = caller.call(uri("kept")).answer;
      await until(() => expect(calls).toHaveLength(2));
      calls[1]?.answer.resolve(payloadOf(["for you"]));
      expect(await answer).toEqual(payloadOf(["for you"]));
    },
  },
  {
    title: "a call that runs is answered although its procedure was unregistered meanwhile",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      const { calls, handler } = keeper();
      const registration = await callee.register(uri("kept"), handler);
      const { answer } = caller.call(uri("kept"));
      await until(() => expect(calls).toHaveLength(1));
      await callee.unregister(registration);
      calls[0]?.answer.resolve(payloadOf(["still"]));
      expect(await answer).toEqual(payloadOf(["still"]));
    },
  },
  {
    title: "the caller is disclosed where the configuration says so, and nowhere else",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("carol")];
      const { calls, handler } = keeper();
      await callee.register(`open.${uri("who")}`, handler);
      await callee.register(uri("who"), handler);
      const answers = [caller.call(`open.${uri("who")}`).answer];
      await until(() => expect(calls).toHaveLength(1));
      answers.push(caller.call(uri("who")).answer);
      await until(() => expect(calls).toHaveLength(2));
      for (const { answer } of calls) answer.resolve(payloadOf());
      await Promise.all(answers);
      const [named, nameless] = calls;
      expect(named).toMatchObject({ caller: caller.id, caller_authid: "carol", caller_authrole: "guest" });
      expect(nameless?.caller).toBeUndefined();
    },
  },
  {
    title:
      "a canceled call ends with wamp.error.canceled, its callee is interrupted where it can be, and goes on",
    except: {
      "Crossbar.io with autobahn-js":
        "its callees cannot be interrupted, and Crossbar.io never answers who cancels such a call",
    },
    async run({ join, uri, library }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      const { calls, handler } = keeper();
      await callee.register(uri("kept"), handler);
      const call = caller.call(uri("kept"));
      const answer = refusal(call.answer);
      await until(() => expect(calls).toHaveLength(1));
      call.cancel();
      expect(await answer).toBe("wamp.error.canceled");
      if (library.name === "Autobahn|Python") await calls[0]?.interrupted;
      calls[0]?.answer.resolve(payloadOf(["too late"]));
      const next = caller.call(uri("kept")).answer;
      await until(() => expect(calls).toHaveLength(2));
      calls[1]?.answer.resolve(payloadOf(["in time"]));
      expect(await next).toEqual(payloadOf(["in time"]));
    },
  },
  {
    title: "progressive results come in their order before the last one, to who asked for them",
    except: {
      "our router with autobahn-js":
        "its callees do not announce call_canceling, without which a caller's going could not end the progress",
    },
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      await callee.register(uri("steps"), ({ progress }) => {
        for (let step = 0; step < 50; step++) progress?.(payloadOf([step], { step }));
        return payloadOf([progress !== undefined]);
      });
      const call = caller.call(uri("steps"), payloadOf(), { progress: true });
      expect(await call.answer).toEqual(payloadOf([true]));
      await until(() => expect(call.progress).toHaveLength(50));
      expect(call.progress.map(({ kwargs }) => kwargs["step"])).toEqual(
        call.progress.map((_, index) => index),
      );
      const plain = caller.call(uri("steps"));
      expect(await plain.answer).toEqual(payloadOf([false]));
      expect(plain.progress).toEqual([]);
    },
  },
  {
    title: "progress of a call whose caller has gone goes nowhere",
    async run({ join, uri }) {
      const [callee, lost, caller] = [await join("alice"), await join("bob"), await join("bob")];
      const { calls, handler } = keeper();
      await callee.register(uri("kept"), handler);
      lost.call(uri("kept"), payloadOf(), { progress: true }).answer.catch(() => {});
      await until(() => expect(calls).toHaveLength(1));
      lost.drop();
      await lost.left;
      for (let step = 0; step < 10; step++) calls[0]?.progress?.(payloadOf([step]));
      const answer = caller.call(uri("kept")).answer;
      await until(() => expect(calls).toHaveLength(2));
      calls[1]?.answer.resolve(payloadOf(["here"]));
      expect(await answer).toEqual(payloadOf(["here"]));
    },
  },
  {
    title: "sealed calls and results pass unread between every pair of serializers",
    except: { "autobahn-js": "it has no payload transparency; shared/wamp/passthru.ts gives it some" },
    async run({ join, uri }) {
      const sealed = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 91) % 256));
      const callee = await join("alice");
      let got: unknown;
      await callee.register(`sealed.${uri("echo")}`, ({ args }) => {
        [got] = args;
        return payloadOf(args);
      });
      for (const serializer of ["json", "msgpack", "cbor"] as const) {
        // oxlint-disable-next-line no-await-in-loop
        const caller = await join("bob", serializer);
        // oxlint-disable-next-line no-await-in-loop
        const { args } = await caller.call(`sealed.${uri("echo")}`, payloadOf([sealed])).answer;
        expect(args).toEqual([sealed]);
        expect(got).toEqual(sealed);
      }
    },
  },
];
