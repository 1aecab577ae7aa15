/** Requests that are refused, and those that end the connection: as Crossbar.io does. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { ENDLESS_FRAMES } from "../conformance/specimens.ts";
import { EVERYTHING, startTestbed } from "./testbed.ts";

const ACK = { acknowledge: true };

describe("a refused request", () => {
  it.each([
    ["publish", "builder", [16, 5, ACK, "webhook.github.push"], "wamp.error.not_authorized"],
    ["publish as the router", "relay", [16, 5, ACK, "wamp.subscription.on_create"], "wamp.error.invalid_uri"],
    ["subscribe", "relay", [32, 5, {}, "webhook.github.push"], "wamp.error.not_authorized"],
    ["subscribe to more", "builder", [32, 5, { match: "prefix" }, "webhook."], "wamp.error.not_authorized"],
    ["subscribe to all", "builder", [32, 5, { match: "wildcard" }, "webhook.."], "wamp.error.not_authorized"],
    ["subscribe to a malformed topic", "builder", [32, 5, {}, "a..b"], "wamp.error.invalid_uri"],
    ["subscribe to an empty topic", "builder", [32, 5, {}, ""], "wamp.error.invalid_uri"],
    ["unsubscribe", "builder", [34, 5, 77], "wamp.error.no_such_subscription"],
    ["call", "builder", [48, 5, {}, "wamp.subscription.list"], "wamp.error.not_authorized"],
    ["call nobody", "builder", [48, 5, {}, "webhook.replay"], "wamp.error.no_such_procedure"],
    ["register", "builder", [64, 5, {}, "webhook.replay"], "wamp.error.not_authorized"],
    ["register as the router", "relay", [64, 5, {}, "wamp.session.count"], "wamp.error.invalid_uri"],
    ["register more", "relay", [64, 5, { match: "prefix" }, "webhook."], "wamp.error.not_authorized"],
    [
      "bound its concurrency",
      "relay",
      [64, 5, { concurrency: 1 }, "webhook.replay"],
      "wamp.error.option_not_allowed",
    ],
    [
      "oust another callee",
      "relay",
      [64, 5, { force_reregister: true }, "webhook.replay"],
      "wamp.error.option_not_allowed",
    ],
    ["unregister", "relay", [66, 5, 77], "wamp.error.no_such_registration"],
  ] as const)("to %s as %s is answered", async (_name, authid, message, uri) => {
    const testbed = await startTestbed();
    const client = await testbed.join(authid, "json");
    const reply = await client.ask(message);
    expect(reply.slice(0, 5)).toEqual([8, message[0], 5, {}, uri]);
    expect(client.ws.readyState).toBe(client.ws.OPEN);
  });

  it("to publish without acknowledgement is not answered", async () => {
    const testbed = await startTestbed();
    const builder = await testbed.join("builder");
    builder.send([16, 5, {}, "webhook.github.push"]);
    expect(await builder.settled()).toEqual([]);
  });

  it.each([0, 1, 2 ** 31, 2 ** 32 + 1, 2 ** 53])("gives the request id %d back", async (request) => {
    const testbed = await startTestbed();
    const builder = await testbed.join("builder", "json");
    expect((await builder.ask([34, request, 77]))[2]).toBe(request);
  });

  it.each(["msgpack", "cbor"] as const)("gives 64-bit request ids back as integers on %s", async (id) => {
    const testbed = await startTestbed();
    const builder = await testbed.join("builder", id);
    expect((await builder.ask([34, 2n ** 40n, 77]))[2]).toBe(2n ** 40n);
  });
});

describe("a connection", () => {
  it.each([
    ["a malformed topic", [16, 1, ACK, "a..b"], 1011],
    ["a malformed procedure to call", [48, 1, {}, "a b"], 1011],
    ["a malformed procedure to register", [64, 1, {}, ""], 1011],
    ["a payload of text", [16, 1, ACK, "webhook.github.push", "text"], 1011],
    ["null args", [16, 1, ACK, "webhook.github.push", null], 1002],
    ["null kwargs", [16, 1, ACK, "webhook.github.push", [], null], 1002],
    ["kwargs in a list", [16, 1, ACK, "webhook.github.push", [], []], 1002],
    ["too many elements", [16, 1, ACK, "webhook.github.push", [], {}, 1], 1002],
    ["an unknown enc_algo", [16, 1, { enc_algo: "rot13" }, "webhook.github.push", Buffer.from("x")], 1002],
    ["a number for enc_key", [16, 1, { enc_key: 1 }, "webhook.github.push", Buffer.from("x")], 1002],
    ["an unknown match", [32, 1, { match: "regex" }, "webhook.github.push"], 1002],
    ["text for acknowledge", [16, 1, { acknowledge: "yes" }, "webhook.github.push"], 1002],
    ["text for eligible", [16, 1, { eligible: "all" }, "webhook.github.push"], 1002],
    ["a fraction for id", [34, 1.5, 1], 1002],
    ["a negative id", [34, -1, 1], 1002],
    ["an id too large", [34, 2 ** 53 + 2, 1], 1002],
    ["no topic", [16, 1, ACK], 1002],
    ["a number for topic", [16, 1, ACK, 7], 1011],
    ["a topic to subscribe to with a space", [32, 1, {}, "a b"], 1011],
    ["null for match", [32, 1, { match: null }, "webhook.github.push"], 1002],
    ["no concurrency at all", [64, 1, { concurrency: 0 }, "webhook.replay"], 1002],
    ["a message of the router's", [36, 1, 1, {}], 1002],
    ["a word for progress", [70, 1, { progress: "some" }], 1002],
    ["a word for receive_progress", [48, 1, { receive_progress: "some" }, "webhook.replay"], 1002],
    ["a negative timeout", [48, 1, { timeout: -1 }, "webhook.replay"], 1002],
    ["an unknown way to cancel", [49, 1, { mode: "softly" }], 1002],
    ["an unknown way to invoke", [64, 1, { invoke: "all" }, "webhook.replay"], 1002],
    ["a malformed pattern to register", [64, 1, { match: "prefix" }, "a..b"], 1011],
    ["a GOODBYE without reason", [6, {}], 1002],
    ["a GOODBYE with a malformed reason", [6, {}, "a b"], 1011],
    ["an ERROR for nothing", [8, 48, 1, {}, "a.b"], 1002],
    ["a word for type", ["PUBLISH"], 1002],
  ] as const)("ends after %s", async (_name, message, code) => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay");
    expect(await relay.ask(message)).toMatchObject([3, {}, "wamp.error.protocol_violation"]);
    expect(await relay.closed).toBe(code);
    expect(testbed.reports.at(-1)).toEqual(["left", { authid: "relay", reason: "fault" }]);
  });

  it.each([
    ["json", "{}"],
    ["json", "[1"],
    ["json", "[".repeat(100_000)],
    ["msgpack", Buffer.from([0xc1])],
    ["msgpack", Buffer.from([])],
    ["cbor", Buffer.from([0x9f])],
    // The other kind of frame.
    ["json", Buffer.from("[1]")],
    ["msgpack", "text"],
  ] as const)("on %s ends with 1002 after a frame that is none (%#)", async (id, frame) => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay", id);
    relay.ws.send(frame);
    expect(await relay.closed).toBe(1002);
  });

  it.each(
    ENDLESS_FRAMES.flatMap(([id, what, frame]) =>
      (["before joining", "after joining"] as const).map((when) => [id, when, what, frame] as const),
    ),
  )("on %s ends at once %s after %s", async (id, when, _what, frame) => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const builder = await testbed.join("builder", "json");
    await builder.ask([32, 1, { match: "prefix" }, ""]);
    const client = await (when === "before joining" ? testbed.dial(id) : testbed.join("relay", id));
    const started = performance.now();
    client.ws.send(Buffer.from(frame, "hex"));
    expect(await client.closed).toBe(1002);
    // Who has not joined is ended after 10 s in any case.
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(await builder.settled()).toEqual([]);
  });

  it("ends with 1009 after a message over the size", async () => {
    const testbed = await startTestbed({
      changes: [["workers.0.transports.0.options.max_message_size", 100_000]],
    });
    const relay = await testbed.join("relay");
    expect((await relay.ask([16, 1, ACK, "webhook.github.push", Buffer.alloc(99_000)]))[0]).toBe(17);
    relay.send([16, 2, ACK, "webhook.github.push", Buffer.alloc(100_000)]);
    expect(await relay.closed).toBe(1009);
  });

  it("takes a message in 2,048 pieces, and ends with 1008 after one in more", async () => {
    const testbed = await startTestbed();
    const relay = await testbed.join("relay");
    const message = relay.serializer.serialize([16, 1, ACK, "webhook.github.push", Buffer.alloc(4_000)]);
    for (let piece = 0; piece < 2_047; piece += 1)
      relay.ws.send(message.slice(piece, piece + 1), { fin: false });
    relay.ws.send(message.slice(2_047));
    expect((await relay.next())[0]).toBe(17);
    for (let piece = 0; piece < 2_049; piece += 1)
      relay.ws.send(message.slice(piece, piece + 1), { fin: false });
    expect(await relay.closed).toBe(1008);
  });
});

describe("odd frames", () => {
  const serializers: SerializerId[] = ["json", "msgpack", "cbor"];
  const value = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 80 }) },
    fc.constantFrom<unknown>("webhook.github.push", "", "exact", {}, [], null, true, 2 ** 53, -1, 0.5),
    fc.jsonValue({ maxDepth: 3 }),
    fc.uint8Array({ maxLength: 40 }),
  );
  const types = fc.constantFrom(1, 3, 5, 6, 8, 16, 32, 34, 48, 49, 64, 66, 70, 36, 2);
  const message = fc
    .tuple(types, fc.array(value, { maxLength: 6 }))
    .map(([type, rest]): unknown[] => [type, ...rest]);

  it.each(serializers)("never end the router on %s", { timeout: 60_000 }, async (id) => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const witness = await testbed.join("relay", "json");
    await witness.ask([32, 1, { match: "prefix" }, ""]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        async (messages, joined) => {
          const client = joined ? await testbed.join("relay", id) : await testbed.dial(id);
          for (const each of messages) client.send(each);
          client.ws.close();
          await client.closed;
        },
      ),
      { numRuns: 60 },
    );
    await witness.settled();
    expect((await witness.ask([34, 2, 77]))[0]).toBe(8);
  });

  it.each(serializers)(
    "of random bytes end only their own connection on %s",
    { timeout: 60_000 },
    async (id) => {
      const testbed = await startTestbed();
      const witness = await testbed.join("relay", "json");
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (frame) => {
          const client = await testbed.join("relay", id);
          client.ws.send(id === "json" ? Buffer.from(frame).toString("latin1") : frame);
          client.ws.close();
          await client.closed;
        }),
        { numRuns: 60 },
      );
      expect((await witness.ask([34, 2, 77]))[0]).toBe(8);
    },
  );
});
