/**
 * Somebody with a stolen WAMP key, a builder's or a relay's, and no box key, at a router that does as it should, ours and
 * Crossbar.io: what README's "What is protected" says of these is tried here, on running parts.
 */
import { join } from "node:path";
import nacl from "tweetnacl";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keyFile } from "../../cli/key-set.ts";
import { encodeBase64, encodeUtf8 } from "../../shared/bytes.ts";
import { CRYPTOBOX, seal, sealTag } from "../../shared/cryptobox.ts";
import { encodeEvent } from "../../shared/event.ts";
import { readKeyFile } from "../../shared/host/key-file.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { RECEIPT_TOPIC, REPLAY_PROCEDURE, TOPIC_PREFIX } from "../../shared/topic.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import { joinWamp, type WampEvent, type WampSession } from "../../shared/wamp/session.ts";
import { type DevEvent } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { describeWith } from "../helpers/peers.ts";
import { type Part, said } from "../helpers/part.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import { REALM, type RouterKind } from "../helpers/rig-router.ts";

const PUSH = `${TOPIC_PREFIX}push`;
const SECRET_WORD = "a-word-that-nobody-may-read";

describe("at our router", () => attacks("ours"));
describeWith("crossbar", "at the real Crossbar.io", () => attacks("crossbar"));

function attacks(kind: RouterKind): void {
  let rig: Rig;
  let relay: Part;
  let builder: Part;
  const stop = new AbortController();

  beforeAll(async () => {
    rig = await startRig({ kind, relays: ["relay-one", "liar"], builders: ["builder-one", "thief"] });
    relay = rig.startRelay("relay-one", { canary_seconds: 0 });
    builder = rig.startBuilder("builder-one");
    await eventually("the relay sees the builder", () => said(relay, "audience") > 0, 60_000);
  }, 180_000);

  afterAll(async () => {
    stop.abort();
    await rig.stop();
  });

  const joinAs = (
    authid: string,
    key: "builder-wamp" | "relay-wamp",
    seed?: Uint8Array,
  ): Promise<WampSession> =>
    joinWamp({
      url: rig.router.url,
      realm: REALM,
      authid,
      seed: seed ?? readKeyFile(keyFile(join(rig.folder, "keys", authid), key), "sign"),
      tor: "none",
      isolation: "attack",
      signal: stop.signal,
    });
  const of = (part: Part, event: string, delivery: string): DevEvent[] =>
    part.events.filter((each) => each.event === event && each["delivery"] === delivery);
  const delivered = async (delivery: string) => {
    await eventually("it is built", () => of(builder, "built", delivery).length > 0, 60_000);
    expect(of(builder, "built", delivery)).toHaveLength(1);
  };
  const acceptedOf = (delivery: string) => {
    const drained = of(relay, "drained", delivery)[0];
    return relay.events.filter(
      (each) =>
        each.event === "accepted" &&
        each["stream"] === drained?.["stream"] &&
        each["seq"] === drained?.["seq"],
    ).length;
  };
  const listen = async (session: WampSession): Promise<WampEvent[]> => {
    const events: WampEvent[] = [];
    await session.subscribe(TOPIC_PREFIX, "prefix", (event) => void events.push(event));
    return events;
  };

  it("a builder's WAMP key alone reads nothing, and may do nothing but listen, ask and give false words", async () => {
    const thief = await joinAs("thief", "builder-wamp");
    const events = await listen(thief);
    const delivery = await rig.push({ word: SECRET_WORD });
    await delivered(delivery);
    await eventually("the thief has it, too", () => events.length > 0);
    expect(JSON.stringify(events)).not.toContain(SECRET_WORD);
    expect(Buffer.from(events[0]?.passthru?.bytes ?? []).toString("latin1")).not.toContain(SECRET_WORD);
    await expect(thief.publish(PUSH, { a: 1 })).rejects.toMatchObject({ code: "ERR_WAMP_REFUSED" });
    await expect(thief.subscribe(RECEIPT_TOPIC, "exact", () => {})).rejects.toMatchObject({
      code: "ERR_WAMP_REFUSED",
    });
    await expect(thief.register(REPLAY_PROCEDURE, () => {})).rejects.toMatchObject({
      code: "ERR_WAMP_REFUSED",
    });
    for (const what of [
      "wamp.session.list",
      "wamp.session.kill",
      "wamp.subscription.list",
      "wamp.registration.list",
    ])
      await expect(thief.call(what, 1)).rejects.toMatchObject({ code: "ERR_WAMP_REFUSED" });
    const noise = nacl.randomBytes(200);
    await expect(thief.call(REPLAY_PROCEDURE, new Passthru(noise, CRYPTOBOX, "json"))).rejects.toMatchObject({
      uri: "wamp.error.encryption.decrypt_error",
    });
    await thief.close();
  }, 120_000);

  it("nor makes an event done while it alone listens, by whatever it says; the builder gets it", async () => {
    const thief = await joinAs("thief", "builder-wamp");
    const events = await listen(thief);
    await builder.end("SIGTERM");
    const refused = () =>
      relay.events.filter(({ event, code }) => event === "error" && code === "ERR_NOT_OPENED").length;
    const before = refused();
    const delivery = await rig.push({});
    await eventually("the thief has it", () => events.length > 0, 60_000);
    const sealed = events.at(-1)?.passthru?.bytes ?? new Uint8Array();
    const drained = of(relay, "drained", delivery)[0];
    const receipt = encodeBase64(nacl.randomBytes(150));
    await thief.publish(RECEIPT_TOPIC, { stream: drained?.["stream"], seq: drained?.["seq"], receipt });
    await eventually("the edge refuses its receipt", () => refused() > before, 30_000);
    await thief.publish(RECEIPT_TOPIC, { tag: sealTag(sealed), refused: "ERR_SIGNATURE" });
    await thief.publish(RECEIPT_TOPIC, { tag: "x".repeat(100_000), refused: "no code\u001b[2J" });
    expect(acceptedOf(delivery)).toBe(0);
    builder.start();
    await delivered(delivery);
    await eventually("it is done", () => acceptedOf(delivery) === 1, 30_000);
    await thief.close();
  }, 180_000);

  it("a relay's WAMP key alone has no event taken that the edge did not seal for its topic, and none run twice", async () => {
    const thief = await joinAs("thief", "builder-wamp");
    const seen = await listen(thief);
    const liar = await joinAs("liar", "relay-wamp");
    const delivery = await rig.push({});
    await delivered(delivery);
    await eventually("it was seen", () => seen.length > 0);
    const sealed = seen.at(-1)?.passthru?.bytes ?? new Uint8Array();
    await thief.close();

    const as = (bytes: Uint8Array, serializer = "json") => new Passthru(bytes, CRYPTOBOX, serializer);
    const own = sharedKey(nacl.box.keyPair().publicKey, nacl.box.keyPair().secretKey);
    const relayBox = readKeyFile(keyFile(join(rig.folder, "keys", "relays"), "relay-box"), "box");
    const builderBox = nacl.scalarMult.base(readKeyFile(rig.boxKeyOf("builder"), "box"));
    const forged = (shared: Uint8Array) =>
      seal(
        encodeEvent(
          PUSH,
          {
            v: 1,
            id: crypto.randomUUID(),
            event: "push",
            hook_id: null,
            received_at: new Date().toISOString(),
            stream: "builder",
            seq: 1_000_000,
            redelivery: true,
            signature: `sha256=${"0".repeat(64)}`,
            body_bytes: 2,
            altered: true,
          },
          encodeUtf8("{}"),
        ),
        shared,
      );
    const lies: [string, Passthru | Record<string, unknown>][] = [
      [PUSH, { ref: "refs/heads/main" }],
      [PUSH, as(forged(own))],
      [PUSH, as(forged(sharedKey(builderBox, relayBox)))],
      [`${TOPIC_PREFIX}issues`, as(sealed)],
      [`${TOPIC_PREFIX}onionhook_canary`, as(sealed)],
      [PUSH, as(sealed, "msgpack")],
      [PUSH, as(sealed.subarray(0, 100))],
    ];
    const before = {
      errors: said(builder, "error"),
      opened: said(builder, "opened"),
      built: said(builder, "built"),
    };
    for (const [topic, payload] of lies) await liar.publish(topic, payload);
    for (let times = 0; times < 20; times += 1) await liar.publish(PUSH, as(sealed));
    await eventually(
      "each lie is refused",
      () => said(builder, "error") >= before.errors + lies.length,
      30_000,
    );
    await delivered(await rig.push({}));
    expect(said(builder, "opened")).toBe(before.opened + 1);
    expect(said(builder, "built")).toBe(before.built + 1);
    expect(of(builder, "opened", delivery)).toHaveLength(1);
    // Nor is a number far ahead, of what was not opened, waited for.
    expect(builder.events.filter(({ event, code }) => event === "error" && code === "ERR_GAP")).toEqual([]);
    await expect(liar.subscribe(TOPIC_PREFIX, "prefix", () => {})).rejects.toMatchObject({
      code: "ERR_WAMP_REFUSED",
    });
    await expect(liar.publish(RECEIPT_TOPIC, {})).rejects.toMatchObject({ code: "ERR_WAMP_REFUSED" });
    await liar.close();
  }, 120_000);

  it("a box key lets nobody in", async () => {
    const stolen = readKeyFile(rig.boxKeyOf("builder"), "box");
    await expect(joinAs("builder-one", "builder-wamp", stolen)).rejects.toMatchObject({
      code: "ERR_WAMP_DENIED",
    });
  });
}
