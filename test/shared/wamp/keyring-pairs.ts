/** Keys of both sides for several URIs, as our keyring and as Autobahn|Python's, and a payload to send under them. */
import nacl from "tweetnacl";
import { encodeBase64 } from "../../../shared/bytes.ts";
import { makeKeyring } from "../../../shared/keyring.ts";
import { sharedKey } from "../../../shared/shared-key.ts";
import type { AutobahnKey } from "./keyring-peer.ts";

/** In every payload: it must never stand on the wire as it is. */
export const SECRET = "the-cat-sat-on-the-mat";

/** Three pairs of box keys, ours and the peer's: of a short prefix, of a longer one, and of one URI. */
const pairs = Array.from({ length: 3 }, () => ({ ours: nacl.box.keyPair(), theirs: nacl.box.keyPair() }));
const [shortPair, longPair, exactPair] = pairs as [Pair, Pair, Pair];
type Pair = (typeof pairs)[number];

const shared = ({ ours, theirs }: Pair) => sharedKey(theirs.publicKey, ours.secretKey);
/** What we begin. */
const begunByUs = (uri: string, { ours, theirs }: Pair): AutobahnKey => ({
  uri,
  originator_pub: encodeBase64(ours.publicKey),
  responder_priv: encodeBase64(theirs.secretKey),
});
const begunByThem = (uri: string, { ours, theirs }: Pair): AutobahnKey => ({
  uri,
  originator_priv: encodeBase64(theirs.secretKey),
  responder_pub: encodeBase64(ours.publicKey),
});

const older = nacl.randomBytes(32);
export const ring = makeKeyring([
  { uri: "com.ours.", match: "prefix", originator: [shared(shortPair)] },
  { uri: "com.ours.long.", match: "prefix", originator: [shared(longPair)] },
  { uri: "com.ours.one", match: "exact", originator: [shared(exactPair)] },
  { uri: "com.ours.changing", match: "exact", originator: [older, shared(shortPair)] },
  { uri: "com.failed.", match: "prefix", originator: [shared(longPair)] },
  { uri: "com.theirs.", match: "prefix", responder: [older, shared(shortPair)] },
  { uri: "com.theirs.long.", match: "prefix", responder: [shared(longPair)] },
  { uri: "com.theirs.one", match: "exact", responder: [shared(exactPair)] },
]);
const theirRing = [
  begunByUs("com.ours.", shortPair),
  begunByUs("com.ours.long.", longPair),
  begunByUs("com.ours.one", exactPair),
  begunByUs("com.failed.", longPair),
  begunByThem("com.theirs.", shortPair),
  begunByThem("com.theirs.long.", longPair),
  begunByThem("com.theirs.one", exactPair),
];
const stranger = { ours: nacl.box.keyPair(), theirs: nacl.box.keyPair() };
export const rings = {
  right: theirRing,
  // They say that they are the peer, and are not.
  wrong: [begunByThem("com.theirs.", { ...shortPair, theirs: stranger.theirs })],
};

export const payload = {
  args: [SECRET, 1, null, [true, "\u{1F600} \u0000 inside"], new Uint8Array([0, 1, 255])],
  kwargs: { secret: SECRET, nested: { deep: [1.5, -7] }, bytes: new Uint8Array([9]) },
};
/** The same as the peer's process writes it. */
export const written = {
  args: [SECRET, 1, null, [true, "\u{1F600} \u0000 inside"], { bytes: "0001ff" }],
  kwargs: { secret: SECRET, nested: { deep: [1.5, -7] }, bytes: { bytes: "09" } },
};

export const uris = (who: "ours" | "theirs") => [
  ["a short prefix", `com.${who}.news`],
  ["the longer of two prefixes", `com.${who}.long.news`],
  ["this very URI", `com.${who}.one`],
];
