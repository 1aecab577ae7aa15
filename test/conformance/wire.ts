/** What no library would send, or tell of: messages as they are on the wire, sent and read one by one. */
import { expect } from "vitest";
import { KEYS, type Authid, type TestRouter } from "./routers.ts";
import { RawClient, record } from "../router/raw-client.ts";
import type { SerializerId } from "../../shared/wamp/serializers.ts";

export interface WireWorld {
  readonly router: TestRouter;
  readonly serializer: SerializerId;
  dial(): Promise<RawClient>;
  join(authid?: Authid, roles?: object): Promise<RawClient>;
  uri(tail: string): string;
}

export interface WireScenario {
  readonly title: string;
  readonly run: (world: WireWorld) => Promise<void>;
  readonly except?: Partial<Record<TestRouter["name"], string>>;
}

const CANCELED = "wamp.error.canceled";

/** Request ids from the least to the largest that WAMP has; both sides of what fits into 32 bits. */
const REQUESTS = [1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1, 2 ** 53] as const;

/** Every request with every id, in the form that `written` gives it. */
async function exchangeIds(
  { join, uri }: WireWorld,
  written: (request: number) => number | bigint,
): Promise<void> {
  const client = await join();
  for (const number of REQUESTS) {
    const request = written(number);
    const asked = async (message: readonly unknown[], head: readonly number[]) => {
      const answer = await client.ask(message);
      expect(answer.slice(0, head.length)).toEqual(head);
      expect(Number(answer[head.length])).toBe(number);
      return answer[head.length + 1];
    };
    // oxlint-disable no-await-in-loop
    const subscription = await asked([32, request, {}, uri("topic")], [33]);
    await asked([16, request, { acknowledge: true }, uri("elsewhere")], [17]);
    const registration = await asked([64, request, {}, uri(`procedure${number}`)], [65]);
    await asked([48, request, {}, uri("nothing")], [8, 48]);
    await asked([66, request, registration], [67]);
    await asked([34, request, subscription], [35]);
    // oxlint-enable no-await-in-loop
  }
}

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

/** What a session that can do everything says of itself; autobahn-js leaves out what is named here. */
export const ABLE = {
  publisher: { features: {} },
  subscriber: { features: {} },
  caller: { features: { call_canceling: true, progressive_call_results: true } },
  callee: { features: { call_canceling: true, progressive_call_results: true } },
};
const UNINTERRUPTIBLE = { ...ABLE, callee: { features: { progressive_call_results: true } } };

export const wire: readonly WireScenario[] = [
  {
    title: "request ids come back as they were sent, however large",
    run: (world) => exchangeIds(world, (request) => (request < 2 ** 32 ? request : BigInt(request))),
  },
  {
    title: "request ids that a client's library writes as floating point come back so",
    except: { "Crossbar.io": "it takes whole numbers only, and ends the connection" },
    run: (world) => exchangeIds(world, (request) => request),
  },
  {
    title: "ids of the global scope are drawn at random, from 1 to 2^53",
    async run({ join, uri }) {
      const clients = await Promise.all(Array.from({ length: 8 }, () => join()));
      const sessions = clients.map(({ session }) => session);
      const publications = [];
      for (const [request, client] of clients.entries())
        // oxlint-disable-next-line no-await-in-loop
        publications.push(
          Number((await client.ask([16, request + 1, { acknowledge: true }, uri("topic")]))[2]),
        );
      for (const ids of [sessions, publications]) {
        expect(new Set(ids).size).toBe(8);
        for (const id of ids) expect(id >= 1 && id <= 2 ** 53 && Number.isInteger(id)).toBe(true);
        // Eight numbers in a row of 2^20, drawn from 2^32 at least: once in 10^25.
        expect(Math.max(...ids) - Math.min(...ids)).toBeGreaterThan(2 ** 20);
      }
    },
  },
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
    title:
      "subscribing twice gives the same id and one EVENT; unsubscribing twice, or what is not one's own, is refused",
    async run({ join, uri }) {
      const [publisher, subscriber, stranger] = [await join("alice"), await join("bob"), await join("carol")];
      const [, , id] = await subscriber.ask([32, 1, {}, uri("topic")]);
      expect(await subscriber.ask([32, 2, {}, uri("topic")])).toEqual([33, 2, id]);
      const [, , publication] = await publisher.ask([16, 1, { acknowledge: true }, uri("topic"), ["x"]]);
      expect(await subscriber.settled()).toEqual([[36, id, publication, {}, ["x"]]]);
      const refused = [8, 34, 3, expect.anything() as unknown, "wamp.error.no_such_subscription"];
      expect((await stranger.ask([34, 3, id])).slice(0, 5)).toEqual(refused);
      expect((await stranger.ask([34, 3, 12345])).slice(0, 5)).toEqual(refused);
      expect(await subscriber.ask([34, 3, id])).toEqual([35, 3]);
      expect((await subscriber.ask([34, 3, id])).slice(0, 5)).toEqual(refused);
      await publisher.ask([16, 2, { acknowledge: true }, uri("topic"), ["y"]]);
      expect(await subscriber.settled()).toEqual([]);
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
  {
    title: "an event is acknowledged before the publisher has it itself, and exact ones name no topic",
    async run({ join, uri }) {
      const client = await join();
      const [, , exact] = await client.ask([32, 1, {}, uri("a.b")]);
      const [, , prefix] = await client.ask([32, 2, { match: "prefix" }, uri("a")]);
      client.send([16, 3, { acknowledge: true, exclude_me: false }, uri("a.b"), [], { k: 1 }]);
      const messages = await client.settled();
      expect(messages).toHaveLength(3);
      const publication = messages.find(([code]) => code === 17)?.[2];
      expect(messages.filter(([code]) => code === 36)).toEqual(
        expect.arrayContaining([
          [36, exact, publication, {}, [], { k: 1 }],
          [36, prefix, publication, { topic: uri("a.b") }, [], { k: 1 }],
        ]),
      );
    },
  },
  ...(
    [
      ["before HELLO", [32, 1, {}, "topic"]],
      ["before HELLO, an answer to no challenge", [5, "00", {}]],
      ["a list that is no message", [999, 1]],
      ["a list without anything", []],
    ] as const
  ).map(([what, message]): WireScenario => ({
    title: `what comes out of turn ends the connection as a protocol error: ${what}`,
    ...(message[0] === 32 || message[0] === 5
      ? { except: { "Crossbar.io": "it drops the session and leaves the WebSocket open" } }
      : {}),
    async run({ dial }) {
      const client = await dial();
      client.send([...message]);
      expect(await client.closed).toBe(1002);
    },
  })),
  {
    title: "a second HELLO ends the session",
    except: { "Crossbar.io": "it ignores it" },
    async run({ join }) {
      const client = await join();
      client.hello("alice", KEYS.alice.publicHex);
      expect(await client.closed).toBe(1002);
    },
  },
  {
    title: "GOODBYE is answered and ends the connection in order",
    except: {
      "Crossbar.io": "it answers wamp.close.normal, and leaves the WebSocket open for another HELLO",
    },
    async run({ join }) {
      const client = await join();
      expect(await client.ask([6, {}, "wamp.close.close_realm"])).toEqual([
        6,
        {},
        "wamp.close.goodbye_and_out",
      ]);
      expect(await client.closed).toBe(1000);
    },
  },
  {
    title: "a client's ABORT instead of an answer to the challenge ends the connection in order",
    except: { "Crossbar.io": "it takes it for a protocol error" },
    async run({ dial }) {
      const client = await dial();
      client.hello("alice", KEYS.alice.publicHex);
      expect((await client.next())[0]).toBe(4);
      client.send([3, {}, "wamp.error.cannot_authenticate"]);
      expect(await client.closed).toBe(1000);
    },
  },
];
