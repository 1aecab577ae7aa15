/** Publishing and subscribing: WAMP Basic Profile, and of the Advanced Profile what the broker announces. */
import { expect } from "vitest";
import { until } from "../helpers/until.ts";
import { payloadOf, type Client, type Payload, type PublishOptions } from "./client.ts";
import { hasExactly, makeBarrier, type Scenario } from "./scenario.ts";

/** What every serializer can say. Whole numbers beyond 2^53 and lone surrogates are not among it. */
export const PAYLOADS: Readonly<Record<string, Payload>> = {
  nothing: payloadOf(),
  "arguments only": payloadOf([1, "two", [3, [4]], { five: 5 }, null, true, false]),
  "keywords only": payloadOf([], { a: 1, b: [2, { c: null }] }),
  "numbers at their borders": payloadOf([
    0,
    -1,
    255,
    256,
    2 ** 31,
    2 ** 32,
    2 ** 53 - 1,
    -(2 ** 53) + 1,
    1.5,
    -0.25,
  ]),
  "text of every kind": payloadOf(
    ["", "ünïcödé", "日本語", "😀", 'quote " backslash \\ newline \n', " leading space"],
    { "": "empty key", "a.b": 1 },
  ),
};

interface Party {
  readonly alice: Client;
  readonly bob: Client;
  readonly carol: Client;
}

/** Alice publishes; of alice, bob and carol (role `guest`) these get it. */
const AUDIENCES: ReadonlyArray<
  readonly [string, (party: Party) => PublishOptions, ReadonlyArray<keyof Party>]
> = [
  ["nothing said: everybody but the publisher", () => ({}), ["bob", "carol"]],
  ["exclude_me false", () => ({ exclude_me: false }), ["alice", "bob", "carol"]],
  ["exclude", ({ bob }) => ({ exclude: [bob.id] }), ["carol"]],
  ["exclude_authid", () => ({ exclude_authid: ["bob", "nobody"] }), ["carol"]],
  ["exclude_authrole", () => ({ exclude_authrole: ["guest"] }), ["bob"]],
  ["eligible", ({ bob }) => ({ eligible: [bob.id, 1] }), ["bob"]],
  ["eligible_authid", () => ({ eligible_authid: ["carol"] }), ["carol"]],
  ["eligible_authrole", () => ({ eligible_authrole: ["guest"] }), ["carol"]],
  [
    "eligible and excluded: excluded",
    ({ bob, carol }) => ({ eligible: [bob.id, carol.id], exclude: [bob.id] }),
    ["carol"],
  ],
  [
    "eligible to the publisher, exclude_me false",
    ({ alice }) => ({ eligible: [alice.id], exclude_me: false }),
    ["alice"],
  ],
];

export const pubsub: readonly Scenario[] = [
  ...Object.entries(PAYLOADS).map(([what, payload]): Scenario => ({
    title: `an event arrives as it was published: ${what}`,
    async run({ join, uri }) {
      const [publisher, subscriber] = [await join("alice"), await join("bob")];
      const { events } = await subscriber.subscribe(uri("topic"));
      await publisher.publish(uri("topic"), payload);
      await until(() => expect(events).toHaveLength(1));
      expect(payloadOf(events[0]?.args, events[0]?.kwargs)).toEqual(payload);
    },
  })),
  {
    title: "the acknowledgement names the publication that the events name, and others are others",
    async run({ join, uri }) {
      const [publisher, first, second] = [await join("alice"), await join("bob"), await join("carol")];
      const heard = [await first.subscribe(uri("topic")), await second.subscribe(uri("topic"))];
      const ids = [await publisher.publish(uri("topic")), await publisher.publish(uri("topic"))];
      for (const { events } of heard) {
        await until(() => expect(events).toHaveLength(2));
        expect(events.map(({ publication }) => publication)).toEqual(ids);
      }
      expect(ids[0]).not.toBe(ids[1]);
      for (const id of ids) expect(id).toSatisfy((value: number) => value >= 1 && value <= 2 ** 53);
    },
  },
  {
    title: "events of one publisher come in its order, acknowledged or not",
    async run({ join, uri }) {
      const [publisher, subscriber] = [await join("alice"), await join("bob")];
      const { events } = await subscriber.subscribe(uri("topic"));
      const numbers = Array.from({ length: 300 }, (_, index) => index);
      const published = numbers.map((number) =>
        publisher.publish(uri("topic"), payloadOf([number]), { acknowledge: number % 7 === 0 }),
      );
      await Promise.all(published);
      await until(() => expect(events).toHaveLength(numbers.length));
      expect(events.map(({ args }) => args[0])).toEqual(numbers);
    },
  },
  {
    title: "each of a session's overlapping subscriptions gets its own EVENT, with id and topic",
    async run({ join, uri }) {
      const [publisher, subscriber] = [await join("alice"), await join("bob")];
      const topic = uri("a.b.c");
      const subscriptions = [
        await subscriber.subscribe(topic),
        await subscriber.subscribe(uri("a."), "prefix"),
        await subscriber.subscribe(uri("a.b"), "prefix"),
        await subscriber.subscribe(uri("a..c"), "wildcard"),
        await subscriber.subscribe(uri("..c"), "wildcard"),
      ];
      const others = [
        await subscriber.subscribe(uri("a.b")),
        await subscriber.subscribe(uri("a.b.c."), "prefix"),
        await subscriber.subscribe(uri("a."), "wildcard"),
        await subscriber.subscribe(uri("a..d"), "wildcard"),
      ];
      expect(new Set([...subscriptions, ...others].map(({ id }) => id)).size).toBe(9);
      const barrier = await makeBarrier({ uri }, publisher, subscriber);
      const publication = await publisher.publish(topic);
      for (const { events } of subscriptions) {
        await hasExactly(events, 1, barrier);
        expect(events[0]).toMatchObject({ topic, publication });
      }
      for (const { events } of others) expect(events).toEqual([]);
    },
  },
  {
    title: "subscribing twice is one subscription with one EVENT, the same in every session",
    async run({ join, uri }) {
      const [publisher, subscriber, other] = [await join("alice"), await join("bob"), await join("bob")];
      const twice = [await subscriber.subscribe(uri("topic")), await subscriber.subscribe(uri("topic"))];
      const elsewhere = await other.subscribe(uri("topic"));
      const prefix = await other.subscribe(uri("topic"), "prefix");
      expect(twice[0]?.id).toBe(twice[1]?.id);
      expect(elsewhere.id).toBe(twice[0]?.id);
      expect(prefix.id).not.toBe(elsewhere.id);
      const barrier = await makeBarrier({ uri }, publisher, subscriber);
      await publisher.publish(uri("topic"));
      // Each of the library's two handlers has it once: two EVENTs would be twice each.
      for (const { events } of twice) await hasExactly(events, 1, barrier);
    },
  },
  {
    title: "who unsubscribes gets nothing any more, others do, and may subscribe again",
    async run({ join, uri }) {
      const [publisher, subscriber, other] = [await join("alice"), await join("bob"), await join("carol")];
      const subscription = await subscriber.subscribe(uri("topic"));
      const elsewhere = await other.subscribe(uri("topic"));
      const barrier = await makeBarrier({ uri }, publisher, subscriber);
      await publisher.publish(uri("topic"));
      await hasExactly(subscription.events, 1, barrier);
      await subscriber.unsubscribe(subscription);
      await publisher.publish(uri("topic"));
      await until(() => expect(elsewhere.events).toHaveLength(2));
      await barrier.pass();
      expect(subscription.events).toHaveLength(1);
      const again = await subscriber.subscribe(uri("topic"));
      expect(again.id).toBe(elsewhere.id);
      await publisher.publish(uri("topic"));
      await hasExactly(again.events, 1, barrier);
    },
  },
  {
    title: "who has left or was cut off gets nothing, and disturbs nobody",
    async run({ join, uri }) {
      const [publisher, leaver, lost, stays] = [
        await join("alice"),
        await join("bob"),
        await join("bob"),
        await join("bob"),
      ];
      await leaver.subscribe(uri("topic"));
      await lost.subscribe(uri("topic"));
      const { events } = await stays.subscribe(uri("topic"));
      leaver.leave();
      lost.drop();
      await Promise.all([leaver.left, lost.left]);
      await publisher.publish(uri("topic"));
      await until(() => expect(events).toHaveLength(1));
    },
  },
  ...AUDIENCES.map(([what, options, expected]): Scenario => ({
    title: `who gets it: ${what}`,
    async run({ join, uri }) {
      const party = { alice: await join("alice"), bob: await join("bob"), carol: await join("carol") };
      const entries = Object.entries(party);
      const heard = await Promise.all(entries.map(([, client]) => client.subscribe(uri("topic"))));
      const barriers = await Promise.all(
        entries.map(([, client]) => makeBarrier({ uri }, party.alice, client)),
      );
      await party.alice.publish(uri("topic"), payloadOf(["one"]), options(party));
      await Promise.all(barriers.map((barrier) => barrier.pass()));
      const got = entries.filter((_, index) => heard[index]?.events.length === 1).map(([name]) => name);
      expect(got).toEqual(expected);
    },
  })),
  {
    title: "the publisher is disclosed where the configuration says so, and nowhere else",
    async run({ join, uri }) {
      const [publisher, subscriber] = [await join("carol"), await join("bob")];
      const named = await subscriber.subscribe(`open.${uri("topic")}`);
      const nameless = await subscriber.subscribe(uri("topic"));
      await publisher.publish(`open.${uri("topic")}`);
      await publisher.publish(uri("topic"));
      await until(() => expect(nameless.events).toHaveLength(1));
      expect(named.events[0]).toMatchObject({
        publisher: publisher.id,
        publisher_authid: "carol",
        publisher_authrole: "guest",
      });
      expect(nameless.events[0]?.publisher ?? undefined).toBeUndefined();
      expect(nameless.events[0]?.publisher_authid ?? undefined).toBeUndefined();
    },
  },
  {
    title: "an event comes to subscribers of every serializer as it was published with any",
    async run({ join, uri }) {
      const payload = payloadOf([1, "zwei", [3.5], null], { deep: { er: [true] } });
      const publisher = await join("alice");
      const heard = [];
      for (const serializer of ["json", "msgpack", "cbor"] as const)
        // oxlint-disable-next-line no-await-in-loop
        heard.push(await (await join("bob", serializer)).subscribe(uri("topic")));
      await publisher.publish(uri("topic"), payload);
      for (const { events } of heard) {
        // oxlint-disable-next-line no-await-in-loop
        await until(() => expect(events).toHaveLength(1));
        expect(payloadOf(events[0]?.args, events[0]?.kwargs)).toEqual(payload);
      }
    },
  },
  {
    title: "sealed bytes come unread to subscribers of every serializer",
    except: { "autobahn-js": "it has no payload transparency; shared/wamp/passthru.ts gives it some" },
    async run({ join, uri }) {
      const sealed = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 37) % 256));
      const publisher = await join("alice");
      const heard = [];
      for (const serializer of ["json", "msgpack", "cbor"] as const)
        // oxlint-disable-next-line no-await-in-loop
        heard.push(await (await join("bob", serializer)).subscribe(`sealed.${uri("topic")}`));
      await publisher.publish(`sealed.${uri("topic")}`, payloadOf([sealed]));
      for (const { events } of heard) {
        // oxlint-disable-next-line no-await-in-loop
        await until(() => expect(events).toHaveLength(1));
        expect(events[0]?.args).toEqual([sealed]);
      }
    },
  },
];
