/** What somebody may put where something sealed is expected. */
import { CRYPTOBOX } from "../../../shared/cryptobox.ts";
import { makeKeyring } from "../../../shared/keyring.ts";
import { sealPayload } from "../../../shared/sealed-payload.ts";

export const SECRET = "the-cat-sat-on-the-mat";
export const URI = "com.example.thing";
export const FAILED = "com.example.failed";

export const key = new Uint8Array(32).fill(1);
export const foreign = new Uint8Array(32).fill(2);
export const ring = makeKeyring([
  { uri: "com.example.", match: "prefix", originator: [key], responder: [key] },
]);

export const ENCODING = { enc_algo: CRYPTOBOX, enc_serializer: "json" };
export const payload = { args: [SECRET], kwargs: { secret: SECRET } };
export const sealedFor = (uri: string, shared = key) => sealPayload(uri, payload, shared);

interface Forged {
  readonly options: Readonly<Record<string, string>>;
  /** What follows the URI, or the options. */
  readonly tail: readonly unknown[];
}

/** Ways to put something wrong where what is sealed for `uri` is expected, and what comes of it. */
export const forgeries: [what: string, code: string, forge: (uri: string) => Forged][] = [
  ["plain text", "ERR_PLAINTEXT", () => ({ options: {}, tail: [[SECRET], { secret: SECRET }] })],
  ["nothing", "ERR_PLAINTEXT", () => ({ options: {}, tail: [] })],
  [
    "plain text that looks like it",
    "ERR_PLAINTEXT",
    (uri) => ({ options: {}, tail: [[{ bytes: sealedFor(uri), algo: CRYPTOBOX, serializer: "json" }]] }),
  ],
  ["another key's", "ERR_NOT_OPENED", (uri) => ({ options: ENCODING, tail: [sealedFor(uri, foreign)] })],
  [
    "a garbled box",
    "ERR_NOT_OPENED",
    (uri) => ({ options: ENCODING, tail: [sealedFor(uri).with(30, 0).with(31, 0).with(32, 0)] }),
  ],
  ["half a box", "ERR_NOT_OPENED", (uri) => ({ options: ENCODING, tail: [sealedFor(uri).slice(0, 39)] })],
  [
    "what was sealed for another URI",
    "ERR_SEALED_PAYLOAD",
    () => ({ options: ENCODING, tail: [sealedFor("com.example.other")] }),
  ],
  [
    "another enc_algo",
    "ERR_PLAINTEXT",
    (uri) => ({ options: { ...ENCODING, enc_algo: "xbr" }, tail: [sealedFor(uri)] }),
  ],
  [
    "another enc_serializer",
    "ERR_PLAINTEXT",
    (uri) => ({ options: { ...ENCODING, enc_serializer: "msgpack" }, tail: [sealedFor(uri)] }),
  ],
  [
    "no enc_serializer",
    "ERR_PLAINTEXT",
    (uri) => ({ options: { enc_algo: CRYPTOBOX }, tail: [sealedFor(uri)] }),
  ],
];
