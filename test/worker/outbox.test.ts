import { evictDurableObject, reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { decodeUtf8 } from "../../shared/bytes.ts";
import { SEAL_OVERHEAD_BYTES, sealTag } from "../../shared/cryptobox.ts";
import { CHUNK_BYTES } from "../../shared/drain.ts";
import { formatKey } from "../../shared/keys.ts";
import { configure } from "./configure.ts";
import { deliver, EVENT } from "./deliver.ts";
import { STREAM, stranger } from "./parties.ts";
import { receiptFor } from "./receipts.ts";
import { RelaySocket } from "./relay-socket.ts";
import { execInOutbox, openStored, outbox, storedEvents } from "./stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const again = { body: '{"same":true}', headers: { "X-GitHub-Delivery": ID } };

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
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
      const { delivery } = json;
      const seq = json.stored[0]?.seq ?? 0;
      const event = stored[seq - 1];
      if (!event) throw new Error(`no event ${seq}`);
      expect(event.delivery).toBe(delivery);
      const opened = openStored(event);
      expect(opened.delivery).toMatchObject({ id: delivery, stream: STREAM, seq, redelivery: false });
      expect(JSON.parse(decodeUtf8(opened.rawBody))).toEqual({ index });
    }
  });

  it("are gapless inside the seal, too, when large, small and failing deliveries come at once", async () => {
    await deliver();
    // Every failing one fails in the middle of the others' writing.
    await execInOutbox(
      "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.topic LIKE '%failing' BEGIN SELECT RAISE(ABORT, 'full'); END",
    );
    const sizes = [
      10, 1_200_000, 500_000, 100, 2_100_000, 1_100_000, 50_000, 1_048_576, 1_048_577, 5, 3_000_000, 20,
    ];
    const answers = await Promise.all(
      sizes.map((size, index) =>
        deliver({
          body: `{"index":${index},"a":"${"x".repeat(size)}"}`,
          headers: { "X-GitHub-Event": index % 3 === 2 ? "failing" : EVENT },
        }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(
      sizes.map((_, index) => (index % 3 === 2 ? 503 : 202)),
    );
    const stored = await storedEvents();
    expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: 9 }, (_, index) => index + 1));
    for (const event of stored) expect(openStored(event).delivery.seq).toBe(event.seq);
    for (const [index, { json }] of answers.entries()) {
      if (index % 3 === 2) continue;
      const event = stored.find(({ seq }) => seq === json.stored[0]?.seq);
      expect(event && decodeUtf8(openStored(event).rawBody.subarray(0, 12))).toMatch(
        new RegExp(`^{"index":${index},`),
      );
    }
  }, 30_000);

  it("go on where they were after the object was evicted", async () => {
    await deliver();
    await deliver();
    await evictDurableObject(outbox());
    expect((await deliver()).json).toMatchObject({ stored: [{ seq: 3, duplicate: false }] });
  });

  it("are not spent on refused deliveries", async () => {
    await deliver();
    await deliver({ headers: { "X-GitHub-Event": null } });
    expect((await deliver()).json).toMatchObject({ stored: [{ seq: 2 }] });
  });
});

describe("the same delivery again", () => {
  it("is a duplicate while it is undone: 202 and nothing new", async () => {
    const first = await deliver(again);
    const before = await storedEvents();
    const second = await deliver(again);
    expect(first.json).toEqual(answer(1, false));
    expect([second.status, second.json]).toEqual([202, answer(1, true)]);
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
    expect((await deliver(again)).json).toEqual(answer(2, false));

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
    expect((await deliver(again)).json).toEqual(answer(2, true));
    expect(await storedEvents()).toHaveLength(2);
  });
});

describe("the same body", () => {
  const another = { body: again.body, headers: { "X-GitHub-Delivery": "another-guid-of-github" } };

  it("is a duplicate under another GUID, as when two webhooks tell the same, also once it is done", async () => {
    await deliver(again);
    expect((await deliver(another)).json).toMatchObject({
      duplicate: true,
      stored: [{ seq: 1, duplicate: true }],
    });
    await finishNext();
    expect((await deliver(another)).json).toMatchObject({
      duplicate: true,
      stored: [{ seq: 1, duplicate: true }],
    });
    expect(await storedEvents()).toHaveLength(1);
  });

  it("is a duplicate under another GUID when both come at once", async () => {
    const answers = await Promise.all([deliver(again), deliver(another), deliver(again), deliver(another)]);
    expect(answers.filter(({ json }) => !json.duplicate)).toHaveLength(1);
    expect(await storedEvents()).toHaveLength(1);
  });

  it("is one when it is large, too, and both come at once", async () => {
    const body = `{"a":"${"x".repeat(1_500_000)}"}`;
    const answers = await Promise.all([deliver({ body }), deliver({ body })]);
    expect(answers.filter(({ json }) => json.duplicate)).toHaveLength(1);
    expect(await storedEvents()).toHaveLength(1);
  });

  it("is another under another event's name: a false name does not keep the true one out", async () => {
    const misnamed = { body: again.body, headers: { "X-GitHub-Event": "unknown_event" } };
    expect((await deliver(misnamed)).json).toMatchObject({ duplicate: false, stored: [{ seq: 1 }] });
    expect((await deliver(again)).json).toEqual(answer(2, false));
    expect((await deliver(misnamed)).json).toMatchObject({ duplicate: true, stored: [{ seq: 1 }] });
    expect((await storedEvents()).map(({ topic }) => topic)).toEqual([
      "webhook.github.unknown_event",
      `webhook.github.${EVENT}`,
    ]);
  });

  test.for(["workflow_dispatch", "repository_dispatch"])(
    "of %s is a duplicate only until it is done, under whatever GUID",
    async (event) => {
      const dispatch = () =>
        deliver({ body: again.body, headers: { "X-GitHub-Event": event } }).then(({ json }) => json.stored);
      expect(await dispatch()).toEqual([{ stream: STREAM, seq: 1, duplicate: false }]);
      expect(await dispatch()).toEqual([{ stream: STREAM, seq: 1, duplicate: true }]);
      await finishNext();
      expect(await dispatch()).toEqual([{ stream: STREAM, seq: 2, duplicate: false }]);
      expect(await dispatch()).toEqual([{ stream: STREAM, seq: 2, duplicate: true }]);
    },
  );

  it("is not what has a byte more, or another value", async () => {
    for (const body of ['{"same":true}', '{"same":true }', '{"same":false}'])
      expect((await deliver({ body })).json.duplicate).toBe(false);
  });
});

describe("the same body of an event that is lost", () => {
  const large = { ...again, body: `{"a":"${"x".repeat(2 * CHUNK_BYTES)}"}` };
  const losses: { name: string; delivery: typeof again; lose: () => Promise<void> }[] = [
    {
      name: "its blob is cut",
      delivery: again,
      lose: () => execInOutbox("UPDATE events SET sealed = substr(sealed, 2)"),
    },
    {
      name: "a chunk is gone",
      delivery: large,
      lose: () => execInOutbox("DELETE FROM chunks WHERE part = 1"),
    },
    {
      name: "its key was taken out",
      delivery: again,
      lose: async () => {
        await configure({
          RECIPIENTS: { builder: { box_public: formatKey("box", "public", stranger.publicKey) } },
        });
        await evictDurableObject(outbox());
      },
    },
  ];
  const guids = ["its own GUID", "another GUID"];
  test.for(losses.flatMap((loss) => guids.map((guid) => ({ ...loss, guid }))))(
    "is stored anew in its place, under $guid: $name",
    async ({ delivery, lose, guid }) => {
      await deliver(delivery);
      expect((await deliver(delivery)).json.duplicate).toBe(true);
      await lose();
      const anew =
        guid === "its own GUID"
          ? delivery
          : { ...delivery, headers: { "X-GitHub-Delivery": "another-guid" } };
      expect((await deliver(anew)).json.stored).toEqual([{ stream: STREAM, seq: 2, duplicate: false }]);
      expect((await storedEvents()).map(({ done }) => done)).toEqual([true, false]);
      // From here on it is a duplicate of the one that is whole.
      expect((await deliver(anew)).json.stored).toEqual([{ stream: STREAM, seq: 2, duplicate: true }]);
      const relay = await RelaySocket.open();
      relay.send({ type: "credit", events: 10 });
      expect((await relay.event()).seq).toBe(2);
      expect(await relay.isQuiet()).toBe(true);
    },
  );

  it("leaves the old one undone when it cannot be stored, and can be stored later", async () => {
    await deliver(again);
    await execInOutbox("UPDATE events SET sealed = substr(sealed, 2)");
    await execInOutbox(
      "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
    expect((await deliver(again)).status).toBe(503);
    expect((await storedEvents()).map(({ seq, done }) => [seq, done])).toEqual([[1, false]]);
    await execInOutbox("DROP TRIGGER full");
    expect((await deliver(again)).json).toEqual(answer(2, false));
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true, false]);
  });
});

describe("the same GUID with another body", () => {
  it("is another event: stored as new, done or not, and no redelivery", async () => {
    await deliver(again);
    expect((await deliver({ ...again, body: '{"same":1}' })).json).toEqual(answer(2, false));
    await finishNext();
    expect((await deliver({ ...again, body: '{"same":2}' })).json).toEqual(answer(3, false));
    const redeliveries = (await storedEvents()).map((event) => openStored(event).delivery.redelivery);
    expect(redeliveries).toEqual([false, false, false]);
  });
});

describe("more than an isolate can hold", () => {
  it("is refused with 503 while it holds too much already, and taken when it comes again", async () => {
    const body = (index: number) => `{"a":${index},"b":"${"x".repeat(24 * 1024 * 1024)}"}`;
    const answers = await Promise.all([0, 1].map((index) => deliver({ body: body(index) })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202, 503]));
    const refused = answers.findIndex(({ status }) => status === 503);
    expect(answers[refused]?.json.error?.code).toBe("ERR_BUSY");
    expect((await deliver({ body: body(refused) })).json.stored).toMatchObject([
      { seq: 2, duplicate: false },
    ]);
  }, 40_000);
});

describe("a sealed event", () => {
  // Padmé leaves no size between these two around 1 MiB; test/worker/outbox/sql.test.ts has the bytes between.
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
    await deliver(again);
    await finishNext();
    await deliver(again);
    const [first, second] = await storedEvents();
    expect(first?.sealed.subarray(0, 24)).not.toEqual(second?.sealed.subarray(0, 24));
  });
});

function answer(seq: number, duplicate: boolean) {
  return { delivery: ID, event: EVENT, duplicate, stored: [{ stream: STREAM, seq, duplicate }] };
}

/** Drains one event and has it done with the builder's receipt. */
async function finishNext(): Promise<void> {
  const relay = await RelaySocket.open();
  relay.send({ type: "credit", events: 1 });
  const event = await relay.event();
  expect(await relay.done(event.seq, receiptFor(event))).toEqual({ type: "accepted", seq: event.seq });
  relay.close();
  await relay.closed;
}
