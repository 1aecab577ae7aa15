import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import nacl from "tweetnacl";
import { describe, expect, it, test } from "vitest";
import { sharedKey } from "../../../shared/shared-key.ts";
import { concatBytes, decodeUtf8, encodeBase64, encodeUtf8 } from "../../../shared/bytes.ts";
import { sealTag } from "../../../shared/cryptobox.ts";
import { CHUNK_BYTES, DRAIN_SUBPROTOCOL, drainProof, MAX_WINDOW } from "../../../shared/drain.ts";
import { sealReceipt } from "../../../shared/receipt.ts";
import type { Drain } from "../../../worker/drain/machine.ts";
import { configure } from "../configure.ts";
import { deliver, EDGE } from "../deliver.ts";
import { bindings, builder, edge, relays, shared, stranger, STREAM, strangeRelay } from "../parties.ts";
import { eachPrinted } from "../printed.ts";
import { openDrained, receiptFor } from "../receipts.ts";
import { type DrainedEvent, hello, RelaySocket, WELCOME } from "../relay-socket.ts";
import { outbox, rowsOf, storedEvents } from "../stored.ts";

const printed = eachPrinted();

describe("a relay that proves who it is", () => {
  it("is answered with the subprotocol, a challenge of 32 bytes that is new each time, and a welcome", async () => {
    const [one, two] = [await RelaySocket.dial(), await RelaySocket.dial()];
    expect(one.subprotocol).toBe(DRAIN_SUBPROTOCOL);
    const [first, second] = [await one.challenge(), await two.challenge()];
    expect(first).toHaveLength(32);
    expect(first).not.toEqual(second);
    one.send(hello(first));
    expect(await one.message()).toEqual(WELCOME);
  });

  it("is told where its word is enough, since no receipts are given", async () => {
    const { box_public } = bindings.RECIPIENTS[STREAM];
    await configure({ RECIPIENTS: { [STREAM]: { box_public, receipts: false } } });
    await evictDurableObject(outbox());
    const relay = await RelaySocket.dial();
    relay.send(hello(await relay.challenge()));
    expect(await relay.message()).toEqual({ ...WELCOME, receipts: false });
  });

  it("drains an event: header, binary frames, stored, the builder's receipt, accepted, done", async () => {
    const { json } = await deliver({ body: '{"ref":"refs/heads/main"}' });
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 1 });
    const event = await relay.event();
    expect(event).toMatchObject({
      seq: 1,
      topic: "webhook.github.example",
      delivery: json.delivery,
    });
    expect(event.frames).toEqual([event.sealed.length]);
    const { delivery, rawBody } = openDrained(event);
    expect(decodeUtf8(rawBody)).toBe('{"ref":"refs/heads/main"}');
    expect(delivery.seq).toBe(1);

    relay.send({ type: "stored", seq: 1 });
    expect(await relay.isQuiet()).toBe(true);
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false]);

    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true]);
    expect(JSON.parse(printed.at(-1) ?? "")).toEqual({
      event: "done",
      at: expect.any(Number),
      delivery: event.delivery,
      stream: STREAM,
      seq: 1,
    });
  });

  it("may say done twice, as when the first answer was lost, and is told accepted twice, reported once", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    expect(printed.filter((line) => line.includes('"event":"done"'))).toHaveLength(1);
  });

  it("may say done before it said stored", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    expect(await relay.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    relay.send({ type: "stored", seq: 1 });
    expect(await relay.isQuiet()).toBe(true);
  });

  it("gets an event that comes while it waits", async () => {
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 10 });
    expect(await relay.isQuiet()).toBe(true);
    await deliver({ body: '{"late":true}' });
    expect(decodeUtf8(openDrained(await relay.event()).rawBody)).toBe('{"late":true}');
  });

  it("gets a large event in frames of 1 MiB and a rest", async () => {
    const body = `{"a":"${"x".repeat(2_500_000)}"}`;
    await deliver({ body });
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 1 });
    const event = await relay.event();
    expect(event.frames.slice(0, -1)).toEqual([CHUNK_BYTES, CHUNK_BYTES]);
    expect(event.frames.at(-1)).toBeLessThanOrEqual(CHUNK_BYTES);
    expect(decodeUtf8(openDrained(event).rawBody)).toBe(body);
  });
});

describe("a relay that does not prove who it is", () => {
  const replayed = new Uint8Array(32).fill(1);
  const proofs: { name: string; answer: (challenge: Uint8Array) => ReturnType<typeof hello> }[] = [
    {
      name: "a name that is not configured",
      answer: (c) => hello(c, { relay: "relay-three", secretKey: strangeRelay.secretKey }),
    },
    { name: "the name of every object", answer: (c) => hello(c, { relay: "constructor" }) },
    { name: "another relay's name", answer: (c) => hello(c, { relay: "relay-two" }) },
    { name: "another key", answer: (c) => hello(c, { secretKey: strangeRelay.secretKey }) },
    { name: "another host", answer: (c) => hello(c, { host: "edge.example.org" }) },
    { name: "another stream", answer: (c) => hello(c, { stream: "builder-2" }) },
    { name: "an old challenge", answer: () => hello(replayed) },
    {
      name: "the bare challenge signed, without its purpose",
      answer: (c) => ({
        type: "hello",
        relay: "relay-one",
        signature: encodeBase64(nacl.sign.detached(c, relays["relay-one"].secretKey)),
      }),
    },
    { name: "no signature", answer: () => ({ type: "hello", relay: "relay-one", signature: "" }) },
    {
      name: "a signature of 63 bytes",
      answer: () => ({ type: "hello", relay: "relay-one", signature: encodeBase64(new Uint8Array(63)) }),
    },
    {
      name: "a signature of zeros",
      answer: () => ({ type: "hello", relay: "relay-one", signature: encodeBase64(new Uint8Array(64)) }),
    },
    {
      name: "base64 with stray bits",
      answer: () => ({ type: "hello", relay: "relay-one", signature: `${"A".repeat(85)}B==` }),
    },
  ];

  test.for(proofs)("is closed with 4401: $name", async ({ answer }) => {
    await deliver();
    const relay = await RelaySocket.dial();
    relay.send(answer(await relay.challenge()));
    relay.send({ type: "credit", events: 1 });
    expect(await relay.closed).toEqual({ code: 4401, reason: "not proven" });
    await expect(relay.message()).rejects.toThrow("closed: 4401");
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false]);
  });

  it("is shown what the right proof would have been by the same key, host and stream", async () => {
    const relay = await RelaySocket.dial();
    const challenge = await relay.challenge();
    const proof = drainProof("edge.example", STREAM, challenge);
    const signature = encodeBase64(nacl.sign.detached(proof, relays["relay-one"].secretKey));
    relay.send({ type: "hello", relay: "relay-one", signature });
    expect(await relay.message()).toEqual(WELCOME);
    expect(new URL(EDGE).host).toBe("edge.example");
  });

  it("does not throw out the relay that is there", async () => {
    const honest = await RelaySocket.open();
    const liar = await RelaySocket.dial();
    liar.send(hello(await liar.challenge(), { secretKey: strangeRelay.secretKey }));
    expect((await liar.closed).code).toBe(4401);
    expect(await honest.isQuiet()).toBe(true);
  });

  it("gets nothing by waiting: no event, and no delivery fails for it", async () => {
    const silent = await RelaySocket.dial();
    await silent.challenge();
    expect((await deliver()).status).toBe(202);
    silent.send({ type: "credit", events: 1 });
    expect((await silent.closed).code).toBe(4400);
    await expect(silent.message()).rejects.toThrow("closed: 4400");
  });
});

describe("a frame that is not expected", () => {
  test.for<{ name: string; frame: string | Uint8Array }>([
    { name: "no JSON", frame: "{" },
    { name: "an unknown type", frame: '{"type":"bye"}' },
    { name: "an edge's frame", frame: '{"type":"welcome"}' },
    { name: "too much credit", frame: '{"type":"credit","events":501}' },
    { name: "no credit", frame: '{"type":"credit","events":0}' },
    { name: "a binary frame", frame: encodeUtf8('{"type":"stored","seq":1}') },
    { name: "a second hello", frame: JSON.stringify(hello(new Uint8Array(32))) },
    {
      name: "a receipt of over 2,048 characters",
      frame: JSON.stringify({ type: "done", seq: 1, receipt: "A".repeat(2052) }),
    },
  ])("closes an open socket with 4400, and what follows it is not acted on: $name", async ({ frame }) => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    relay.sendRaw(frame);
    relay.send({ type: "done", seq: 1, receipt: encodeBase64(receiptFor(event)) });
    expect((await relay.closed).code).toBe(4400);
    expect((await storedEvents()).map(({ done }) => done)).toEqual([false]);
    // The edge goes on: the next delivery is taken, the next relay gets both.
    expect((await deliver()).status).toBe(202);
    expect((await (await RelaySocket.open()).drain(2)).map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test.for([
    { type: "credit", events: 1 },
    { type: "stored", seq: 1 },
    { type: "done", seq: 1, receipt: "AAAA" },
  ] as const)("closes a socket with 4400 before its hello: $type", async (message) => {
    const relay = await RelaySocket.dial();
    await relay.challenge();
    relay.send(message);
    expect((await relay.closed).code).toBe(4400);
  });
});

describe("the window", () => {
  it("bounds what is under way: each stored lets one more through, in order", async () => {
    for (let count = 0; count < 5; count += 1) await deliver();
    const relay = await RelaySocket.open();
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "credit", events: 2 });
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 2 });
    expect((await relay.event()).seq).toBe(3);
    expect(await relay.isQuiet()).toBe(true);
    // What is not under way frees no place.
    for (const seq of [2, 4, 77]) relay.send({ type: "stored", seq });
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 1 });
    relay.send({ type: "stored", seq: 3 });
    expect((await relay.events(2)).map(({ seq }) => seq)).toEqual([4, 5]);
    expect(await relay.isQuiet()).toBe(true);
  });

  it("may be widened and narrowed", async () => {
    for (let count = 0; count < 5; count += 1) await deliver();
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 1 });
    relay.send({ type: "credit", events: 4 });
    expect((await relay.events(4)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    relay.send({ type: "credit", events: 1 });
    for (const seq of [1, 2, 3]) relay.send({ type: "stored", seq });
    expect(await relay.isQuiet()).toBe(true);
    relay.send({ type: "stored", seq: 4 });
    expect((await relay.event()).seq).toBe(5);
  });

  it("skips what is done", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [, second] = await relay.drain(3);
    if (!second) throw new Error("three events were expected");
    await relay.done(2, receiptFor(second));
    expect((await (await RelaySocket.open()).drain(2)).map(({ seq }) => seq)).toEqual([1, 3]);
  });
});

describe("a relay that lies about an event being done", () => {
  const anotherKey = sharedKey(edge.publicKey, stranger.secretKey);
  const lies: {
    name: string;
    receipt: (first: DrainedEvent, second: DrainedEvent) => Uint8Array;
    code: string;
  }[] = [
    { name: "nothing", receipt: () => new Uint8Array(0), code: "ERR_NOT_OPENED" },
    { name: "garbage", receipt: () => new Uint8Array(200).fill(7), code: "ERR_NOT_OPENED" },
    {
      name: "a short event, sent back as its receipt",
      receipt: (first) => first.sealed,
      code: "ERR_RECEIPT",
    },
    { name: "the receipt of another event", receipt: (_, second) => receiptFor(second), code: "ERR_RECEIPT" },
    {
      name: "a receipt sealed with a stranger's key",
      receipt: (first) => receiptFor(first, anotherKey),
      code: "ERR_NOT_OPENED",
    },
    {
      name: "a receipt sealed with the relay's own key",
      receipt: (first) =>
        receiptFor(first, sharedKey(builder.publicKey, relays["relay-one"].secretKey.slice(0, 32))),
      code: "ERR_NOT_OPENED",
    },
    {
      name: "a true receipt, one bit altered",
      receipt: (first) => flipLast(receiptFor(first)),
      code: "ERR_NOT_OPENED",
    },
    {
      name: "a true receipt, cut",
      receipt: (first) => receiptFor(first).subarray(1),
      code: "ERR_NOT_OPENED",
    },
    {
      name: "a receipt for another seal of the event",
      receipt: ({ seq, delivery }) => forge({ seq, delivery, tag: "other" }),
      code: "ERR_RECEIPT",
    },
    {
      name: "a receipt for another stream",
      receipt: (first) => forge({ ...first, tag: sealTag(first.sealed), stream: "other" }),
      code: "ERR_RECEIPT",
    },
    {
      name: "a receipt for another delivery",
      receipt: (first) => forge({ ...first, tag: sealTag(first.sealed), delivery: "00000000" }),
      code: "ERR_RECEIPT",
    },
    {
      name: "a receipt for another number",
      receipt: (first) => forge({ ...first, tag: sealTag(first.sealed), seq: 2 }),
      code: "ERR_RECEIPT",
    },
  ];

  test.for(lies)(
    "is refused, and the event stays and goes to another relay: $name",
    async ({ receipt, code }) => {
      await deliver();
      await deliver();
      const liar = await RelaySocket.open("relay-one");
      const [first, second] = await liar.drain(2);
      if (!first || !second) throw new Error("two events were expected");
      expect(await liar.done(1, receipt(first, second))).toEqual({ type: "refused", seq: 1, code });
      expect((await storedEvents()).map(({ done }) => done)).toEqual([false, false]);
      expect(printed.join("\n")).not.toContain('"event":"done"');

      const honest = await RelaySocket.open("relay-two");
      honest.send({ type: "credit", events: 2 });
      expect(await honest.event()).toEqual(first);
      expect(await honest.isQuiet()).toBe(true);
      expect(await honest.done(1, receiptFor(first))).toEqual({ type: "accepted", seq: 1 });
    },
  );

  it("is refused when there is no such event", async () => {
    const relay = await RelaySocket.open();
    expect(await relay.done(1, "AAAA")).toEqual({ type: "refused", seq: 1, code: "ERR_UNKNOWN_EVENT" });
  });

  it("cannot use the receipt of a delivery for its redelivery", async () => {
    const again = {
      body: '{"same":true}',
      headers: { "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958" },
    };
    await deliver(again);
    const relay = await RelaySocket.open();
    const [first] = await relay.drain(1);
    const old = receiptFor(first);
    expect(await relay.done(1, old)).toEqual({ type: "accepted", seq: 1 });
    await deliver(again);
    relay.send({ type: "credit", events: 10 });
    expect((await relay.event()).seq).toBe(2);
    expect(await relay.done(2, old)).toEqual({ type: "refused", seq: 2, code: "ERR_RECEIPT" });
    expect((await storedEvents()).map(({ done }) => done)).toEqual([true, false]);
  });

  it("is refused base64 that is not canonical, and keeps its socket", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    await relay.drain(1);
    expect(await relay.done(1, "AB==")).toMatchObject({ type: "refused", seq: 1 });
    expect(await relay.isQuiet()).toBe(true);
  });
});

describe("when a socket ends", () => {
  test.for([
    { name: "closed by the relay", code: 1000 },
    { name: "closed with a code of the relay's", code: 4000 },
    { name: "closed without a code", code: undefined },
  ])("what is not done goes to whoever connects next: $name", async ({ code }) => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    const [first, second] = await relay.drain(3);
    if (!second) throw new Error("three events were expected");
    relay.send({ type: "stored", seq: 1 });
    relay.send({ type: "stored", seq: 2 });
    await relay.done(2, receiptFor(second));
    relay.close(code);
    await relay.closed;
    expect((await deliver()).status).toBe(202);

    const next = await RelaySocket.open("relay-two");
    const resent = await next.drain(3);
    expect(resent.map(({ seq }) => seq)).toEqual([1, 3, 4]);
    expect(resent[0]).toEqual(first);
    expect(await next.isQuiet()).toBe(true);
  });

  it("an event of several frames is sent whole again", async () => {
    await deliver({ body: `{"a":"${"x".repeat(1_500_000)}"}` });
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 1 });
    await relay.message();
    relay.close();
    await relay.closed;
    const [event] = await (await RelaySocket.open()).drain(1);
    expect(openDrained(event).rawBody).toHaveLength(1_500_008);
  });
});

describe("the same relay on a second socket", () => {
  it("takes the first one's place: that is closed with 4409, and gets nothing more", async () => {
    await deliver();
    const first = await RelaySocket.open();
    await first.drain(1);
    const second = await RelaySocket.open();
    expect(await first.closed).toEqual({ code: 4409, reason: "the same relay opened another drain" });
    expect((await second.drain(1)).map(({ seq }) => seq)).toEqual([1]);
    second.send({ type: "stored", seq: 1 });
    expect((await deliver()).status).toBe(202);
    expect((await second.event()).seq).toBe(2);
    await expect(first.message()).rejects.toThrow("closed: 4409");
  });

  it("is not disturbed by what the first still sends", async () => {
    await deliver();
    const first = await RelaySocket.open();
    const [event] = await first.drain(1);
    const second = await RelaySocket.dial();
    second.send(hello(await second.challenge()));
    first.send({ type: "stored", seq: 1 });
    first.send({ type: "done", seq: 1, receipt: encodeBase64(receiptFor(event)) });
    expect(await second.message()).toEqual(WELCOME);
    expect((await first.closed).code).toBe(4409);
    expect(await second.isQuiet()).toBe(true);
    expect((await deliver()).status).toBe(202);
  });

  it("leaves no absence behind: what the relay has stays with it", async () => {
    await deliver();
    const first = await RelaySocket.open();
    await first.drain(1);
    await RelaySocket.open();
    await first.closed;
    expect(await rowsOf("absences")).toEqual([]);
    expect((await storedEvents()).map(({ relay }) => relay)).toEqual(["relay-one"]);
  });
});

describe("an object that hibernates", () => {
  it("knows afterwards who is there, what is under way and what was done", async () => {
    for (let count = 0; count < 3; count += 1) await deliver();
    const relay = await RelaySocket.open();
    relay.send({ type: "credit", events: 2 });
    const [first] = await relay.events(2);
    if (!first) throw new Error("two events were expected");
    await evictDurableObject(outbox());

    relay.send({ type: "stored", seq: 1 });
    expect((await relay.event()).seq).toBe(3);
    await evictDurableObject(outbox());
    expect(await relay.done(1, receiptFor(first))).toEqual({ type: "accepted", seq: 1 });
    relay.send({ type: "stored", seq: 2 });
    await evictDurableObject(outbox());
    await deliver();
    expect((await relay.event()).seq).toBe(4);
  });

  it("still knows a challenge, so that the answer to it may come late", async () => {
    const relay = await RelaySocket.dial();
    const challenge = await relay.challenge();
    await evictDurableObject(outbox());
    relay.send(hello(challenge));
    expect(await relay.message()).toEqual(WELCOME);
  });

  it("closes a socket whose state another version of the edge wrote, and takes deliveries meanwhile", async () => {
    const relay = await RelaySocket.open();
    await runInDurableObject(outbox(), (_object, state) => {
      for (const socket of state.getWebSockets()) socket.serializeAttachment({ v: 3, phase: "open" });
    });
    await evictDurableObject(outbox());
    expect((await deliver()).status).toBe(202);
    expect((await relay.closed).code).toBe(4400);
  });

  it("has room in an attachment for the largest window, the most replays and the longest name", async () => {
    const range = (_: unknown, index: number): [number, number] => [5_000_000_000 + index, 5_000_000_500];
    const drainState: Drain = {
      v: 2,
      phase: "open",
      relay: "r".repeat(63),
      window: MAX_WINDOW,
      cursor: 5_000_000_500,
      resumed: false,
      whole: true,
      freed: 5_000_000_000,
      unstored: Array.from({ length: MAX_WINDOW }, (_, index) => [5_000_000_000 + index, 27_000_000]),
      replays: Array.from({ length: 16 }, range),
      heardAt: Date.now(),
    };
    await RelaySocket.dial();
    await runInDurableObject(outbox(), (_object, state) => {
      const [socket] = state.getWebSockets();
      if (!socket) throw new Error("no socket");
      socket.serializeAttachment(drainState);
      expect(socket.deserializeAttachment()).toEqual(drainState);
    });
  });
});

/** What only a builder's key can seal, and no honest builder does. */
function forge({
  seq,
  delivery,
  tag,
  stream = STREAM,
}: {
  seq: number;
  delivery: string;
  tag: string;
  stream?: string;
}) {
  return sealReceipt({ stream, seq, delivery, tag }, shared);
}

function flipLast(bytes: Uint8Array): Uint8Array {
  const altered = concatBytes(bytes);
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
  return altered;
}
