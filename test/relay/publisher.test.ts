import { describe, expect, it, vi } from "vitest";
import { makePublisher } from "../../relay/publisher.ts";
import type { QueuedEvent } from "../../relay/queue.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { RECEIPT_TOPIC } from "../../shared/topic.ts";
import type { WampEvent, WampSession } from "../../shared/wamp/session.ts";

const event: QueuedEvent = {
  stream: "builder",
  seq: 1,
  topic: "webhook.github.push",
  delivery: "72d3162e",
  sealed: new Uint8Array(100),
};

/** A router that says what a test wants it to: silence and lies are faults that a real one does not have. */
function fakeSession(builders: () => number) {
  const handlers = new Map<string, (event: WampEvent) => void>();
  const publish = vi.fn<WampSession["publish"]>(async () => {});
  const session: WampSession = {
    publish,
    subscribe: async (topic, _match, handler) => void handlers.set(topic, handler),
    call: async (procedure) => (procedure.endsWith("lookup") ? (builders() > 0 ? 17 : null) : builders()),
    register: async () => {},
    closed: new Promise(() => {}),
    close: async () => {},
  };
  const say = (topic: string, kwargs = {}) =>
    handlers.get(topic)?.({ topic, passthru: undefined, args: [], kwargs });
  return { session, publish, say };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("the publisher", () => {
  it("publishes only while a builder is there", async () => {
    let builders = 0;
    const audience: boolean[] = [];
    const { session, publish, say } = fakeSession(() => builders);
    const publisher = makePublisher(
      () => {},
      (present) => audience.push(present),
    );
    expect(await publisher.publish(event, 0)).toEqual({ kind: "unavailable" });
    await publisher.onSession(session);
    expect(await publisher.publish(event, 0)).toEqual({ kind: "unavailable" });
    builders = 1;
    say("wamp.subscription.on_subscribe");
    await settled();
    expect(audience).toEqual([true]);
    const outcome = publisher.publish(event, 0);
    say(RECEIPT_TOPIC, { stream: "builder", seq: 1, receipt: "AAAA" });
    expect(await outcome).toEqual({ kind: "received", receipt: "AAAA" });
    builders = 0;
    say("wamp.subscription.on_unsubscribe");
    await settled();
    expect(audience).toEqual([true, false]);
    expect(publish).toHaveBeenCalledTimes(1);
  });

  it("says so when one more builder came: what waits may be for it", async () => {
    let builders = 1;
    const audience: boolean[] = [];
    const { session, say } = fakeSession(() => builders);
    const publisher = makePublisher(
      () => {},
      (present) => audience.push(present),
    );
    await publisher.onSession(session);
    builders = 2;
    say("wamp.subscription.on_subscribe");
    await settled();
    builders = 1;
    say("wamp.subscription.on_unsubscribe");
    await settled();
    expect(audience).toEqual([true, true]);
  });

  it("gives back what waits for a receipt when the builder or the session is gone", async () => {
    let builders = 1;
    const { session, say } = fakeSession(() => builders);
    const publisher = makePublisher(
      () => {},
      () => {},
    );
    await publisher.onSession(session);
    const left = publisher.publish(event, 0);
    builders = 0;
    say("wamp.subscription.on_delete");
    expect(await left).toEqual({ kind: "unavailable" });
    builders = 1;
    say("wamp.subscription.on_subscribe");
    await settled();
    const lost = publisher.publish(event, 0);
    publisher.onLost();
    expect(await lost).toEqual({ kind: "unavailable" });
  });

  it("tries later, ever more rarely, when no receipt comes", async () => {
    vi.useFakeTimers();
    try {
      const { session } = fakeSession(() => 1);
      const publisher = makePublisher(
        () => {},
        () => {},
      );
      await publisher.onSession(session);
      for (const [tries, delayMs] of [
        [0, 10_000],
        [1, 20_000],
        [4, 160_000],
        [9, 300_000],
        [60, 300_000],
      ] as const) {
        const outcome = publisher.publish(event, tries);
        await vi.advanceTimersByTimeAsync(11_000);
        expect(await outcome).toEqual({ kind: "later", delayMs });
      }
    } finally {
      vi.useRealTimers();
    }
  });

  it("blames the event for a refusal, and not for a lost session", async () => {
    const reports: unknown[] = [];
    const { session, publish } = fakeSession(() => 1);
    const publisher = makePublisher(
      (name, fields) => name === "error" && reports.push(fields),
      () => {},
    );
    await publisher.onSession(session);
    publish.mockRejectedValueOnce(new OnionhookError("ERR_WAMP_REFUSED", "refused"));
    expect(await publisher.publish(event, 0)).toMatchObject({ kind: "later" });
    publish.mockRejectedValueOnce(new OnionhookError("ERR_WAMP_LOST", "lost", { retryable: true }));
    expect(await publisher.publish(event, 0)).toEqual({ kind: "unavailable" });
    expect(reports).toEqual([
      expect.objectContaining({ code: "ERR_WAMP_REFUSED", delivery: "72d3162e" }),
      expect.objectContaining({ code: "ERR_WAMP_LOST", delivery: "72d3162e" }),
    ]);
  });

  it("lets others pass when a session ends twice with the same event", async () => {
    const { session, publish } = fakeSession(() => 1);
    const publisher = makePublisher(
      () => {},
      () => {},
    );
    await publisher.onSession(session);
    const lost = () =>
      publish.mockRejectedValueOnce(new OnionhookError("ERR_WAMP_LOST", "lost", { retryable: true }));
    lost();
    expect(await publisher.publish(event, 0)).toEqual({ kind: "unavailable" });
    lost();
    expect(await publisher.publish(event, 0)).toMatchObject({ kind: "later" });
  });

  it("ignores receipts that are malformed or not waited for", async () => {
    const reports: unknown[] = [];
    const { session, say } = fakeSession(() => 1);
    const publisher = makePublisher(
      (name, fields) => name === "error" && reports.push(fields),
      () => {},
    );
    await publisher.onSession(session);
    const outcome = publisher.publish(event, 0);
    say(RECEIPT_TOPIC, { stream: "builder", seq: "1", receipt: "AAAA" });
    say(RECEIPT_TOPIC, { stream: "builder", seq: 1, receipt: "no base64!" });
    say(RECEIPT_TOPIC, { stream: "builder", seq: 2, receipt: "AAAA" });
    say(RECEIPT_TOPIC, { stream: "other", seq: 1, receipt: "AAAA" });
    await settled();
    expect(reports).toHaveLength(2);
    say(RECEIPT_TOPIC, { stream: "builder", seq: 1, receipt: "BBBB" });
    expect(await outcome).toEqual({ kind: "received", receipt: "BBBB" });
  });
});
