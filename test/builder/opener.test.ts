import { createHmac } from "node:crypto";
import nacl from "tweetnacl";
import { describe, expect, it } from "vitest";
import { sharedKey } from "../../shared/shared-key.ts";
import { openEvent } from "../../builder/opener.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { CRYPTOBOX, seal } from "../../shared/cryptobox.ts";
import type { DeliveryRecord } from "../../shared/delivery.ts";
import { encodeEvent } from "../../shared/event.ts";
import { makeKeyring } from "../../shared/keyring.ts";
import { CANARY_TOPIC } from "../../shared/topic.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";

const edge = nacl.box.keyPair();
const builder = nacl.box.keyPair();
const shared = sharedKey(edge.publicKey, builder.secretKey);
const SECRET = "a webhook's secret";
const TOPIC = "webhook.github.push";
const body = encodeUtf8('{"ref":"refs/heads/main"}');

function record(changes: Partial<DeliveryRecord> = {}): DeliveryRecord {
  return {
    v: 1,
    id: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    event: "push",
    hook_id: null,
    received_at: "2026-11-21T00:00:00.000Z",
    stream: "builder",
    seq: 1,
    redelivery: false,
    signature: `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`,
    body_bytes: body.length,
    altered: false,
    ...changes,
  };
}

function sealed(topic = TOPIC, changes: Partial<DeliveryRecord> = {}): Uint8Array {
  return seal(encodeEvent(topic, record(changes), body), sharedKey(builder.publicKey, edge.secretKey));
}

/** The builder's, with one key for each of its box keys. */
const ringWith = (...responder: Uint8Array[]) =>
  makeKeyring([{ uri: "webhook.github.", match: "prefix", responder }]);
const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe("openEvent", () => {
  it("opens what the edge sealed, and checks GitHub's signature a second time", () => {
    const event = openEvent(
      TOPIC,
      new Passthru(sealed(), CRYPTOBOX, "json"),
      ringWith(shared),
      SECRET,
      false,
    );
    expect(event.signature).toBe("verified");
    expect(Buffer.from(event.rawBody)).toEqual(Buffer.from(body));
  });

  it("opens with whichever of two keys it was sealed with, as while ours is being changed, and says with which", () => {
    const another = sharedKey(edge.publicKey, nacl.box.keyPair().secretKey);
    const payload = new Passthru(sealed(), CRYPTOBOX, "json");
    expect(openEvent(TOPIC, payload, ringWith(another, shared), SECRET, false).shared).toBe(shared);
    expect(openEvent(TOPIC, payload, ringWith(shared, another), SECRET, false).shared).toBe(shared);
    expect(() => openEvent(TOPIC, payload, ringWith(another, nacl.randomBytes(32)), SECRET, false)).toThrow(
      code("ERR_NOT_OPENED"),
    );
  });

  it("does not check a signature without the secret, and not over an altered body", () => {
    expect(
      openEvent(TOPIC, new Passthru(sealed(), CRYPTOBOX, "json"), ringWith(shared), undefined, false)
        .signature,
    ).toBe("unchecked");
    const altered = new Passthru(sealed(TOPIC, { altered: true }), CRYPTOBOX, "json");
    expect(openEvent(TOPIC, altered, ringWith(shared), SECRET, false).signature).toBe("altered");
  });

  it("refuses an altered body where the signature is required, but neither a signed one nor a canary", () => {
    const open = (topic: string, altered: boolean) =>
      openEvent(
        topic,
        new Passthru(
          sealed(topic, { altered, event: topic.replace("webhook.github.", "") }),
          CRYPTOBOX,
          "json",
        ),
        ringWith(shared),
        SECRET,
        true,
      );
    expect(() => open(TOPIC, true)).toThrow(code("ERR_ALTERED"));
    expect(open(TOPIC, false).signature).toBe("verified");
    expect(open(CANARY_TOPIC, true).signature).toBe("unchecked");
  });

  it.each([
    ["no payload but arguments", undefined],
    ["bytes without an algorithm", new Passthru(sealed(), undefined, "json")],
    ["another algorithm", new Passthru(sealed(), "mqtt", "json")],
    ["another inner serializer", new Passthru(sealed(), CRYPTOBOX, "msgpack")],
  ])("refuses plaintext: %s", (_what, payload) => {
    expect(() => openEvent(TOPIC, payload, ringWith(shared), SECRET, false)).toThrow(code("ERR_PLAINTEXT"));
  });

  it("refuses what somebody else sealed", () => {
    const stranger = sharedKey(builder.publicKey, nacl.box.keyPair().secretKey);
    const forged = seal(encodeEvent(TOPIC, record(), body), stranger);
    expect(() =>
      openEvent(TOPIC, new Passthru(forged, CRYPTOBOX, "json"), ringWith(shared), SECRET, false),
    ).toThrow(code("ERR_NOT_OPENED"));
  });

  it("refuses an event on another topic than it was sealed for", () => {
    const moved = new Passthru(sealed("webhook.github.issues"), CRYPTOBOX, "json");
    expect(() => openEvent(TOPIC, moved, ringWith(shared), SECRET, false)).toThrow(code("ERR_EVENT_URI"));
  });

  it("refuses a body that GitHub did not sign", () => {
    const wrong = new Passthru(sealed(TOPIC, { signature: `sha256=${"0".repeat(64)}` }), CRYPTOBOX, "json");
    expect(() => openEvent(TOPIC, wrong, ringWith(shared), SECRET, false)).toThrow(code("ERR_SIGNATURE"));
  });
});
