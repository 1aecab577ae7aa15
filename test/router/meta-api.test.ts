import { describe, expect, it } from "vitest";
import { until } from "../helpers/until.ts";
import type { RawClient } from "./raw-client.ts";
import { ManualClock } from "./manual-clock.ts";
import { startRealm, type Actor } from "./realm-bed.ts";
import { startTestbed } from "./testbed.ts";

async function call(client: RawClient, name: string, ...args: unknown[]): Promise<unknown> {
  const reply = await client.ask([48, 1, {}, `wamp.subscription.${name}`, args]);
  if (reply[0] === 8) return reply[4];
  expect(reply.slice(0, 3)).toEqual([50, 1, {}]);
  expect(reply[3]).toHaveLength(1);
  return Object(reply[3])[0];
}

async function subscribe(client: RawClient, topic: string, match = "exact"): Promise<unknown> {
  return (await client.ask([32, 1, { match }, topic]))[2];
}

describe("the subscription meta API", () => {
  it("tells what is subscribed to, by whom and by how many", async () => {
    const testbed = await startTestbed({ clock: new ManualClock() });
    const relay = await testbed.join("relay");
    const [one, two] = [await testbed.join("builder", "json"), await testbed.join("builder", "cbor")];
    expect(await call(relay, "match", "webhook.github.push")).toBeNull();
    const exact = await subscribe(one, "webhook.github.push");
    const prefix = await subscribe(one, "webhook.github.", "prefix");
    expect(await subscribe(two, "webhook.github.", "prefix")).toBe(prefix);
    const wildcard = await subscribe(two, "webhook.github..x", "wildcard");

    expect(await call(relay, "list")).toEqual({ exact: [exact], prefix: [prefix], wildcard: [wildcard] });
    expect(await call(relay, "match", "webhook.github.push")).toEqual([exact, prefix]);
    expect(await call(relay, "match", "webhook.github.a.x")).toEqual([prefix, wildcard]);
    expect(await call(relay, "match", "webhook.receipt")).toBeNull();
    expect(await call(relay, "lookup", "webhook.github.push")).toBe(exact);
    expect(await call(relay, "lookup", "webhook.github.", { match: "prefix" })).toBe(prefix);
    expect(await call(relay, "lookup", "webhook.github.pull")).toBeNull();
    expect(await call(relay, "get", prefix)).toEqual({
      id: prefix,
      created: "2026-01-01T00:00:00.000Z",
      uri: "webhook.github.",
      match: "prefix",
    });
    expect(await call(relay, "list_subscribers", prefix)).toEqual([one.session, two.session]);
    expect(await call(relay, "count_subscribers", prefix)).toBe(2);
    two.end();
    await until(() => expect(testbed.reports.at(-1)?.[0]).toBe("left"));
    expect(await call(relay, "count_subscribers", prefix)).toBe(1);
    expect(await call(relay, "count_subscribers", wildcard)).toBe("wamp.error.no_such_subscription");
  });

  it.each([
    ["get", [77], "wamp.error.no_such_subscription"],
    ["count_subscribers", [], "wamp.error.invalid_argument"],
    ["count_subscribers", ["77"], "wamp.error.invalid_argument"],
    ["match", [], "wamp.error.invalid_argument"],
    ["lookup", ["a.b", { match: "regex" }], "wamp.error.invalid_argument"],
    ["remove_subscriber", [1, 2], "wamp.error.no_such_procedure"],
  ])("answers %s(%j) with %s", async (name, args, uri) => {
    const testbed = await startTestbed();
    expect(await call(await testbed.join("relay"), name, ...args)).toBe(uri);
  });

  it("does not tell of subscriptions to itself", async () => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay");
    const own = await subscribe(relay, "wamp.subscription.on_create");
    expect(await call(relay, "list")).toEqual({ exact: [], prefix: [], wildcard: [] });
    expect(await call(relay, "match", "wamp.subscription.on_create")).toBeNull();
    expect(await call(relay, "count_subscribers", own)).toBe("wamp.error.not_authorized");
  });
});

describe("the registration meta API", () => {
  const ask = (actor: Actor, name: string, ...args: unknown[]) => {
    const [reply] = actor.say(48, 1, {}, `wamp.registration.${name}`, args);
    return reply?.[0] === 8 ? reply[4] : Object(reply?.[3])[0];
  };

  it("tells what is registered, how, by whom and by how many", () => {
    const { join } = startRealm();
    const [one, two, asks] = [join(), join(), join()];
    expect(ask(asks, "match", "a.b")).toBeNull();
    const exact = one.say(64, 1, {}, "a.b")[0]?.[2];
    const prefix = one.say(64, 2, { match: "prefix", invoke: "roundrobin" }, "a")[0]?.[2];
    two.say(64, 1, { match: "prefix", invoke: "roundrobin" }, "a");
    expect(ask(asks, "list")).toEqual({ exact: [exact], prefix: [prefix], wildcard: [] });
    expect(ask(asks, "match", "a.b")).toBe(exact);
    expect(ask(asks, "match", "a.c")).toBe(prefix);
    expect(ask(asks, "lookup", "a.b")).toBe(exact);
    expect(ask(asks, "lookup", "a", { match: "prefix" })).toBe(prefix);
    expect(ask(asks, "get", prefix)).toEqual({
      id: prefix,
      created: "2026-01-01T00:00:00.000Z",
      uri: "a",
      match: "prefix",
      invoke: "roundrobin",
    });
    expect(ask(asks, "list_callees", prefix)).toEqual([one.session, two.session]);
    expect(ask(asks, "count_callees", prefix)).toBe(2);
    one.leave();
    expect(ask(asks, "count_callees", prefix)).toBe(1);
    expect(ask(asks, "get", exact)).toBe("wamp.error.no_such_registration");
  });

  it("announces registrations as they come and go, in order", () => {
    const { join } = startRealm();
    const [watcher, one, two] = [join(), join(), join()];
    watcher.say(32, 1, { match: "prefix" }, "wamp.registration.");
    const id = one.say(64, 1, { invoke: "first" }, "a.b")[0]?.[2];
    two.say(64, 1, { invoke: "first" }, "a.b");
    two.say(64, 2, { invoke: "first" }, "a.b");
    one.say(66, 3, id);
    two.leave();
    const created = { id, created: "2026-01-01T00:00:00.000Z", uri: "a.b", match: "exact", invoke: "first" };
    expect(watcher.heard().map(([, , , details, args]) => [Object(details).topic, args])).toEqual([
      ["wamp.registration.on_create", [one.session, created]],
      ["wamp.registration.on_register", [one.session, id]],
      ["wamp.registration.on_register", [two.session, id]],
      ["wamp.registration.on_unregister", [one.session, id]],
      ["wamp.registration.on_unregister", [two.session, id]],
      ["wamp.registration.on_delete", [two.session, id]],
    ]);
  });
});

describe("meta events", () => {
  it("tell of subscriptions as they come and go, in order", async () => {
    const testbed = await startTestbed({ clock: new ManualClock() });
    const relay = await testbed.join("relay", "json");
    await subscribe(relay, "wamp.subscription.", "prefix");
    const [one, two] = [await testbed.join("builder"), await testbed.join("builder")];
    const id = await subscribe(one, "webhook.github.", "prefix");
    await subscribe(two, "webhook.github.", "prefix");
    // A second time is no news.
    await subscribe(two, "webhook.github.", "prefix");
    expect(await one.ask([34, 9, id])).toEqual([35, 9]);
    two.end();
    await until(() => expect(testbed.reports.at(-1)?.[0]).toBe("left"));
    const events = (await relay.settled()).map(([, , , details, args]) => [Object(details).topic, args]);
    const created = { id, created: "2026-01-01T00:00:00.000Z", uri: "webhook.github.", match: "prefix" };
    expect(events).toEqual([
      ["wamp.subscription.on_create", [one.session, created]],
      ["wamp.subscription.on_subscribe", [one.session, id]],
      ["wamp.subscription.on_subscribe", [two.session, id]],
      ["wamp.subscription.on_unsubscribe", [one.session, id]],
      ["wamp.subscription.on_unsubscribe", [two.session, id]],
      ["wamp.subscription.on_delete", [two.session, id]],
    ]);
  });
});
