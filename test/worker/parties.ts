/**
 * Who takes part in the tests of the edge, with fixed keys: the edge itself, its builder, two relays that
 * may drain and, outside, anybody. Read by vitest.config.ts (Node.js) and by the tests (workerd).
 */
import nacl from "tweetnacl";
import { sharedKey } from "../../shared/shared-key.ts";
import { formatKey } from "../../shared/keys.ts";

const box = (fill: number) => nacl.box.keyPair.fromSecretKey(new Uint8Array(32).fill(fill));
const sign = (fill: number) => nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(fill));

export const WEBHOOK_SECRET = "It's a Secret to Everybody";
export const STREAM = "builder";

export const edge = box(1);
export const builder = box(2);
export const stranger = box(3);
export const relays = { "relay-one": sign(11), "relay-two": sign(12) };
export const strangeRelay = sign(13);

/** The key that edge and builder share: what the builder opens events and seals receipts with. */
export const shared = sharedKey(edge.publicKey, builder.secretKey);

/** The edge's bindings, as wrangler.toml and `wrangler secret put` would set them. */
export const bindings = {
  WEBHOOK_SECRET,
  EDGE_BOX_KEY: formatKey("box", "secret", edge.secretKey),
  RECIPIENTS: { [STREAM]: { box_public: formatKey("box", "public", builder.publicKey) } },
  RELAYS: {
    "relay-one": formatKey("sign", "public", relays["relay-one"].publicKey),
    "relay-two": formatKey("sign", "public", relays["relay-two"].publicKey),
  },
};
