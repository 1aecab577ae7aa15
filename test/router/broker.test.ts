import { describe, expect, it } from "vitest";
import { Broker } from "../../router/broker.ts";
import { systemClock } from "../../router/clock.ts";
import { RequestRefused } from "../../router/faults.ts";
import { Holdings } from "../../router/holdings.ts";
import type { Publish } from "../../router/messages.ts";
import type { Permission } from "../../router/permissions.ts";
import type { Serializer } from "../../shared/wamp/serializers.ts";
import { serializerOf } from "./raw-client.ts";
import { makeMember, permit } from "./realm-bed.ts";

function makeBroker(...permissions: Permission[]): Broker {
  return new Broker({
    subscriptions: new Holdings(systemClock, "subscriptions"),
    permissionsOf: () => permissions,
  });
}

const publish = (topic: string): Publish => ({
  type: "publish",
  request: 1,
  topic,
  acknowledge: true,
  options: {},
  payload: { tail: [[1]], encoding: {} },
});

describe("the broker", () => {
  it("serialises an event once for each serializer, however many get it", () => {
    let count = 0;
    const json = serializerOf("json");
    const counting: Serializer = { ...json, serialize: (message) => ((count += 1), json.serialize(message)) };
    const broker = makeBroker(permit("prefix", ""));
    const publisher = makeMember(1, { serializer: serializerOf("cbor") });
    const subscribers = Array.from({ length: 20 }, (_, index) =>
      makeMember(index + 2, { serializer: counting }),
    );
    for (const { member } of subscribers)
      broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "exact" });
    count = 0;
    broker.publish(publisher.member, publish("a.b"));
    expect(count).toBe(1);
    expect(subscribers.every(({ inbox }) => inbox.at(-1)?.[0] === 36)).toBe(true);
  });

  it("refuses, and sends to nobody, what the serializer of one subscriber cannot write", () => {
    const broker = makeBroker(permit("prefix", ""));
    const good = makeMember(1);
    const failing: Serializer = {
      ...serializerOf("cbor"),
      serialize: (message) => {
        if (message[0] === 36) throw new RangeError("nested too deep");
        return serializerOf("cbor").serialize(message);
      },
    };
    const bad = makeMember(2, { serializer: failing });
    for (const { member } of [good, bad])
      broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "exact" });
    const publisher = makeMember(3);
    expect(() => broker.publish(publisher.member, publish("a.b"))).toThrow(RequestRefused);
    expect([good.inbox, bad.inbox, publisher.inbox].map((inbox) => inbox.length)).toEqual([1, 1, 0]);
  });

  it("holds back what a pattern stands for beyond the role's permission", () => {
    // The pattern's own text is permitted, the topics that it also stands for are not.
    const broker = makeBroker(permit("exact", "a.b"), permit("exact", "a.bc", ["publish"]));
    const { member, inbox } = makeMember(1);
    broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "prefix" });
    const publisher = makeMember(2);
    broker.publish(publisher.member, publish("a.bc"));
    broker.publish(publisher.member, publish("a.b"));
    expect(inbox.filter(([type]) => type === 36).map(([, , , details]) => details)).toEqual([
      { topic: "a.b" },
    ]);
  });
});
