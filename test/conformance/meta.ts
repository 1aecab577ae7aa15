/** What the router tells of sessions, subscriptions and registrations: procedures and events below `wamp.`. */
import { expect } from "vitest";
import { until } from "../helpers/until.ts";
import { payloadOf, type Client, type Subscription } from "./client.ts";
import { refusal, type Scenario } from "./scenario.ts";

async function ask(client: Client, procedure: string, ...args: unknown[]): Promise<unknown> {
  return (await client.call(`wamp.${procedure}`, payloadOf(args)).answer).args[0] ?? null;
}

/** Subscribes to what is announced below `wamp.KIND.`, by its last component. */
async function listen(
  client: Client,
  kind: string,
  names: readonly string[],
): Promise<Map<string, Subscription>> {
  const heard = new Map<string, Subscription>();
  // oxlint-disable-next-line no-await-in-loop
  for (const name of names) heard.set(name, await client.subscribe(`wamp.${kind}.${name}`));
  return heard;
}

/** Waits for an announcement whose arguments `wanted` is true for. */
async function announced(
  heard: ReadonlyMap<string, Subscription>,
  name: string,
  wanted: (args: readonly unknown[]) => boolean,
): Promise<readonly unknown[]> {
  const events = heard.get(name)?.events ?? [];
  await until(() =>
    expect(
      events.some(({ args }) => wanted(args)),
      name,
    ).toBe(true),
  );
  return events.find(({ args }) => wanted(args))?.args ?? [];
}

const has = (key: string, value: unknown) => (each: unknown) =>
  typeof each === "object" && each !== null && (each as Record<string, unknown>)[key] === value;

export const meta: readonly Scenario[] = [
  {
    title: "sessions are counted, listed and described",
    async run({ join }) {
      const [asking, guest] = [await join("alice"), await join("carol")];
      const listed = await ask(asking, "session.list");
      expect(listed).toEqual(expect.arrayContaining([asking.id, guest.id]));
      expect(await ask(asking, "session.count")).toBeGreaterThanOrEqual(2);
      expect(await ask(asking, "session.get", guest.id)).toMatchObject({
        session: guest.id,
        authid: "carol",
        authrole: "guest",
        authmethod: "cryptosign",
        authprovider: "static",
      });
      guest.drop();
      await guest.left;
      await until(async () => expect(await ask(asking, "session.list")).not.toContain(guest.id));
      expect(await refusal(ask(asking, "session.get", guest.id))).toBe("wamp.error.no_such_session");
    },
  },
  {
    title: "sessions are counted and listed by role",
    async run({ join }) {
      const [asking, guest] = [await join("alice"), await join("carol")];
      const guests = await ask(asking, "session.list", ["guest"]);
      expect(guests).toContain(guest.id);
      expect(guests).not.toContain(asking.id);
      expect(await ask(asking, "session.count", ["nobody"])).toBe(0);
    },
  },
  {
    title: "joining and leaving is announced",
    async run({ join }) {
      const heard = await listen(await join("alice"), "session", ["on_join", "on_leave"]);
      const guest = await join("carol");
      const [joined] = await announced(heard, "on_join", ([details]) => has("session", guest.id)(details));
      expect(joined).toMatchObject({ authid: "carol", authrole: "guest", authmethod: "cryptosign" });
      guest.drop();
      await announced(heard, "on_leave", ([session]) => session === guest.id);
    },
  },
  {
    title: "subscriptions are looked up, matched, described and counted",
    async run({ join, uri }) {
      const [asking, subscriber] = [await join("alice"), await join("bob")];
      const exact = await subscriber.subscribe(uri("a.b"));
      const prefix = await subscriber.subscribe(uri("a."), "prefix");
      await asking.subscribe(uri("a."), "prefix");
      expect(await ask(asking, "subscription.list")).toEqual({
        exact: expect.arrayContaining([exact.id]) as unknown,
        prefix: expect.arrayContaining([prefix.id]) as unknown,
        wildcard: expect.any(Array) as unknown,
      });
      expect(await ask(asking, "subscription.lookup", uri("a.b"))).toBe(exact.id);
      expect(await ask(asking, "subscription.lookup", uri("a."), { match: "prefix" })).toBe(prefix.id);
      expect(await ask(asking, "subscription.lookup", uri("a."))).toBeNull();
      expect(new Set((await ask(asking, "subscription.match", uri("a.b"))) as number[])).toEqual(
        new Set([exact.id, prefix.id]),
      );
      expect(await ask(asking, "subscription.match", uri("b"))).toBeNull();
      expect(await ask(asking, "subscription.get", prefix.id)).toMatchObject({
        id: prefix.id,
        uri: uri("a."),
        match: "prefix",
        created: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown,
      });
      expect(await ask(asking, "subscription.count_subscribers", prefix.id)).toBe(2);
      expect(new Set((await ask(asking, "subscription.list_subscribers", prefix.id)) as number[])).toEqual(
        new Set([asking.id, subscriber.id]),
      );
      expect(await refusal(ask(asking, "subscription.get", 1))).toBe("wamp.error.no_such_subscription");
    },
  },
  {
    title: "the life of a subscription is announced, its first and its last subscriber",
    async run({ join, uri }) {
      const [listening, first, second] = [await join("alice"), await join("bob"), await join("carol")];
      const heard = await listen(listening, "subscription", [
        "on_create",
        "on_subscribe",
        "on_unsubscribe",
        "on_delete",
      ]);
      const subscription = await first.subscribe(uri("topic"));
      const { id } = subscription;
      const [by, details] = await announced(heard, "on_create", ([, each]) => has("id", id)(each));
      expect(by).toBe(first.id);
      expect(details).toMatchObject({ id, uri: uri("topic"), match: "exact" });
      await announced(heard, "on_subscribe", (args) => args[0] === first.id && args[1] === id);
      const again = await second.subscribe(uri("topic"));
      await announced(heard, "on_subscribe", (args) => args[0] === second.id && args[1] === id);
      await first.unsubscribe(subscription);
      await announced(heard, "on_unsubscribe", (args) => args[0] === first.id && args[1] === id);
      await second.unsubscribe(again);
      await announced(heard, "on_unsubscribe", (args) => args[0] === second.id && args[1] === id);
      await announced(heard, "on_delete", (args) => args[0] === second.id && args[1] === id);
      const created = heard.get("on_create")?.events.filter(({ args }) => has("id", id)(args[1]));
      expect(created).toHaveLength(1);
      expect(heard.get("on_delete")?.events.filter(({ args }) => args[1] === id)).toHaveLength(1);
    },
  },
  {
    title: "registrations are looked up, matched, described and counted",
    async run({ join, uri }) {
      const [asking, callee] = [await join("alice"), await join("bob")];
      const exact = await callee.register(uri("a.b"), () => payloadOf());
      const shared = await callee.register(uri("a."), () => payloadOf(), {
        match: "prefix",
        invoke: "roundrobin",
      });
      await asking.register(uri("a."), () => payloadOf(), { match: "prefix", invoke: "roundrobin" });
      expect(await ask(asking, "registration.list")).toEqual({
        exact: expect.arrayContaining([exact.id]) as unknown,
        prefix: expect.arrayContaining([shared.id]) as unknown,
        wildcard: expect.any(Array) as unknown,
      });
      expect(await ask(asking, "registration.lookup", uri("a.b"))).toBe(exact.id);
      expect(await ask(asking, "registration.lookup", uri("a."), { match: "prefix" })).toBe(shared.id);
      expect(await ask(asking, "registration.lookup", uri("a."))).toBeNull();
      expect(await ask(asking, "registration.match", uri("a.b"))).toBe(exact.id);
      expect(await ask(asking, "registration.match", uri("a.c"))).toBe(shared.id);
      expect(await ask(asking, "registration.match", uri("b"))).toBeNull();
      expect(await ask(asking, "registration.get", shared.id)).toMatchObject({
        id: shared.id,
        uri: uri("a."),
        match: "prefix",
        invoke: "roundrobin",
        created: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown,
      });
      expect(await ask(asking, "registration.count_callees", shared.id)).toBe(2);
      expect(new Set((await ask(asking, "registration.list_callees", shared.id)) as number[])).toEqual(
        new Set([asking.id, callee.id]),
      );
      expect(await refusal(ask(asking, "registration.get", 1))).toBe("wamp.error.no_such_registration");
    },
  },
  {
    title: "the life of a registration is announced, its first and its last callee",
    async run({ join, uri }) {
      const [listening, first, second] = [await join("alice"), await join("bob"), await join("carol")];
      const heard = await listen(listening, "registration", [
        "on_create",
        "on_register",
        "on_unregister",
        "on_delete",
      ]);
      const registration = await first.register(uri("shared"), () => payloadOf(), { invoke: "first" });
      const { id } = registration;
      const [by, details] = await announced(heard, "on_create", ([, each]) => has("id", id)(each));
      expect(by).toBe(first.id);
      expect(details).toMatchObject({ id, uri: uri("shared"), match: "exact", invoke: "first" });
      await announced(heard, "on_register", (args) => args[0] === first.id && args[1] === id);
      const other = await second.register(uri("shared"), () => payloadOf(), { invoke: "first" });
      await announced(heard, "on_register", (args) => args[0] === second.id && args[1] === id);
      await first.unregister(registration);
      await announced(heard, "on_unregister", (args) => args[0] === first.id && args[1] === id);
      await second.unregister(other);
      await announced(heard, "on_unregister", (args) => args[0] === second.id && args[1] === id);
      await announced(heard, "on_delete", (args) => args[0] === second.id && args[1] === id);
    },
  },
  ...(["leave", "drop"] as const).map((how): Scenario => ({
    title: `what goes with a session is announced under its id: ${how}`,
    except: { "Crossbar.io": "it has forgotten the id by then, and names null" },
    async run({ join, uri }) {
      const [listening, going] = [await join("alice"), await join("bob")];
      const subscriptions = await listen(listening, "subscription", ["on_unsubscribe", "on_delete"]);
      const registrations = await listen(listening, "registration", ["on_unregister", "on_delete"]);
      const { id: subscription } = await going.subscribe(uri("topic"));
      const { id: registration } = await going.register(uri("procedure"), () => payloadOf());
      going[how]();
      for (const name of ["on_unsubscribe", "on_delete"])
        // oxlint-disable-next-line no-await-in-loop
        await announced(subscriptions, name, (args) => args[0] === going.id && args[1] === subscription);
      for (const name of ["on_unregister", "on_delete"])
        // oxlint-disable-next-line no-await-in-loop
        await announced(registrations, name, (args) => args[0] === going.id && args[1] === registration);
    },
  })),
];
