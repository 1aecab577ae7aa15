/** What one member says ends no other's session, whichever serializers they have: text is not the same on each. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWith, findPeer } from "../helpers/peers.ts";
import { RawClient } from "../router/raw-client.ts";
import { startAutobahnPython } from "./autobahn-python.ts";
import { payloadOf, type Library } from "./client.ts";
import { KEYS, REALM, startOurs, type OurRouter } from "./routers.ts";
import { refusal } from "./scenario.ts";

describeWith("autobahn", "text that not every serializer has", () => {
  let router: OurRouter;
  let library: Library;
  beforeAll(async () => {
    router = await startOurs();
    library = startAutobahnPython(findPeer("autobahn") ?? "");
  });
  afterAll(async () => {
    library.stop();
    await router.stop();
  });

  const joinPython = (serializer: "json" | "msgpack" | "cbor") =>
    library.join({
      url: `ws://${router.host}:${router.port}/`,
      realm: REALM,
      authid: "bob",
      keys: KEYS.bob,
      serializer,
    });
  const joinRaw = (serializer: "json" | "msgpack") => RawClient.join(router, "alice", KEYS.alice, serializer);

  it("reaches Autobahn|Python so that it can read it, or not at all", async () => {
    const readers = await Promise.all((["json", "msgpack", "cbor"] as const).map(joinPython));
    const events = await Promise.all(
      readers.map(async (reader) => (await reader.subscribe("text", "prefix")).events),
    );
    const [json, msgpack] = [await joinRaw("json"), await joinRaw("msgpack")];
    json.ws.send(String.raw`[16,1,{},"text",["a\ud800"],{"\udfff":1}]`);
    // Not base64 after U+0000.
    msgpack.send([16, 1, {}, "text", ["\0a"]]);
    msgpack.send([16, 2, {}, "text.\0", [], { "\0a": "\0ä" }]);
    await msgpack.ask([16, 3, { acknowledge: true }, "text", ["last"]]);
    for (const heard of events) {
      // oxlint-disable-next-line no-await-in-loop
      await expect.poll(() => heard.at(-1)?.args, { timeout: 20_000 }).toEqual(["last"]);
      expect(heard.map(({ args }) => args)).toEqual([["a\u{FFFD}"], ["last"]]);
    }
    for (const client of [json, msgpack]) client.end();
    for (const reader of readers) reader.drop();
  });

  it("in an error's URI reaches no caller", async () => {
    const [callee, caller] = [await joinRaw("msgpack"), await joinPython("json")];
    await callee.ask([64, 1, {}, "spiteful"]);
    const answer = refusal(caller.call("spiteful").answer);
    const [, invocation] = await callee.next();
    callee.send([8, 68, invocation, {}, "not\u001ca.uri"]);
    expect(await answer).toBe("wamp.error.canceled");
    expect(await refusal(caller.call("spiteful", payloadOf([1])).answer)).toBe(
      "wamp.error.no_such_procedure",
    );
    caller.drop();
  });
});
