import { describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { bytes, record, type RawClient } from "./raw-client.ts";
import { EVERYTHING, startTestbed } from "./testbed.ts";

const ids: SerializerId[] = ["json", "msgpack", "cbor"];
const sealed = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
const SEALED = { acknowledge: true, enc_algo: "cryptobox", enc_serializer: "json", enc_key: "k1" };

async function subscribe(client: RawClient, topic: string, match?: string): Promise<unknown> {
  const [type, request, id] = await client.ask([32, 1, match ? { match } : {}, topic]);
  expect([type, request]).toEqual([33, 1]);
  return id;
}

describe("publish and subscribe", () => {
  it.each(ids)("passes sealed bytes from %s to every serializer unread", async (id) => {
    const { join } = await startTestbed();
    const relay = await join("relay", id);
    const builders = await Promise.all(ids.map((each) => join("builder", each)));
    const subscriptions = await Promise.all(
      builders.map((each) => subscribe(each, "webhook.github.", "prefix")),
    );
    expect(new Set(subscriptions).size).toBe(1);
    const [type, request, publication] = await relay.ask([16, 7, SEALED, "webhook.github.push", sealed]);
    expect([type, request]).toEqual([17, 7]);
    for (const each of builders) {
      const { acknowledge: _, ...encoding } = SEALED;
      // oxlint-disable-next-line no-await-in-loop
      const event = await each.next();
      expect(event.slice(0, 4)).toEqual([
        36,
        subscriptions[0],
        publication,
        { ...encoding, topic: "webhook.github.push" },
      ]);
      expect(event).toHaveLength(5);
      expect(bytes(event[4]).equals(sealed)).toBe(true);
    }
  });

  it("passes plain arguments, 64-bit integers and bytes inside them between serializers", async () => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const relay = await join("relay", "msgpack");
    const others = await Promise.all(ids.map((each) => join("relay", each)));
    await Promise.all(others.map((each) => subscribe(each, "a.b")));
    relay.send([16, 1, {}, "a.b", [1, "two", 2n ** 40n, null], { bytes: sealed, deep: { list: [true] } }]);
    for (const each of others) {
      // oxlint-disable-next-line no-await-in-loop
      const [, , , , args, kwargs] = await each.next();
      const [one, two, large, none] = Object.values(record(args));
      expect([one, two, Number(large), none]).toEqual([1, "two", 2 ** 40, null]);
      expect(bytes(record(kwargs)["bytes"]).equals(sealed)).toBe(true);
      expect(kwargs).toMatchObject({ deep: { list: [true] } });
    }
  });

  it("refuses text that JSON would have for bytes where a subscriber is on json, and nobody gets it", async () => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const [relay, ...others] = [
      await join("relay", "cbor"),
      await join("relay"),
      await join("relay", "json"),
    ];
    await Promise.all(others.map((each) => subscribe(each, "a.b")));
    const answer = await relay.ask([16, 1, { acknowledge: true }, "a.b", [], { text: "\0!" }]);
    expect(answer.slice(0, 5)).toEqual([8, 16, 1, {}, "wamp.error.invalid_argument"]);
    for (const each of others) {
      // oxlint-disable-next-line no-await-in-loop
      expect(await each.settled()).toEqual([]);
    }
  });

  it("carries 25 MiB sealed on json", { timeout: 30_000 }, async () => {
    const { join } = await startTestbed();
    const [relay, builder] = [await join("relay", "json"), await join("builder", "json")];
    await subscribe(builder, "webhook.github.push");
    const payload = Buffer.alloc(25 * 1024 * 1024, "0123456789abcdef~");
    const [type] = await relay.ask([16, 1, SEALED, "webhook.github.push", payload]);
    expect(type).toBe(17);
    const [, , , , received] = await builder.next();
    expect(payload.equals(bytes(received))).toBe(true);
  });

  it("acknowledges in order, before the events, and only when asked", async () => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const relay = await join("relay");
    await subscribe(relay, "a.b");
    for (let request = 1; request <= 50; request += 1)
      relay.send([16, request, { acknowledge: request % 2 === 0, exclude_me: false }, "a.b", [request]]);
    const messages = await relay.settled();
    const acknowledged = messages.filter(([type]) => type === 17);
    expect(acknowledged.map(([, request]) => request)).toEqual(
      Array.from({ length: 25 }, (_, n) => 2 * n + 2),
    );
    const events = messages.filter(([type]) => type === 36);
    expect(events.map(([, , , , args]) => args)).toEqual(Array.from({ length: 50 }, (_, n) => [n + 1]));
    for (const [, , publication] of acknowledged) {
      const at = (type: number) => messages.findIndex((each) => each[0] === type && each[2] === publication);
      expect(at(17)).toBeLessThan(at(36));
    }
  });

  it("does not send an event to its publisher unless asked to, and tells who published", async () => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const [one, two] = [await join("relay"), await join("relay")];
    await Promise.all([subscribe(one, "a.b"), subscribe(two, "a.b")]);
    await one.ask([16, 2, { acknowledge: true }, "a.b"]);
    expect(await one.settled()).toEqual([]);
    const [, , , details] = await two.next();
    expect(details).toEqual({
      publisher: one.session,
      publisher_authid: "relay",
      publisher_authrole: "github",
    });
  });

  it.each([
    [{ eligible: ["two"] }, ["two"]],
    [{ exclude: ["two"] }, ["three"]],
    [{ eligible_authid: ["nobody"] }, []],
    [{ exclude_authrole: ["github"] }, []],
    [{ eligible: [] }, []],
    [{ eligible_authrole: [] }, []],
    [{ exclude: [] }, ["two", "three"]],
    [{ eligible_authid: ["relay"], exclude: ["two"] }, ["three"]],
  ])("sends to those that the publisher's lists %j leave", async (lists, expected) => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const one = await join("relay");
    const others = { two: await join("relay", "json"), three: await join("relay", "cbor") };
    await Promise.all(Object.values(others).map((each) => subscribe(each, "a.b")));
    const withIds = Object.fromEntries(
      Object.entries(lists).map(([key, names]) => [
        key,
        names.map((name) => (name === "two" ? others.two.session : name)),
      ]),
    );
    await one.ask([16, 1, { acknowledge: true, ...withIds }, "a.b"]);
    const received = await Promise.all(
      Object.entries(others).map(async ([name, each]) => ((await each.settled()).length > 0 ? [name] : [])),
    );
    expect(received.flat()).toEqual(expected);
  });

  it.each([
    ["exact", "a.b.c", ["a.b.c"]],
    ["prefix", "a.b", ["a.b", "a.b.c", "a.bc"]],
    ["prefix", "a.b.", ["a.b.c"]],
    ["prefix", "", ["a.b", "a.b.c", "a.bc", "a.x.c"]],
    ["wildcard", "a..c", ["a.b.c", "a.x.c"]],
    ["wildcard", "..", ["a.b.c", "a.x.c"]],
  ])("matches %s %j", async (match, pattern, expected) => {
    const { join } = await startTestbed({ changes: [EVERYTHING] });
    const [publisher, subscriber] = [await join("relay"), await join("relay")];
    await subscribe(subscriber, pattern, match);
    const topics = ["a.b", "a.b.c", "a.bc", "a.x.c"];
    for (const topic of topics) publisher.send([16, 1, {}, topic, [topic]]);
    await publisher.settled();
    const events = (await subscriber.settled()).map(([, , , details, args]) => ({
      topic: String(record(args)[0]),
      told: record(details)["topic"],
    }));
    // The widest patterns stand for the router's own announcements too.
    const published = events.filter(({ topic }) => topics.includes(topic));
    expect(published).toEqual(
      topics
        .filter((each) => expected.includes(each))
        .map((topic) => ({ topic, told: match === "exact" ? undefined : topic })),
    );
  });
});
