import { describe, expect, it } from "vitest";
import { Broker } from "../../router/broker.ts";
import { systemClock } from "../../router/clock.ts";
import { RequestRefused } from "../../router/faults.ts";
import type { Member } from "../../router/member.ts";
import type { Publish } from "../../router/messages.ts";
import type { Permission } from "../../router/permissions.ts";
import { Subscriptions } from "../../router/subscriptions.ts";
import type { Serializer } from "../../shared/wamp/serializers.ts";
import { serializerOf } from "./raw-client.ts";

const subscribeTo = (uri: string, match: "exact" | "prefix"): Permission => ({
  uri,
  match,
  allow: new Set(["publish", "subscribe"]),
  disclose: { publisher: false, caller: false },
});

function makeMember(session: number, serializer: Serializer) {
  const inbox: unknown[][] = [];
  const member: Member = {
    identity: { session, realm: "r", authid: "a", role: "r" },
    serializer,
    send: (frame) => void inbox.push(serializer.parse(frame)),
  };
  return { member, inbox };
}

function makeBroker(...permissions: Permission[]): Broker {
  return new Broker({ subscriptions: new Subscriptions(systemClock), permissionsOf: () => permissions });
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
    const broker = makeBroker(subscribeTo("", "prefix"));
    const publisher = makeMember(1, serializerOf("cbor"));
    const subscribers = Array.from({ length: 20 }, (_, index) => makeMember(index + 2, counting));
    for (const { member } of subscribers)
      broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "exact" });
    count = 0;
    broker.publish(publisher.member, publish("a.b"));
    expect(count).toBe(1);
    expect(subscribers.every(({ inbox }) => inbox.at(-1)?.[0] === 36)).toBe(true);
  });

  it("refuses, and sends to nobody, what the serializer of one subscriber cannot write", () => {
    const broker = makeBroker(subscribeTo("", "prefix"));
    const good = makeMember(1, serializerOf("json"));
    const failing: Serializer = {
      ...serializerOf("cbor"),
      serialize: (message) => {
        if (message[0] === 36) throw new RangeError("nested too deep");
        return serializerOf("cbor").serialize(message);
      },
    };
    const bad = makeMember(2, failing);
    for (const { member } of [good, bad])
      broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "exact" });
    const publisher = makeMember(3, serializerOf("json"));
    expect(() => broker.publish(publisher.member, publish("a.b"))).toThrow(RequestRefused);
    expect([good.inbox, bad.inbox, publisher.inbox].map((inbox) => inbox.length)).toEqual([1, 1, 0]);
  });

  it("holds back what a pattern stands for beyond the role's permission", () => {
    // The pattern's own text is permitted, the topics that it also stands for are not.
    const broker = makeBroker(subscribeTo("a.b", "exact"), {
      ...subscribeTo("a.bc", "exact"),
      allow: new Set(["publish"]),
    });
    const { member, inbox } = makeMember(1, serializerOf("json"));
    broker.subscribe(member, { type: "subscribe", request: 1, topic: "a.b", match: "prefix" });
    const publisher = makeMember(2, serializerOf("json"));
    broker.publish(publisher.member, publish("a.bc"));
    broker.publish(publisher.member, publish("a.b"));
    expect(inbox.filter(([type]) => type === 36).map(([, , , details]) => details)).toEqual([
      { topic: "a.b" },
    ]);
  });
});
