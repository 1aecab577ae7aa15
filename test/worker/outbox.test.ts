import { evictDurableObject, reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { decodeUtf8 } from "../../shared/bytes.ts";
import { SEAL_OVERHEAD_BYTES, sealTag } from "../../shared/cryptobox.ts";
import { CHUNK_BYTES } from "../../shared/drain.ts";
import { deliver } from "./deliver.ts";
import { STREAM } from "./parties.ts";
import { receiptFor } from "./receipts.ts";
import { RelaySocket } from "./relay-socket.ts";
import { openStored, outbox, storedEvents } from "./stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const again = { headers: { "X-GitHub-Delivery": ID } };

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("numbers", () => {
  it("are gapless from 1 under 50 deliveries at once, each answered with its own, and the same inside the seal", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => deliver({ body: JSON.stringify({ index }) })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(202));
    const stored = await storedEvents();
    expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));

    for (const [index, { json }] of answers.entries()) {
      const { seq, delivery } = json;
      const event = stored[seq - 1];
      if (!event) throw new Error(`no event ${seq}`);
      expect(event.delivery).toBe(delivery);
      const opened = openStored(event);
      expect(opened.delivery).toMatchObject({ id: delivery, stream: STREAM, seq, redelivery: false });
      expect(JSON.parse(decodeUtf8(opened.rawBody))).toEqual({ index });
    }
  });

  it("go on where they were after the object was evicted", async () => {
    await deliver();
    await deliver();
    await evictDurableObject(outbox());
    expect((await deliver()).json).toMatchObject({ seq: 3, duplicate: false });
  });

  it("are not spent on refused deliveries", async () => {
    await deliver();
    await deliver({ headers: { "X-GitHub-Event": null } });
    expect((await deliver()).json).toMatchObject({ seq: 2 });
  });
});

describe("the same delivery again", () => {
  it("is a duplicate while it is undone: 202 and nothing new", async () => {
    const first = await deliver(again);
    const before = await storedEvents();
    const second = await deliver(again);
    expect(first.json).toEqual({ delivery: ID, stream: STREAM, seq: 1, duplicate: false });
    expect([second.status, second.json]).toEqual([
      202,
      { delivery: ID, stream: STREAM, seq: 1, duplicate: true },
    ]);
    expect(await storedEvents()).toEqual(before);
  });

  it("is a duplicate also when both come at once", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => deliver(again)));
    const duplicates = answers.map(({ json }) => json.duplicate);
    expect(duplicates.filter((duplicate) => !duplicate)).toHaveLength(1);
    expect(await storedEvents()).toHaveLength(1);
  });

  it("is a redelivery once it is done: a new number, and the seal says so", async () => {
    await deliver(again);
    await finishNext();
    const answer = await deliver(again);
    expect(answer.json).toEqual({ delivery: ID, stream: STREAM, seq: 2, duplicate: false });

    const [first, second] = await storedEvents();
    if (!first || !second) throw new Error("two events were expected");
    expect([first.done, second.done]).toEqual([true, false]);
    expect(openStored(first).delivery).toMatchObject({ id: ID, seq: 1, redelivery: false });
    expect(openStored(second).delivery).toMatchObject({ id: ID, seq: 2, redelivery: true });
    expect(second.tag).not.toBe(first.tag);
  });

  it("is a duplicate of its redelivery while that is undone", async () => {
    await deliver(again);
    await finishNext();
    await deliver(again);
    expect((await deliver(again)).json).toMatchObject({ seq: 2, duplicate: true });
    expect(await storedEvents()).toHaveLength(2);
  });
});

describe("a sealed event", () => {
  // Padmé leaves no size between these two around 1 MiB; test/worker/outbox-sql.test.ts has the bytes between.
  test.for([
    { name: "just fits", body: CHUNK_BYTES - 20_000, blobs: [CHUNK_BYTES - 16_384 + SEAL_OVERHEAD_BYTES] },
    {
      name: "does not fit by the seal's 40 bytes",
      body: CHUNK_BYTES - 1000,
      blobs: [CHUNK_BYTES, SEAL_OVERHEAD_BYTES],
    },
    {
      name: "needs three",
      body: 2 * CHUNK_BYTES - 1000,
      blobs: [CHUNK_BYTES, CHUNK_BYTES, SEAL_OVERHEAD_BYTES],
    },
  ])("lies in rows of at most 1 MiB: one that $name", async ({ body, blobs }) => {
    const text = `{"a":"${"x".repeat(body - 8)}"}`;
    expect((await deliver({ body: text })).status).toBe(202);
    const [stored] = await storedEvents();
    if (!stored) throw new Error("nothing was stored");
    expect(stored.blobs).toEqual(blobs);
    expect(stored.bytes).toBe(stored.sealed.length);
    expect(decodeUtf8(openStored(stored).rawBody)).toBe(text);
  });

  it("is stored with the tag that a receipt must name", async () => {
    await deliver();
    const [stored] = await storedEvents();
    expect(stored?.tag).toBe(stored && sealTag(stored.sealed));
  });

  it("tells nothing by a nonce: the same body is sealed differently each time", async () => {
    await deliver({ body: '{"a":1}' });
    await deliver({ body: '{"a":1}' });
    const [first, second] = await storedEvents();
    expect(first?.sealed.subarray(0, 24)).not.toEqual(second?.sealed.subarray(0, 24));
  });
});

/** Drains one event and has it done with the builder's receipt. */
async function finishNext(): Promise<void> {
  const relay = await RelaySocket.open();
  relay.send({ type: "credit", events: 1 });
  const event = await relay.event();
  expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
  relay.close();
  await relay.closed;
}
