import { evictDurableObject, reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { decodeUtf8 } from "../../../shared/bytes.ts";
import type { Selection } from "../../../shared/drain.ts";
import { formatKey } from "../../../shared/keys.ts";
import { letPass } from "../clock.ts";
import { configure } from "../configure.ts";
import { deliver, type Delivery } from "../deliver.ts";
import { bindings, builder, relays, STREAM, stranger } from "../parties.ts";
import { openDrained, receiptFor } from "../receipts.ts";
import { type DrainedEvent, hello, RelaySocket, WELCOME } from "../relay-socket.ts";
import { execInOutbox, openStored, outbox, storedEvents } from "../stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const again = { body: '{"same":true}', headers: { "X-GitHub-Delivery": ID } };
const MIB = 1024 * 1024;
const ALL: Selection = { from: 1, to: 1_000_000 };

let printed: string[];

beforeEach(async () => {
  printed = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line));
  await grant();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("a relay with the right to redeliver", () => {
  it("is told so in the welcome, and one without is not", async () => {
    for (const [relay, may] of [
      ["relay-one", ["canary", "redeliver"]],
      ["relay-two", ["canary"]],
    ] as const) {
      const { secretKey } = relays[relay];
      const socket = await RelaySocket.dial();
      socket.send(hello(await socket.challenge(), { relay, secretKey }));
      expect(await socket.message()).toEqual({ ...WELCOME, may });
    }
  });

  it("has a done event run again: the same body under a new number and seal, marked as a redelivery", async () => {
    const relay = await RelaySocket.open();
    const [first] = await finishMany(relay, 1, again);
    if (!first) throw new Error("an event was expected");
    letPass(60_000);
    expect(await relay.redeliver({ delivery: ID })).toEqual({ events: 1, next: undefined });
    const event = await relay.event();
    expect(event).toMatchObject({ seq: 2, delivery: ID, topic: first.topic, replay: false });
    const [before, after] = [openDrained(first), openDrained(event)];
    expect(decodeUtf8(after.rawBody)).toBe(again.body);
    const received_at = new Date((await storedEvents())[1]?.storedAt ?? 0).toISOString();
    expect(after.delivery).toEqual({ ...before.delivery, seq: 2, received_at, redelivery: true });
    expect(received_at > before.delivery.received_at).toBe(true);
    expect(event.sealed.subarray(0, 24)).not.toEqual(first.sealed.subarray(0, 24));

    // The old receipt is not good for it.
    expect(await relay.done(2, receiptFor(first))).toMatchObject({ type: "refused" });
    expect(await relay.done(2, receiptFor(event))).toEqual({ type: "accepted", seq: 2 });
  });

  it("has it reported as stored, and GitHub's own redelivery is a duplicate of it until it is done", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 1, again);
    printed = [];
    await relay.redeliver(ALL);
    const [, stored] = await storedEvents();
    expect(printed.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        event: "stored",
        at: expect.any(Number),
        delivery: ID,
        stream: STREAM,
        seq: 2,
        sealed_bytes: stored?.bytes,
        duplicate: false,
      },
    ]);
    expect((await deliver(again)).json).toMatchObject({ duplicate: true, stored: [{ seq: 2 }] });
    const event = await relay.event();
    await relay.done(2, receiptFor(event));
    expect((await deliver(again)).json).toMatchObject({ duplicate: false, stored: [{ seq: 3 }] });
  });

  it("has it sent to whoever has room for it", async () => {
    const one = await RelaySocket.open("relay-one");
    await finishMany(one, 2);
    one.send({ type: "credit", events: 1 });
    const two = await RelaySocket.open("relay-two");
    two.send({ type: "credit", events: 10 });
    expect(await one.redeliver(ALL)).toMatchObject({ events: 2 });
    const [first] = await one.events(1);
    const [second] = await two.events(1);
    expect([first?.seq, second?.seq]).toEqual([3, 4]);
    expect([await one.isQuiet(), await two.isQuiet()]).toEqual([true, true]);
  });
});

describe("a relay without that right", () => {
  test.for([
    { name: "granted to another alone", settings: { redeliver: false } },
    { name: "not said", settings: {} },
  ])("is closed with 4400, and nothing is stored: $name", async ({ settings }) => {
    const owner = await RelaySocket.open("relay-two");
    await finishMany(owner, 1);
    const sign_public = bindings.RELAYS["relay-two"];
    await configure({ RELAYS: { "relay-two": { sign_public, ...settings } } });
    const relay = await RelaySocket.open("relay-two");
    relay.send({ type: "redeliver", id: 1, of: ALL });
    expect(await relay.closed).toEqual({ code: 4400, reason: "redeliver is not expected now" });
    expect(await storedEvents()).toHaveLength(1);
  });
});

describe("what is stored anew", () => {
  it("is chosen by numbers, both ends included, in their order", async () => {
    const relay = await RelaySocket.open();
    const events = await finishMany(relay, 5);
    expect(await relay.redeliver({ from: 2, to: 4 })).toEqual({ events: 3, next: undefined });
    const anew = await relay.events(3);
    expect(anew.map(({ seq }) => seq)).toEqual([6, 7, 8]);
    expect(bodies(anew)).toEqual(bodies(events.slice(1, 4)));
  });

  it("is chosen by time, both ends included", async () => {
    const relay = await RelaySocket.open();
    const events: DrainedEvent[] = [];
    for (let count = 0; count < 4; count += 1) {
      events.push(...(await finishMany(relay, 1)));
      letPass(60_000);
    }
    const times = (await storedEvents()).map(({ storedAt }) => new Date(storedAt).toISOString());
    expect(await relay.redeliver({ since: times[1] ?? "", until: times[2] ?? "" })).toMatchObject({
      events: 2,
    });
    expect(bodies(await relay.events(2))).toEqual(bodies(events.slice(1, 3)));
    expect(await relay.redeliver({ since: times[2] ?? "", until: times[1] ?? "" })).toMatchObject({
      events: 0,
    });
    expect(await relay.isQuiet()).toBe(true);
  });

  it("is chosen by delivery, once for each body, however often that was delivered", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 1, again);
    await finishMany(relay, 1, { ...again, body: '{"same":false}' });
    await finishMany(relay, 1, again);
    for (const seqs of [
      [4, 5],
      [6, 7],
    ]) {
      expect(await relay.redeliver({ delivery: ID })).toMatchObject({ events: 2 });
      const anew = await relay.events(2);
      expect(anew.map(({ seq }) => seq)).toEqual(seqs);
      expect(bodies(anew)).toEqual([again.body, '{"same":false}']);
      for (const event of anew) await relay.done(event.seq, receiptFor(event));
    }
    expect(await relay.redeliver({ delivery: "00000000-0000" })).toMatchObject({ events: 0 });
  });

  it("is nothing that is undone, or that waits in a newer row: asked twice, it is stored once", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 2);
    await deliver();
    await relay.event();
    expect(await relay.redeliver(ALL)).toMatchObject({ events: 2 });
    await relay.events(2);
    expect(await relay.redeliver(ALL)).toMatchObject({ events: 0 });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true, true, false, false, false]);
  });

  it("is no canary", async () => {
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    await relay.canary();
    const canary = await relay.event();
    await relay.done(1, receiptFor(canary));
    expect(await relay.redeliver(ALL)).toMatchObject({ events: 0 });
    expect(await relay.redeliver({ delivery: canary.delivery })).toMatchObject({ events: 0 });
  });

  it("is nothing again that the same request stored before, though that is done meanwhile", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 3);
    relay.send({ type: "credit", events: 50 });
    const since = "2026-01-01T00:00:00.000Z";
    const until = "2999-01-01T00:00:00.000Z";
    expect(await relay.redeliver({ since, until })).toMatchObject({ events: 3 });
    for (const event of await relay.events(3)) await relay.done(event.seq, receiptFor(event));
    expect(await relay.redeliver({ since, until }, 3)).toMatchObject({ events: 0 });
    expect(await relay.redeliver({ since, until })).toMatchObject({ events: 3 });
  });

  it("is nothing that was purged", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 3);
    await execInOutbox("DELETE FROM events WHERE seq = 2");
    expect(await relay.redeliver(ALL)).toMatchObject({ events: 2 });
  });
});

describe("a body that is stored anew", () => {
  const bodiesOf: { name: string; delivery: Delivery }[] = [
    { name: "an empty object", delivery: { body: "{}" } },
    { name: "space in and around it", delivery: { body: ' {\n "a": 1 , "b": {} \n} \t\n' } },
    { name: "its own _delivery", delivery: { body: '{"_delivery":{"v":1,"seq":"}}"}}' } },
    { name: "braces in its last value", delivery: { body: '{"a":"}}{{"}' } },
    { name: "a string that begins with NUL", delivery: { body: '{"a":"\\u0000x"}' } },
    {
      name: "a form",
      delivery: {
        body: "payload=%7B%22a%22%3A%22%7D+%22%7D",
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      },
    },
    { name: "just under a chunk", delivery: { body: bodyOf(MIB - 200) } },
    { name: "several chunks", delivery: { body: bodyOf(2_500_000) } },
    { name: "the largest that GitHub sends", delivery: { body: bodyOf(25 * MIB) } },
  ];

  test.for(bodiesOf)(
    "is byte for byte the one before, with the same record: $name",
    // Sealing and opening 25 MiB takes its time on a busy machine.
    { timeout: 120_000 },
    async ({ delivery }) => {
      const relay = await RelaySocket.open();
      const [first] = await finishMany(relay, 1, delivery);
      if (!first) throw new Error("an event was expected");
      expect(await relay.redeliver(ALL)).toMatchObject({ events: 1 });
      const [before, after] = [openDrained(first), openDrained(await relay.event())];
      expect(same(after.rawBody, before.rawBody)).toBe(true);
      const { received_at } = after.delivery;
      expect(after.delivery).toEqual({ ...before.delivery, seq: 2, received_at, redelivery: true });
    },
  );

  it("is still so the third time, and where its number has another digit", async () => {
    const relay = await RelaySocket.open();
    const body = `{"a":"é","b":[{}]}`;
    await finishMany(relay, 1, { body });
    await finishMany(relay, 8);
    for (const { of, seq } of [
      { of: 1, seq: 10 },
      { of: 10, seq: 11 },
      { of: 11, seq: 12 },
    ]) {
      expect(await relay.redeliver({ from: of, to: of })).toMatchObject({ events: 1 });
      const event = await relay.event();
      const opened = openDrained(event);
      expect(decodeUtf8(opened.rawBody)).toBe(body);
      expect(opened.delivery).toMatchObject({ seq, redelivery: true });
      await relay.done(seq, receiptFor(event));
    }
  });

  it("is sealed with the key of today, though it was sealed with the one before", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 1, again);
    await setKeys(stranger.publicKey, builder.publicKey);
    const next = await RelaySocket.open();
    expect(await next.redeliver(ALL)).toMatchObject({ events: 1 });
    const [, anew] = await storedEvents();
    expect(() => anew && openStored(anew)).toThrow("do not open");
  });
});

describe("an event that cannot be opened", () => {
  const losses: { name: string; lose: () => Promise<void>; code: string }[] = [
    {
      name: "its key was taken out",
      lose: () => setKeys(stranger.publicKey),
      code: "ERR_KEY_REVOKED",
    },
    {
      name: "its blob is cut",
      lose: () => execInOutbox("UPDATE events SET sealed = substr(sealed, 2) WHERE seq = 1"),
      code: "ERR_ROW_DAMAGED",
    },
    {
      name: "its blob is another",
      lose: () => execInOutbox("UPDATE events SET sealed = zeroblob(bytes) WHERE seq = 1"),
      code: "ERR_NOT_OPENED",
    },
  ];

  test.for(losses)("is left out and reported, and the others pass: $name", async ({ lose, code }) => {
    await finishMany(await RelaySocket.open(), 2);
    await lose();
    const relay = await RelaySocket.open();
    printed = [];
    const { events } = await relay.redeliver(ALL);
    const errors = printed
      .map((line) => JSON.parse(line) as { code?: string; seq: number })
      .filter((e) => e.code);
    expect(errors[0]).toMatchObject({
      event: "error",
      code,
      stream: STREAM,
      seq: 1,
      delivery: expect.any(String),
    });
    expect(events + errors.length).toBe(2);
    expect(await relay.redeliver(ALL, 1)).toMatchObject({ events: 0 });
  });
});

describe("more than one frame may", () => {
  it("is stored in parts: two hundred, and where to go on, also by an object that hibernates in between", async () => {
    const relay = await RelaySocket.open();
    await finishMany(relay, 1);
    // As if so many had been delivered and done.
    await execInOutbox(
      `WITH RECURSIVE more(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM more WHERE n < 450)
       INSERT INTO events (seq, delivery, topic, bytes, tag, stored_at, done_at, body_tag, pair_key, sealed)
       SELECT n, 'delivery-' || n, topic, bytes, tag, stored_at, done_at, body_tag || n, pair_key, sealed
       FROM events, more WHERE seq = 1`,
    );
    relay.send({ type: "credit", events: 1 });
    const parts = [];
    for (let after: number | undefined; parts.length < 3; after = parts.at(-1)?.next) {
      parts.push(await relay.redeliver(ALL, after));
      if (parts.length === 1) await relay.event();
      await evictDurableObject(outbox());
    }
    expect(parts).toEqual([
      { events: 200, next: 200 },
      { events: 200, next: 400 },
      { events: 50, next: undefined },
    ]);
    const stored = await storedEvents();
    expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: 900 }, (_, index) => index + 1));
    expect(stored.every(({ seq, done }) => done === seq <= 450)).toBe(true);
    expect(stored.slice(450).every((event) => openStored(event).delivery.redelivery)).toBe(true);
  }, 30_000);

  it("is stored in parts of 16 MiB", { timeout: 120_000 }, async () => {
    const relay = await RelaySocket.open();
    for (const mebibytes of [9, 8, 1]) await finishMany(relay, 1, { body: bodyOf(mebibytes * MIB) });
    expect(await relay.redeliver(ALL)).toEqual({ events: 1, next: 1 });
    await relay.event();
    expect(await relay.redeliver(ALL, 1)).toEqual({ events: 2, next: undefined });
  });
});

/** Lets `relay-one` redeliver, and not `relay-two`. */
function grant(): Promise<void> {
  const sign_public = bindings.RELAYS["relay-one"];
  return configure({ RELAYS: { ...bindings.RELAYS, "relay-one": { sign_public, redeliver: true } } });
}

/** Changes the builder's keys, as by a deploy. */
async function setKeys(...keys: Uint8Array[]): Promise<void> {
  const sign_public = bindings.RELAYS["relay-one"];
  await configure({
    RELAYS: { "relay-one": { sign_public, redeliver: true } },
    RECIPIENTS: { [STREAM]: { box_public: keys.map((key) => formatKey("box", "public", key)) } },
  });
  await evictDurableObject(outbox(), { webSockets: "close" });
}

/** Delivers so often, and has each done. */
async function finishMany(relay: RelaySocket, count: number, delivery?: Delivery): Promise<DrainedEvent[]> {
  relay.send({ type: "credit", events: 50 });
  const events: DrainedEvent[] = [];
  for (let done = 0; done < count; done += 1) {
    expect((await deliver(delivery)).status).toBe(202);
    const event = await relay.event();
    expect(await relay.done(event.seq, receiptFor(event))).toMatchObject({ type: "accepted" });
    events.push(event);
  }
  return events;
}

function bodies(events: readonly DrainedEvent[]): string[] {
  return events.map((event) => decodeUtf8(openDrained(event).rawBody));
}

/** JSON of exactly so many bytes. */
function bodyOf(bytes: number): string {
  const frame = `{"n":"${crypto.randomUUID()}","a":""}`;
  return `${frame.slice(0, -2)}${"x".repeat(bytes - frame.length)}"}`;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && crypto.subtle.timingSafeEqual(a, b);
}
