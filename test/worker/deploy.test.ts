import {
  abortAllDurableObjects,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { seal, sealTag } from "../../shared/cryptobox.ts";
import { CHUNK_BYTES } from "../../shared/drain.ts";
import { encodeEvent } from "../../shared/event.ts";
import type { TakeCall } from "../../worker/take.ts";
import { until } from "../helpers/until.ts";
import { deliver } from "./deliver.ts";
import { letPass, ringUntil } from "./clock.ts";
import { shared, STREAM } from "./parties.ts";
import { openDrained, receiptFor } from "./receipts.ts";
import { hello, RelaySocket } from "./relay-socket.ts";
import { execInOutbox, openStored, outbox, rowsOf, storedEvents } from "./stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a deploy, which closes every socket", () => {
  it("in the middle of many events loses none, and sends none twice on one socket", async () => {
    const count = 40;
    for (let delivered = 0; delivered < count; delivered += 1) await deliver();
    const seen = new Set<number>();
    for (let sockets = 0; seen.size < count; sockets += 1) {
      expect(sockets).toBeLessThan(count);
      const relay = await RelaySocket.open();
      const onThis: number[] = [];
      for (const event of await relay.drain(12, Math.min(12, count - seen.size))) {
        onThis.push(event.seq);
        if (onThis.length > 8) continue;
        relay.send({ type: "stored", seq: event.seq });
        if ((await relay.eventsByNow()).length > 1) throw new Error("one place was free");
        seen.add(event.seq);
        relay.send({
          type: "done",
          seq: event.seq,
          receipt: btoa(String.fromCharCode(...receiptFor(event))),
        });
      }
      await relay.eventsByNow();
      expect(new Set(onThis).size).toBe(onThis.length);
      await evictDurableObject(outbox(), { webSockets: "close" });
      expect((await relay.closed).code).toBe(1006);
    }
    expect((await storedEvents()).every(({ done }) => done)).toBe(true);
    expect(await (await RelaySocket.open()).isQuiet()).toBe(true);
  });

  it("while a relay proves who it is: its answer goes nowhere, and it dials anew", async () => {
    const relay = await RelaySocket.dial();
    const challenge = await relay.challenge();
    await evictDurableObject(outbox(), { webSockets: "close" });
    expect((await relay.closed).code).toBe(1006);
    const again = await RelaySocket.dial();
    again.send(hello(challenge));
    expect((await again.closed).code).toBe(4401);
  });
});

describe("an object that is aborted", () => {
  it("while a body comes in has stored nothing of it, and takes it when it comes again", async () => {
    await deliver();
    const payload = encodeUtf8(`{"a":"${"x".repeat(50_000)}"}`);
    let pulled = 0;
    const taken = runInDurableObject(outbox(), (object) => {
      const half = new ReadableStream({
        type: "bytes",
        pull(controller: ReadableByteStreamController) {
          pulled += 1;
          if (pulled > 1) return new Promise<void>(() => {});
          controller.enqueue(payload.slice(0, 20_000));
          return undefined;
        },
      });
      return object.take(takeCall({ bytes: payload.length }), half);
    });
    const ended = expect(taken).rejects.toThrow("abort");
    await until(() => expect(pulled).toBe(2));
    await abortAllDurableObjects();
    await ended;
    expect(await storedEvents()).toHaveLength(1);
    const again = await outbox().take(takeCall({ bytes: payload.length }), new Blob([payload]).stream());
    expect(again).toEqual({ stream: STREAM, seq: 2, duplicate: false });
  });

  it("while it drains sends again what was not done", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [first] = await relay.drain(2);
    await relay.done(1, receiptFor(first));
    await abortAllDurableObjects();
    expect((await relay.closed).code).toBe(1006);
    expect((await (await RelaySocket.open()).drain(2)).map(({ seq }) => seq)).toEqual([2, 3]);
  });

  it("is woken by its alarm and does what was due, though no one tells it its name", async () => {
    await deliver();
    await deliver();
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(2)) await relay.done(event.seq, receiptFor(event));
    await relay.leave();
    letPass(8 * 24 * 60 * 60 * 1000);
    await abortAllDurableObjects();
    const nameless = env.OUTBOX.get(env.OUTBOX.idFromString(outbox().id.toString()));
    expect(await runDurableObjectAlarm(nameless)).toBe(true);
    await ringUntil(async () => (await storedEvents()).length === 1);
    expect(await rowsOf("stream")).toEqual([{ name: STREAM }]);
  });

  it("before a delivery was ever taken is told its name again", async () => {
    await RelaySocket.dial();
    await abortAllDurableObjects();
    expect((await deliver()).json.stored).toEqual([{ stream: STREAM, seq: 1, duplicate: false }]);
  });
});

describe("Worker and object of different versions", () => {
  const body = new Blob(["{}"]);

  it("fit together where a field is missing that has a default, or one is there that is not known", async () => {
    const { form: _form, ...older } = takeCall({});
    expect(await outbox().take(older as TakeCall, body.stream())).toMatchObject({ seq: 1 });
    const newer = { ...takeCall({ bodyTag: "other" }), later: true } as TakeCall;
    expect(await outbox().take(newer, body.stream())).toMatchObject({ seq: 2 });
    const [first] = await storedEvents();
    expect(first && openStored(first).delivery.altered).toBe(false);
  });

  /** Without a call between isolates, of which a refusal would count as unhandled, too. */
  const takeInside = (call: TakeCall) =>
    runInDurableObject(outbox(), (object) => object.take(call, new Blob(["{}"]).stream()));

  test.for([
    { name: "another version", call: { ...takeCall({}), v: 2 } },
    { name: "no version", call: { ...takeCall({}), v: undefined } },
    { name: "a field that is needed missing", call: { ...takeCall({}), bodyTag: undefined } },
    { name: "a field of another type", call: { ...takeCall({}), bytes: "2" } },
    { name: "nothing", call: undefined },
  ])("refuse each other, and nothing is stored: $name", async ({ call }) => {
    await expect(takeInside(call as unknown as TakeCall)).rejects.toThrow(
      "Worker and outbox are of versions that do not fit together",
    );
    expect(await storedEvents()).toEqual([]);
  });

  test.for([
    { name: "fewer bytes", bytes: 3 },
    { name: "more bytes", bytes: 1 },
  ])("or a body that was cut: $name than announced are refused, and nothing is stored", async ({ bytes }) => {
    await expect(takeInside(takeCall({ bytes }))).rejects.toThrow(
      "the payload has another size than was announced",
    );
    expect(await storedEvents()).toEqual([]);
  });

  it("of the drain: a socket of the version before is closed at the next wake, and its relay comes back", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(1);
    await runInDurableObject(outbox(), (_object, state) => {
      const old = { v: 1, phase: "open", relay: "relay-one", window: 1, cursor: 1, unstored: [[1, 9]] };
      for (const socket of state.getWebSockets()) socket.serializeAttachment(old);
    });
    await evictDurableObject(outbox());
    await storedEvents();
    expect((await relay.closed).code).toBe(4400);
    expect((await (await RelaySocket.open()).drain(1)).map(({ seq }) => seq)).toEqual([1]);
  });
});

describe("a database", () => {
  it("that a newer version migrated goes on to work", async () => {
    await deliver();
    const version = Math.max(...(await rowsOf("migrations")).map(({ version: each }) => Number(each)));
    await execInOutbox(`ALTER TABLE events ADD COLUMN later TEXT; CREATE TABLE later (a INTEGER);
      INSERT INTO migrations (version) VALUES (${version + 1})`);
    await evictDurableObject(outbox());
    expect((await deliver()).json.stored).toMatchObject([{ seq: 2 }]);
    const relay = await RelaySocket.open();
    for (const event of await relay.drain(2))
      expect(await relay.done(event.seq, receiptFor(event))).toMatchObject({ type: "accepted" });
    expect(await rowsOf("migrations")).toHaveLength(version + 2);
  });

  it("of the first version is migrated: its rows drain, and their receipts are accepted", async () => {
    const rows = [
      await firstVersionRow(1, "{}", true),
      await firstVersionRow(2, '{"a":1}', false),
      await firstVersionRow(3, `{"a":"${"x".repeat(CHUNK_BYTES + 10)}"}`, false),
    ];
    await runInDurableObject(outbox(), (_object, { storage: { sql } }) => {
      const tables = sql
        .exec<{ name: string }>(
          "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
        )
        .toArray();
      for (const { name } of tables) sql.exec(`DROP TABLE "${name}"`);
      sql.exec(FIRST_VERSION);
      for (const { seq, delivery, topic, sealed, tag, done } of rows) {
        const inRow = sealed.length <= CHUNK_BYTES;
        sql.exec(
          "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          seq,
          delivery,
          topic,
          sealed.length,
          tag,
          inRow ? sealed : null,
          Date.now(),
          done ? Date.now() : null,
        );
        if (inRow) continue;
        for (let part = 0; part * CHUNK_BYTES < sealed.length; part += 1)
          sql.exec(
            "INSERT INTO chunks VALUES (?, ?, ?)",
            seq,
            part,
            sealed.slice(part * CHUNK_BYTES, (part + 1) * CHUNK_BYTES),
          );
      }
    });
    await evictDurableObject(outbox());

    expect((await deliver()).json.stored).toMatchObject([{ stream: STREAM, seq: 4 }]);
    const relay = await RelaySocket.open();
    const events = await relay.drain(3);
    expect(events.map(({ seq }) => seq)).toEqual([2, 3, 4]);
    expect(openDrained(events[0]).delivery.id).toBe(ID);
    for (const event of events)
      expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
    expect(await relay.replay({ from: 1, to: 1 })).toBe(1);
    expect(await relay.done(1, receiptFor(await relay.event()))).toEqual({ type: "accepted", seq: 1 });
  });
});

/** What the Worker calls an outbox with, for the body `{}`. */
function takeCall(changes: Partial<TakeCall>): TakeCall {
  return {
    v: 1,
    id: ID,
    event: "example",
    topic: "webhook.github.example",
    hookId: null,
    signature: `sha256=${"0".repeat(64)}`,
    bytes: 2,
    form: false,
    leadingNul: [],
    bodyTag: "tag",
    ...changes,
  };
}

/** The tables as the first release made them. */
const FIRST_VERSION = `
  CREATE TABLE migrations (version INTEGER PRIMARY KEY);
  INSERT INTO migrations (version) VALUES (0);
  CREATE TABLE events (
     seq INTEGER PRIMARY KEY,
     delivery TEXT NOT NULL,
     topic TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     tag TEXT NOT NULL,
     sealed BLOB,
     stored_at INTEGER NOT NULL,
     done_at INTEGER
   );
   CREATE INDEX events_by_delivery ON events (delivery);
   CREATE INDEX events_undone ON events (seq) WHERE done_at IS NULL;
   CREATE TABLE chunks (
     seq INTEGER NOT NULL,
     part INTEGER NOT NULL,
     data BLOB NOT NULL,
     PRIMARY KEY (seq, part)
   ) WITHOUT ROWID;`;

async function firstVersionRow(seq: number, body: string, done: boolean) {
  const topic = "webhook.github.example";
  const rawBody = encodeUtf8(body);
  const plaintext = encodeEvent(
    topic,
    {
      v: 1,
      id: ID,
      event: "example",
      hook_id: null,
      received_at: new Date().toISOString(),
      stream: STREAM,
      seq,
      redelivery: false,
      signature: `sha256=${"0".repeat(64)}`,
      body_bytes: rawBody.length,
      altered: false,
    },
    rawBody,
  );
  const sealed = seal(plaintext, shared);
  return { seq, delivery: ID, topic, sealed, tag: sealTag(sealed), done };
}
