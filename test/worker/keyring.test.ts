import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it } from "vitest";
import { encodeBase64 } from "../../shared/bytes.ts";
import type { Recipient } from "../../worker/config.ts";
import { openKeyring } from "../../worker/keyring.ts";
import { builder, edge, shared, stranger } from "./parties.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe("a keyring", () => {
  it("holds what NaCl computes, for any pair of keys", async () => {
    await fc.assert(
      fc.asyncProperty(key, key, async (ourSeed, theirSeed) => {
        const ours = nacl.box.keyPair.fromSecretKey(ourSeed);
        const theirs = nacl.box.keyPair.fromSecretKey(theirSeed);
        const keyring = await openWith({ "webhook.github.": [theirs.publicKey] }, ours.secretKey);
        const expected = nacl.box.before(theirs.publicKey, ours.secretKey);
        expect(keyring.forTopic("webhook.github.push")?.shared).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it("seals with the first key of the longest prefix, and knows the others for receipts", async () => {
    const keyring = await openWith({
      "webhook.github.": [builder.publicKey],
      "webhook.github.push": [stranger.publicKey, builder.publicKey],
    });
    const ofBuilder = keyring.forTopic("webhook.github.issues");
    const ofStranger = keyring.forTopic("webhook.github.push");
    expect(ofBuilder?.shared).toEqual(shared);
    expect(ofStranger?.shared).not.toEqual(shared);
    // A topic is its own prefix, and that of longer ones.
    expect(keyring.forTopic("webhook.github.push_again")).toEqual(ofStranger);
    expect(keyring.forTopic("webhook.github.pus")).toEqual(ofBuilder);
    expect(new Set(keyring.ids)).toEqual(new Set([ofBuilder?.id, ofStranger?.id]));
    expect(keyring.byId(ofBuilder?.id ?? "")?.shared).toEqual(shared);
    expect(keyring.byId("another")).toBeUndefined();
  });

  it("has nothing for a topic without a key", async () => {
    const keyring = await openWith({ "webhook.github.push": [builder.publicKey] });
    expect(keyring.forTopic("webhook.github.issues")).toBeUndefined();
  });

  it("names a pair alike each time, and tells nothing of its keys", async () => {
    const [one, two] = [
      await openWith({ "webhook.github.": [builder.publicKey] }),
      await openWith({ "webhook.github.push": [builder.publicKey] }),
    ];
    expect(one.ids).toEqual(two.ids);
    const [id = ""] = one.ids;
    expect(id).toMatch(/^[\w+/]{12}$/);
    for (const bytes of [shared, builder.publicKey, edge.publicKey, edge.secretKey]) {
      expect(encodeBase64(bytes)).not.toContain(id);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
      expect(encodeBase64(digest)).not.toContain(id);
    }
    expect((await openWith({ "webhook.github.": [builder.publicKey] }, stranger.secretKey)).ids).not.toEqual(
      one.ids,
    );
  });
});

function openWith(keys: Record<string, Uint8Array[]>, boxSecret: Uint8Array = edge.secretKey) {
  const recipient: Recipient = {
    name: "builder",
    keys: new Map(Object.entries(keys)),
    events: undefined,
    repositories: undefined,
    receipts: true,
    streams: 1,
    retentionMs: 0,
  };
  return openKeyring({ boxSecret, sources: [], recipients: new Map(), relays: new Map() }, recipient);
}
