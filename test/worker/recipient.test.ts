import { evictDurableObject, reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { decodeUtf8 } from "../../shared/bytes.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { formatKey } from "../../shared/keys.ts";
import { configure } from "./configure.ts";
import { deliver } from "./deliver.ts";
import { bindings, edge, relays, shared, stranger } from "./parties.ts";
import { openDrained, receiptFor } from "./receipts.ts";
import { hello, RelaySocket, upgrade } from "./relay-socket.ts";
import { execInOutbox, openStored, outbox, storedEvents } from "./stored.ts";

const ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const builderKey = bindings.RECIPIENTS.builder.box_public;
const docsKey = formatKey("box", "public", stranger.publicKey);
const docsShared = sharedKey(edge.publicKey, stranger.secretKey);
const both = { builder: { box_public: builderKey }, docs: { box_public: docsKey } };

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("two recipients", () => {
  beforeEach(() => configure({ RECIPIENTS: both }));

  it("each get their own copy, sealed to their own key, in their own stream", async () => {
    await deliver();
    const { json } = await deliver({ body: '{"a":1}' });
    expect(json.stored).toEqual([
      { stream: "builder", seq: 2, duplicate: false },
      { stream: "docs", seq: 2, duplicate: false },
    ]);
    const [, ofBuilder] = await storedEvents("builder");
    const [, ofDocs] = await storedEvents("docs");
    if (!ofBuilder || !ofDocs) throw new Error("four events were expected");
    expect(decodeUtf8(openStored(ofBuilder, shared).rawBody)).toBe('{"a":1}');
    expect(decodeUtf8(openStored(ofDocs, docsShared).rawBody)).toBe('{"a":1}');
    expect(openStored(ofDocs, docsShared).delivery).toMatchObject({ stream: "docs", seq: 2 });
    expect(() => openStored(ofDocs, shared)).toThrow("do not open");
    expect(() => openStored(ofBuilder, docsShared)).toThrow("do not open");
  });

  it("each give receipts for their own only", async () => {
    await deliver();
    const relay = await RelaySocket.open("relay-one", { stream: "docs" });
    const [event] = await relay.drain(1);
    expect(await relay.done(1, receiptFor(event, shared, "docs"))).toMatchObject({ code: "ERR_NOT_OPENED" });
    expect(await relay.done(1, receiptFor(event, docsShared, "docs"))).toMatchObject({ type: "accepted" });
    expect((await storedEvents("builder")).map(({ done }) => done)).toEqual([false]);
  });

  it("keep what one of them could store when the other's store fails, and GitHub is told that it failed", async () => {
    await deliver();
    await execInOutbox("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'full'); END");
    const again = { body: '{"a":1}', headers: { "X-GitHub-Delivery": ID } };
    expect((await deliver(again)).json.error?.code).toBe("ERR_STORE");
    await execInOutbox("DROP TRIGGER full");
    const { status, json } = await deliver(again);
    expect([status, json]).toEqual([
      202,
      {
        delivery: ID,
        event: "example",
        duplicate: false,
        stored: [
          { stream: "builder", seq: 2, duplicate: false },
          { stream: "docs", seq: 2, duplicate: true },
        ],
      },
    ]);
  });
});

describe("a recipient's filters", () => {
  const RECIPIENTS = {
    builder: { box_public: builderKey, events: ["Push", "example"], repositories: ["octo/*", "A/b"] },
    docs: { box_public: { "webhook.github.page_build": docsKey } },
  };
  const about = (full_name: string) => JSON.stringify({ repository: { full_name } });
  test.for([
    {
      name: "an event and a repository of its lists",
      event: "example",
      body: about("Octo/any"),
      stored: ["builder"],
    },
    { name: "another repository", event: "example", body: about("a/c"), stored: [] },
    { name: "another event", event: "another", body: about("octo/any"), stored: [] },
    { name: "no repository", event: "example", body: "{}", stored: [] },
    {
      name: "an event for which it has no key",
      event: "page_build",
      body: '{"build":{},"id":1}',
      stored: ["docs"],
    },
  ])(
    "let through what it wants, and the rest is answered and not stored: $name",
    async ({ event, body, stored }) => {
      await configure({ RECIPIENTS });
      const { status, json } = await deliver({ body, headers: { "X-GitHub-Event": event } });
      expect(status).toBe(202);
      expect(json).toMatchObject({
        event,
        duplicate: false,
        stored: stored.map((stream) => ({ stream, seq: 1 })),
      });
      expect(json.stored).toHaveLength(stored.length);
      for (const stream of ["builder", "docs"])
        expect(await storedEvents(stream)).toHaveLength(stored.includes(stream) ? 1 : 0);
    },
  );
});

describe("a recipient that gives no receipts", () => {
  it("has its events done by the relay's word", async () => {
    await configure({ RECIPIENTS: { builder: { box_public: builderKey, receipts: false } } });
    await evictDurableObject(outbox());
    await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(1);
    expect(await relay.done(1)).toEqual({ type: "accepted", seq: 1 });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true]);
  });

  it("is none unless the configuration says so: without a receipt the event stays", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    expect(await relay.done(1)).toEqual({ type: "refused", seq: 1, code: "ERR_RECEIPT_MISSING" });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false]);
    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
  });
});

describe("a recipient's key", () => {
  const keep = (box_public: unknown) => become({ builder: { box_public } });

  it("is one for each topic, of which the longest counts", async () => {
    await keep({ "webhook.github.": builderKey, "webhook.github.example": docsKey });
    await deliver({ body: '{"a":1}' });
    await deliver({ body: '{"a":2}', headers: { "X-GitHub-Event": "another" } });
    const relay = await RelaySocket.open();
    const [first, second] = await relay.drain(2);
    if (!second) throw new Error("two events were expected");
    expect(decodeUtf8(openDrained(first, docsShared).rawBody)).toBe('{"a":1}');
    expect(decodeUtf8(openDrained(second, shared).rawBody)).toBe('{"a":2}');
    expect(await relay.done(1, receiptFor(first, shared))).toMatchObject({ code: "ERR_NOT_OPENED" });
    expect(await relay.done(1, receiptFor(first, docsShared))).toMatchObject({ type: "accepted" });
    expect(await relay.done(2, receiptFor(second, shared))).toMatchObject({ type: "accepted" });
  });

  it("can be changed: new events are sealed with the new one, old ones still drain and their receipts count", async () => {
    await deliver({ body: '{"a":1}' });
    await keep([docsKey, builderKey]);
    await deliver({ body: '{"a":2}' });
    const relay = await RelaySocket.open();
    const [old, fresh] = await relay.drain(2);
    if (!fresh) throw new Error("two events were expected");
    expect(decodeUtf8(openDrained(old, shared).rawBody)).toBe('{"a":1}');
    expect(decodeUtf8(openDrained(fresh, docsShared).rawBody)).toBe('{"a":2}');
    expect(await relay.done(2, receiptFor(fresh, shared))).toMatchObject({ code: "ERR_NOT_OPENED" });
    expect(await relay.done(1, receiptFor(old, shared))).toEqual({ type: "accepted", seq: 1 });
    expect(await relay.done(2, receiptFor(fresh, docsShared))).toEqual({ type: "accepted", seq: 2 });
  });

  it("can be revoked: what is sealed with it is not sent and gets no receipt, all else does", async () => {
    await deliver();
    const before = await RelaySocket.open();
    const [old] = await before.drain(1);
    await keep(docsKey);
    await deliver();
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    const fresh = await relay.event();
    expect(fresh.seq).toBe(2);
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 2 });
    await relay.replay({ from: 1, to: 2 });
    expect((await relay.event()).seq).toBe(2);
    expect(await relay.isQuiet()).toBe(true);
    expect(await relay.done(1, receiptFor(old))).toEqual({
      type: "refused",
      seq: 1,
      code: "ERR_KEY_REVOKED",
    });
    expect(await relay.done(1, receiptFor(old, docsShared))).toMatchObject({ code: "ERR_KEY_REVOKED" });
    expect(await relay.done(2, receiptFor(fresh, docsShared))).toEqual({ type: "accepted", seq: 2 });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false, true]);
  });

  it("that was revoked can be put back: what waited goes out then", async () => {
    await deliver();
    await keep(docsKey);
    const waiting = await RelaySocket.open();
    waiting.send({ type: "credit", events: 10 });
    expect(await waiting.isQuiet()).toBe(true);
    await keep([docsKey, builderKey]);
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
  });
});

describe("a recipient that is gone", () => {
  it("has no stream and gets nothing; what it has stays, and no relay can have it done", async () => {
    await deliver();
    const open = await RelaySocket.open();
    const [event] = await open.drain(1);
    await configure({ RECIPIENTS: { docs: both.docs } });
    await evictDurableObject(outbox());

    expect((await upgrade("builder")).status).toBe(404);
    expect((await deliver()).json.stored.map(({ stream }) => stream)).toEqual(["docs"]);
    // A socket of before that a deploy did not close.
    expect(await open.done(1)).toEqual({ type: "refused", seq: 1, code: "ERR_RECEIPT_MISSING" });
    expect(await open.done(1, receiptFor(event))).toEqual({
      type: "refused",
      seq: 1,
      code: "ERR_KEY_REVOKED",
    });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false]);
  });

  it("lets a relay that was challenged before prove nothing any more", async () => {
    await deliver();
    const relay = await RelaySocket.dial();
    const challenge = await relay.challenge();
    await configure({ RECIPIENTS: { docs: both.docs } });
    await evictDurableObject(outbox());
    relay.send(hello(challenge));
    expect((await relay.closed).code).toBe(4401);
  });
});

describe("a relay's grant", () => {
  it("may be for some recipients only", async () => {
    const sign_public = bindings.RELAYS["relay-one"];
    await configure({ RECIPIENTS: both, RELAYS: { "relay-one": { sign_public, recipients: ["docs"] } } });
    await expect(RelaySocket.open("relay-one", { stream: "builder" })).rejects.toThrow("closed: 4401");
    const relay = await RelaySocket.open("relay-one", { stream: "docs" });
    expect(await relay.isQuiet()).toBe(true);
  });

  it("may have two keys while they are changed", async () => {
    await configure({
      RELAYS: { "relay-one": [bindings.RELAYS["relay-two"], bindings.RELAYS["relay-one"]] },
    });
    for (const { secretKey } of Object.values(relays))
      expect(await (await RelaySocket.open("relay-one", { secretKey })).isQuiet()).toBe(true);
    await configure({ RELAYS: { "relay-one": bindings.RELAYS["relay-two"] } });
    await evictDurableObject(outbox());
    await expect(RelaySocket.open("relay-one")).rejects.toThrow("closed: 4401");
  });
});

/** From now on these are the recipients, as after a deploy: every socket is closed. */
async function become(recipients: Record<string, unknown>): Promise<void> {
  await configure({ RECIPIENTS: recipients });
  await evictDurableObject(outbox(), { webSockets: "close" });
}
