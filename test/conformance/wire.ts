/** Sessions, ids and subscriptions on the wire. */
import { expect } from "vitest";
import { KEYS } from "./routers.ts";
import type { WireScenario, WireWorld } from "./wire-scenario.ts";

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
