import { evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { decodeUtf8 } from "../../../shared/bytes.ts";
import { formatKey } from "../../../shared/keys.ts";
import { CANARY_EVENT, CANARY_TOPIC } from "../../../shared/topic.ts";
import { alarmIn, letPass, ringUntil } from "../clock.ts";
import { configure } from "../configure.ts";
import { deliver } from "../deliver.ts";
import { bindings, builder, STREAM, stranger } from "../parties.ts";
import { eachPrinted } from "../printed.ts";
import { openDrained, receiptFor } from "../receipts.ts";
import { type DrainedEvent, hello, RelaySocket } from "../relay-socket.ts";
import { execInOutbox, outbox, storedEvents } from "../stored.ts";

const PAUSE_MS = 10_000;
const DAY_MS = 24 * 60 * 60 * 1000;

const printed = eachPrinted();

describe("a canary", () => {
  it("is numbered, sealed and sent as any event, and done by the builder's receipt alone", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(10, 1);
    expect(await relay.canary()).toBe(2);
    const event = await relay.event();
    expect(event).toMatchObject({ seq: 2, topic: CANARY_TOPIC, replay: false });
    const { delivery, rawBody } = openDrained(event);
    expect(decodeUtf8(rawBody)).toBe("{}");
    expect(delivery).toEqual({
      v: 1,
      id: event.delivery,
      event: CANARY_EVENT,
      hook_id: null,
      received_at: expect.any(String),
      stream: STREAM,
      seq: 2,
      redelivery: false,
      signature: `sha256=${"0".repeat(64)}`,
      body_bytes: 2,
      altered: true,
    });
    expect(await relay.done(2, "AAAA")).toEqual({ type: "refused", seq: 2, code: "ERR_NOT_OPENED" });
    expect(await relay.done(2, receiptFor(event))).toEqual({ type: "accepted", seq: 2 });
  });

  it("is reported as itself alone: not as stored, and not as done", async () => {
    const relay = await RelaySocket.open();
    await finish(relay);
    expect(printed.map((line) => JSON.parse(line) as unknown)).toEqual([
      { event: "canary", at: expect.any(Number), stream: STREAM, seq: 1 },
    ]);
  });

  it("goes to the relay that asked for it, though another has room, too", async () => {
    const other = await RelaySocket.open("relay-two");
    other.send({ type: "credit", events: 10 });
    const asking = await RelaySocket.open("relay-one");
    asking.send({ type: "credit", events: 1 });
    await deliver();
    expect((await other.event()).seq).toBe(1);
    expect(await asking.canary()).toBe(2);
    expect((await asking.event()).seq).toBe(2);
    expect(await other.isQuiet()).toBe(true);
  });

  it("goes to another when the relay that asked leaves", async () => {
    const asking = await RelaySocket.open("relay-one");
    expect(await asking.canary()).toBe(1);
    await asking.leave();
    expect((await (await RelaySocket.open("relay-two")).drain(1)).map(({ seq }) => seq)).toEqual([1]);
  });

  it("is one for each relay: who is stuck with its own does not stop another's test", async () => {
    const one = await RelaySocket.open("relay-one");
    one.send({ type: "credit", events: 10 });
    expect(await one.canary()).toBe(1);
    await one.event();
    const two = await RelaySocket.open("relay-two");
    expect(await finish(two)).toMatchObject({ seq: 2 });
    expect(await one.canary()).toBe(1);
    expect((await storedEvents()).map(({ seq, done }) => [seq, done])).toEqual([
      [1, false],
      [2, true],
    ]);
  });

  it("is the same one while it is undone, however long, also after a hibernation", async () => {
    const relay = await RelaySocket.open();
    expect(await relay.canary()).toBe(1);
    letPass(DAY_MS);
    expect(await relay.canary()).toBe(1);
    await evictDurableObject(outbox());
    expect(await relay.canary()).toBe(1);
    expect(await storedEvents()).toHaveLength(1);
  });

  it("comes once more when the relay asks before it is done, unless it is under way on its socket", async () => {
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    expect(await relay.canary()).toBe(1);
    const event = await relay.event();
    expect(await relay.canary()).toBe(1);
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 1 });
    expect(await relay.canary()).toBe(1);
    expect(await relay.event()).toEqual({ ...event, replay: true });
  });

  it("is new once in ten seconds at most: before, the last comes again, and is accepted again", async () => {
    const relay = await RelaySocket.open();
    const event = await finish(relay);
    for (let asked = 0; asked < 3; asked += 1)
      expect(await finish(relay)).toEqual({ ...event, replay: true });
    expect(await storedEvents()).toHaveLength(1);
    letPass(PAUSE_MS);
    expect(await finish(relay)).toMatchObject({ seq: 2, replay: false });
  });

  it("is kept beside those before when it is done, so that no number is missing", async () => {
    const relay = await RelaySocket.open();
    await deliver();
    await finish(relay, 2);
    for (let seq = 3; seq <= 10; seq += 1) {
      letPass(PAUSE_MS);
      expect(await finish(relay)).toMatchObject({ seq });
    }
    expect((await storedEvents()).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it("is purged as any event that is done, unless it is the newest", async () => {
    const relay = await RelaySocket.open();
    await finish(relay);
    await deliver();
    expect(await relay.event()).toMatchObject({ seq: 2 });
    letPass(7 * DAY_MS);
    await ringUntil(async () => (await storedEvents()).length === 1);
    expect((await storedEvents()).map(({ seq }) => seq)).toEqual([2]);
  });

  it.for([
    { name: "its row is damaged", lose: () => execInOutbox("UPDATE events SET sealed = substr(sealed, 2)") },
    { name: "its key was taken out", lose: () => setKey(stranger.publicKey) },
  ])("gives way to another when it can reach nobody: $name", async ({ lose }) => {
    expect(await (await RelaySocket.open()).canary()).toBe(1);
    await lose();
    letPass(PAUSE_MS);
    const relay = await RelaySocket.open();
    expect(await relay.canary()).toBe(2);
    expect((await relay.drain(10, 1)).map(({ seq }) => seq)).toEqual([2]);
    expect(await storedEvents()).toMatchObject([
      { seq: 1, done: true },
      { seq: 2, done: false },
    ]);
  });

  it("is nothing that waits, and takes no alarm beyond an event's", async () => {
    expect(await (await RelaySocket.open()).canary()).toBe(1);
    letPass(2 * 60 * 60 * 1000);
    await ringUntil(async () => ((await alarmIn()) ?? 0) > PAUSE_MS);
    expect(printed.join("\n")).not.toContain('"event":"waiting"');
  });

  it("is sent again when it is asked for by number, as any event", async () => {
    const relay = await RelaySocket.open();
    const event = await finish(relay);
    expect(await relay.replay({ from: 1, to: 1 })).toBe(1);
    expect(await relay.event()).toEqual({ ...event, replay: true });
  });

  it("cannot be had where there is no key for it: 4400", async () => {
    const box_public = { "webhook.github.push": formatKey("box", "public", builder.publicKey) };
    await configure({ RECIPIENTS: { [STREAM]: { box_public } } });
    await evictDurableObject(outbox());
    const relay = await RelaySocket.dial();
    relay.send(hello(await relay.challenge()));
    expect(await relay.message()).toMatchObject({ type: "welcome", may: [] });
    relay.send({ type: "canary", id: 1 });
    expect(await relay.closed).toEqual({ code: 4400, reason: "canary is not expected now" });
    expect(await storedEvents()).toEqual([]);
  });
});

/** Has a canary stored, sent behind `others` events, and done. */
async function finish(relay: RelaySocket, others = 1): Promise<DrainedEvent | undefined> {
  relay.send({ type: "credit", events: 50 });
  for (let sent = 1; sent < others; sent += 1) await relay.event();
  const seq = await relay.canary();
  const event = await relay.event();
  expect(event.seq).toBe(seq);
  expect(await relay.done(seq, receiptFor(event))).toEqual({ type: "accepted", seq });
  return event;
}

/** Has the builder be another one, as by a deploy. */
async function setKey(publicKey: Uint8Array): Promise<void> {
  const box_public = formatKey("box", "public", publicKey);
  await configure({ RECIPIENTS: { [STREAM]: { ...bindings.RECIPIENTS[STREAM], box_public } } });
  await evictDurableObject(outbox(), { webSockets: "close" });
}
