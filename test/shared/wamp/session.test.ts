import { createServer } from "node:http";
import { inspect } from "node:util";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocketServer } from "ws";
import { CRYPTOBOX } from "../../../shared/cryptobox.ts";
import { Passthru } from "../../../shared/wamp/passthru.ts";
import {
  joinWamp,
  MAX_UNACKNOWLEDGED,
  type WampEvent,
  type WampSession,
} from "../../../shared/wamp/session.ts";
import { serializers } from "../../../shared/wamp/serializers.ts";
import { ErrorReply } from "../../../shared/wamp/wamp-error.ts";
import { superviseWamp } from "../../../shared/wamp/supervisor.ts";
import { until } from "../../helpers/until.ts";
import { startTestbed } from "../../router/testbed.ts";
import { join } from "./joined.ts";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

function nextEvent(
  session: WampSession,
  topic: string,
  match: "exact" | "prefix" | "wildcard",
): { next: Promise<WampEvent>; ready: Promise<void> } {
  const { promise: next, resolve } = Promise.withResolvers<WampEvent>();
  return { next, ready: session.subscribe(topic, match, resolve) };
}

describe("a WAMP session", () => {
  const pairs = serializers.flatMap((from) => serializers.map((to) => [from.id, to.id, from, to] as const));

  it.each(pairs)(
    "carries bytes that the router does not read, from %s to %s, and shows enc_algo",
    async (_a, _b, from, to) => {
      const bed = await startTestbed();
      const [relay, builder] = await Promise.all([join(bed, "relay", from), join(bed, "builder", to)]);
      const { next, ready } = nextEvent(builder, "webhook.github.", "prefix");
      await ready;
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
      await relay.publish("webhook.github.push", new Passthru(bytes, CRYPTOBOX, "json"));
      const event = await next;
      expect(event.topic).toBe("webhook.github.push");
      expect(event.passthru).toMatchObject({ algo: CRYPTOBOX, serializer: "json" });
      expect(Buffer.from(event.passthru?.bytes ?? [])).toEqual(Buffer.from(bytes));
    },
  );

  it("never takes arguments for such a payload, however they are made up", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    const { next, ready } = nextEvent(builder, "webhook.github.", "prefix");
    await ready;
    await relay.publish("webhook.github.push", {
      bytes: new Uint8Array(3),
      algo: CRYPTOBOX,
      serializer: "json",
      enc_algo: CRYPTOBOX,
    });
    expect((await next).passthru).toBeUndefined();
  });

  it("is told when the router denies something", async () => {
    const bed = await startTestbed();
    const builder = await join(bed, "builder");
    await expect(builder.publish("webhook.github.push", {})).rejects.toEqual(code("ERR_WAMP_REFUSED"));
    await expect(builder.subscribe("webhook.receipt", "exact", () => {})).rejects.toThrow(
      "wamp.error.not_authorized",
    );
    await expect(builder.call("wamp.subscription.list")).rejects.toEqual(code("ERR_WAMP_REFUSED"));
  });

  it.each(pairs)("carries a sealed call and its sealed answer, from %s to %s", async (_a, _b, from, to) => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay", to), join(bed, "builder", from)]);
    const calls: unknown[][] = [];
    await relay.register("webhook.replay", (args) => {
      calls.push(args);
      return new Passthru(Uint8Array.of(0, 4, 5), CRYPTOBOX, "json");
    });
    const asked = new Passthru(Uint8Array.of(0, 1, 2), CRYPTOBOX, "json");
    const answer = await builder.call("webhook.replay", asked);
    const [call] = calls.flat();
    for (const [got, bytes] of [
      [call, [0, 1, 2]],
      [answer, [0, 4, 5]],
    ] as const) {
      if (!(got instanceof Passthru)) throw new Error("the router read it");
      expect([...got.bytes]).toEqual(bytes);
      expect(got).toMatchObject({ algo: CRYPTOBOX, serializer: "json" });
    }
  });

  it("takes every topic of three parts by a wildcard, and is told which it was", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    const { next, ready } = nextEvent(builder, "webhook.github.", "wildcard");
    await ready;
    await relay.publish("webhook.github.push.more", { not: "this" });
    await relay.publish("webhook.github.push", { this: 1 });
    expect(await next).toMatchObject({ topic: "webhook.github.push", kwargs: { this: 1 } });
  });

  it.each(serializers.map((serializer) => [serializer.id, serializer] as const))(
    "publishes to no other sessions than those that are eligible, by the numbers that the router gave: %s",
    async (_id, serializer) => {
      const bed = await startTestbed();
      const relay = await join(bed, "relay", serializer);
      const builders = await Promise.all([join(bed, "builder"), join(bed, "builder"), join(bed, "builder")]);
      const heard: string[] = [];
      for (const [index, builder] of builders.entries())
        await builder.subscribe("webhook.github.", "wildcard", ({ kwargs }) => {
          heard.push(`${index} ${JSON.stringify(kwargs)}`);
        });
      const found = await relay.call("wamp.subscription.lookup", "webhook.github.", { match: "wildcard" });
      const ids = await relay.call("wamp.subscription.list_subscribers", found);
      if (!Array.isArray(ids)) throw new Error("no subscribers");
      // The router has them in the order of their coming.
      await relay.publish("webhook.github.push", { n: 1 }, [ids[1]] as number[]);
      await relay.publish("webhook.github.push", { n: 2 });
      await until(() => expect(heard).toHaveLength(4));
      expect(heard.toSorted()).toEqual(['0 {"n":2}', '1 {"n":1}', '1 {"n":2}', '2 {"n":2}']);
    },
  );

  it("calls and registers", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    await relay.register("webhook.replay", ([from, to]) => `${String(from)}-${String(to)}`);
    expect(await builder.call("webhook.replay", 3, 7)).toBe("3-7");
  });

  it("answers with an error that tells nothing when a handler throws, and goes on", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    const error = Object.assign(new Error("the cat"), { args: ["the cat"] });
    await relay.register("webhook.replay", ([what]) => (what === 1 ? Promise.reject(error) : what));
    const refused = await builder.call("webhook.replay", 1).catch((reason: unknown) => reason);
    expect(refused).toMatchObject({ uri: "wamp.error.runtime_error", passthru: undefined });
    expect(inspect(refused, { depth: 10 })).not.toContain("the cat");
    expect(await builder.call("webhook.replay", 2)).toBe(2);
    const raw = await bed.join("builder");
    expect(await raw.ask([48, 7, {}, "webhook.replay", [1]])).toEqual([
      8,
      48,
      7,
      {},
      "wamp.error.runtime_error",
    ]);
  });

  it.each(pairs)("carries a sealed error, from %s to %s", async (_a, _b, from, to) => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay", to), join(bed, "builder", from)]);
    const sealed = new Passthru(Uint8Array.of(0, 1, 2), CRYPTOBOX, "json");
    await relay.register("webhook.replay", () => Promise.reject(new ErrorReply("some.error", sealed)));
    const refused = await builder.call("webhook.replay").catch((reason: unknown) => reason);
    if (!(refused instanceof ErrorReply)) throw new Error("no error came");
    expect(refused).toMatchObject({ uri: "some.error", passthru: { algo: CRYPTOBOX, serializer: "json" } });
    expect([...(refused.passthru?.bytes ?? [])]).toEqual([0, 1, 2]);
  });

  it("does not come about with a wrong key, and says what to check", async () => {
    const bed = await startTestbed();
    const wrong = { ...bed, keys: { relay: bed.keys.builder, builder: bed.keys.relay } };
    await expect(join(wrong, "relay")).rejects.toEqual(code("ERR_WAMP_DENIED"));
  });

  it("ends every request when the connection is lost", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    await relay.register("webhook.replay", () => new Promise(() => {}));
    const pending = builder.call("webhook.replay", 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all([
      bed.router.close(),
      expect(pending).rejects.toMatchObject({ name: "OnionhookError" }),
    ]);
    await builder.closed;
    await expect(builder.publish("webhook.receipt", {})).rejects.toEqual(code("ERR_WAMP_LOST"));
  });

  /** A router that lies: a real one cannot be made to. */
  async function joinLiar(
    onHello: (send: (message: unknown) => void) => void,
    onMore: (message: unknown[], send: (message: unknown) => void) => void = () => {},
    onGone: () => void = () => {},
  ): Promise<WampSession> {
    const server = createServer();
    const sockets = new WebSocketServer({ server, handleProtocols: () => "wamp.2.json" });
    sockets.on("connection", (socket) => {
      const send = (message: unknown) => socket.send(JSON.stringify(message));
      socket.on("close", onGone);
      socket.once("message", () => {
        onHello(send);
        socket.on("message", (data: Buffer) => onMore(JSON.parse(data.toString()) as unknown[], send));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      for (const socket of sockets.clients) socket.terminate();
      server.close();
    });
    const address = server.address();
    return joinWamp({
      url: `ws://127.0.0.1:${typeof address === "object" && address ? address.port : 0}/`,
      realm: "onionhook",
      authid: "relay",
      seed: new Uint8Array(32),
      tor: "none",
      isolation: "test",
      signal: new AbortController().signal,
    });
  }

  it("does not come about when the router says what is no WAMP", async () => {
    await expect(joinLiar((send) => send({ not: "a list" }))).rejects.toEqual(code("ERR_WAMP_LOST"));
  });

  it("ends with the router's goodbye, though the router does not hang up", async () => {
    const session = await joinLiar((send) => {
      send([2, 1, { roles: { broker: {} } }]);
      send([6, {}, "wamp.close.killed"]);
    });
    await session.closed;
    await expect(session.publish("webhook.receipt", {})).rejects.toEqual(code("ERR_WAMP_LOST"));
  });

  it.each(["constructor", "__proto__", "toString"])(
    "ends, and says nothing, when the router calls the registration %j",
    async (registration) => {
      const heard: unknown[] = [];
      const { promise: gone, resolve: onGone } = Promise.withResolvers<void>();
      const session = await joinLiar(
        (send) => send([2, 1, { roles: { broker: {}, dealer: {} } }]),
        (message, send) => {
          heard.push(message[0]);
          if (message[0] === 64) send([65, message[1], 5]);
          if (message[0] === 64) send([68, 1, registration, {}]);
        },
        onGone,
      );
      await session.register("webhook.replay", () => 1);
      await Promise.all([session.closed, gone]);
      expect(heard).toEqual([64]);
    },
  );

  it("gives a request time to go up, behind all that was sent before, and cancels a call without an answer", async () => {
    const heard: unknown[][] = [];
    const session = await joinLiar(
      (send) => send([2, 1, { roles: { broker: {}, dealer: {} } }]),
      (message) => void heard.push(message),
    );
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    // In base64 it takes a slow circuit 10.7 s.
    const large = new Passthru(new Uint8Array(1024 * 1024), CRYPTOBOX, "json");
    const ended: string[] = [];
    for (const ask of [
      session.call("webhook.replay", 1),
      session.call("webhook.replay", large),
      session.publish("webhook.receipt", large),
      session.call("webhook.replay", 2),
    ])
      ask.catch((error: unknown) => ended.push(String(error)));
    await vi.advanceTimersByTimeAsync(20_050);
    expect(ended).toEqual([expect.stringMatching(/no answer to call in 200\d\d ms/)]);
    await vi.advanceTimersByTimeAsync(10_700);
    expect(ended.slice(1)).toEqual([expect.stringMatching(/no answer to call in 30\d{3} ms/)]);
    await vi.advanceTimersByTimeAsync(10_250);
    expect(ended).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(600);
    expect(ended.slice(2)).toEqual([
      expect.stringMatching(/no answer to publish in 41\d{3} ms/),
      expect.stringMatching(/no answer to call in 41\d{3} ms/),
    ]);
    vi.useRealTimers();
    const idOf = (call: number) => heard.filter(([type]) => type === 48)[call]?.[1];
    await until(() => {
      const cancelled = heard.filter(([type]) => type === 49);
      expect(cancelled).toEqual([0, 1, 2].map((call) => [49, idOf(call), { mode: "kill" }]));
    });
  });

  it("gives a request no time for what went up before an answer", async () => {
    const session = await joinLiar(
      (send) => send([2, 1, { roles: { broker: {}, dealer: {} } }]),
      ([type, id], send) => void (type === 16 && send([17, id, 1])),
    );
    await session.publish("webhook.receipt", new Passthru(new Uint8Array(1024 * 1024), CRYPTOBOX, "json"));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const refused = expect(session.call("webhook.replay", 1)).rejects.toThrow(
      /no answer to call in 200\d\d ms/,
    );
    await vi.advanceTimersByTimeAsync(60_000);
    await refused;
  });

  it("goes on after publishes that the router is slow to acknowledge, and ends when they become too many", async () => {
    const asked: unknown[] = [];
    let send: (message: unknown) => void = () => {};
    const session = await joinLiar(
      (toUs) => {
        send = toUs;
        send([2, 1, { roles: { broker: {} } }]);
      },
      (message) => void asked.push(message[1]),
    );
    let isClosed = false;
    void session.closed.then(() => (isClosed = true));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const ended = vi.fn<(error: unknown) => void>();
    const leaveUnanswered = async (count: number) => {
      for (let rest = count; rest > 0; rest -= 1) session.publish("webhook.receipt", {}).catch(ended);
      // For the answer, and for all of them to go up.
      await vi.advanceTimersByTimeAsync(40_000);
    };
    await leaveUnanswered(MAX_UNACKNOWLEDGED - 1);
    expect(ended).toHaveBeenCalledTimes(MAX_UNACKNOWLEDGED - 1);
    expect(ended).toHaveBeenLastCalledWith(code("ERR_WAMP_TIMEOUT"));
    await vi.waitFor(() => expect(asked).toHaveLength(MAX_UNACKNOWLEDGED - 1));
    send([17, asked[0], 1]);
    const last = session.publish("webhook.receipt", {});
    await vi.waitFor(() => expect(asked).toHaveLength(MAX_UNACKNOWLEDGED));
    send([17, asked.at(-1), 2]);
    await last;
    await leaveUnanswered(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isClosed).toBe(false);
    await leaveUnanswered(1);
    expect(ended).toHaveBeenLastCalledWith(code("ERR_WAMP_TIMEOUT"));
    await session.closed;
  });

  it("goes on after a call that nobody answered, which is over for the router, too", async () => {
    const bed = await startTestbed();
    const [relay, builder] = await Promise.all([join(bed, "relay"), join(bed, "builder")]);
    const { promise: late, resolve } = Promise.withResolvers<string>();
    await relay.register("webhook.replay", ([what]) => (what === 1 ? late : what));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const ended = builder.call("webhook.replay", 1).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(20_100);
    expect(await ended).toEqual(code("ERR_WAMP_TIMEOUT"));
    vi.useRealTimers();
    expect(await builder.call("webhook.replay", 2)).toBe(2);
    resolve("late");
    expect(await builder.call("webhook.replay", 3)).toBe(3);
  });

  it.each(["00", "00".repeat(33), "onionhook.drain.1", 5])(
    "does not sign %j for a router",
    async (challenge) => {
      await expect(joinLiar((send) => send([4, "cryptosign", { challenge }]))).rejects.toEqual(
        code("ERR_WAMP_LOST"),
      );
    },
  );
});

describe("the supervisor", () => {
  it("joins again after the router was away, and sets up the new session", async () => {
    const first = await startTestbed();
    const beds = [first];
    const stop = new AbortController();
    const happened: string[] = [];
    let resolveSecond = () => {};
    const second = new Promise<void>((resolve) => (resolveSecond = resolve));
    const running = superviseWamp({
      purpose: "test",
      join: () => join(beds.at(-1) ?? first, "builder"),
      onSession: async (session) => {
        await session.subscribe("webhook.github.", "prefix", () => {});
        happened.push("session");
        if (happened.filter((what) => what === "session").length === 2) resolveSecond();
      },
      onLost: () => happened.push("lost"),
      report: () => {},
      signal: stop.signal,
    });
    await until(() => expect(happened).toEqual(["session"]));
    beds.push(await startTestbed());
    await first.router.close();
    await second;
    stop.abort();
    await running;
    expect(happened).toEqual(["session", "lost", "session", "lost"]);
  });
});
