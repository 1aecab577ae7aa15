/**
 * Who may do what on which URI, under deploy/crossbar.json. Written by hand from DESIGN.md §6 and WAMP's
 * rules for URIs: no router is asked.
 */
import type { Authid } from "./matrix-routers.ts";

/** What may be asked of a URI; each is one message. */
export const WAYS = {
  publish: (uri: string) => [16, 1, { acknowledge: true }, uri, [1]],
  "subscribe exact": (uri: string) => [32, 1, {}, uri],
  "subscribe prefix": (uri: string) => [32, 1, { match: "prefix" }, uri],
  "subscribe wildcard": (uri: string) => [32, 1, { match: "wildcard" }, uri],
  call: (uri: string) => [48, 1, {}, uri],
  register: (uri: string) => [64, 1, {}, uri],
} as const satisfies Record<string, (uri: string) => readonly unknown[]>;
export type Way = keyof typeof WAYS;

/** The only principal that is allowed; `nobody`; or how everybody is turned away. */
export type Verdict = Authid | "nobody" | "closed 1011" | "wamp.error.invalid_uri";

const nobody = "nobody";
const relay = "relay";
const builder = "builder";
/** The URI cannot be read: the connection ends. */
const closed = "closed 1011";
const invalid = "wamp.error.invalid_uri";

type Row = readonly [uri: string, ...verdicts: [Verdict, Verdict, Verdict, Verdict, Verdict, Verdict]];

/** Columns in the order of {@link WAYS}. */
const TABLE: readonly Row[] = [
  // uri, publish, subscribe: exact, prefix, wildcard, call, register
  ["webhook.github.push", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.push.more", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.Push", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.*", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.a/b?c=d", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.Ä日本", relay, builder, builder, builder, nobody, nobody],
  ["webhook.github.a\0b", relay, builder, builder, builder, nobody, nobody],
  [`webhook.github.${"a".repeat(1000)}`, relay, builder, builder, builder, nobody, nobody],

  ["webhook.receipt", builder, relay, relay, relay, nobody, nobody],
  ["webhook.replay", nobody, nobody, nobody, nobody, builder, relay],

  // Almost these, and so nobody's.
  ["webhook.github", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.githubX", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.githubs.push", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.Github.push", nobody, nobody, nobody, nobody, nobody, nobody],
  ["WEBHOOK.GITHUB.PUSH", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.receipts", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.receipt.more", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.Receipt", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.replays", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook.replay.more", nobody, nobody, nobody, nobody, nobody, nobody],
  ["webhook", nobody, nobody, nobody, nobody, nobody, nobody],
  ["crossbar.get_status", nobody, nobody, nobody, nobody, nobody, nobody],

  // A dot at the end: no name, but a pattern, asked as the text that it is.
  ["webhook.github.", closed, invalid, builder, builder, closed, closed],
  ["webhook.", closed, invalid, nobody, nobody, closed, closed],
  ["webhook.receipt.", closed, invalid, nobody, nobody, closed, closed],
  ["", closed, invalid, nobody, nobody, closed, closed],

  // Empty components: patterns of wildcards only.
  ["webhook.github..push", closed, invalid, invalid, builder, closed, closed],
  ["webhook..push", closed, invalid, invalid, nobody, closed, closed],
  [".github.push", closed, invalid, invalid, nobody, closed, closed],
  [".webhook.github.push", closed, invalid, invalid, nobody, closed, closed],
  [".", closed, invalid, invalid, nobody, closed, closed],
  ["..", closed, invalid, invalid, nobody, closed, closed],

  // Whitespace and `#` make no URI at all.
  [" webhook.github.push", closed, closed, closed, closed, closed, closed],
  ["webhook.github.push ", closed, closed, closed, closed, closed, closed],
  ["webhook.github.a b", closed, closed, closed, closed, closed, closed],
  ["webhook.github.a\tb", closed, closed, closed, closed, closed, closed],
  ["webhook.github.a\nb", closed, closed, closed, closed, closed, closed],
  ["webhook.github.\u00a0", closed, closed, closed, closed, closed, closed],
  ["webhook.github.\u001c", closed, closed, closed, closed, closed, closed],
  ["webhook.github.a\u0085b", closed, closed, closed, closed, closed, closed],
  ["webhook.github.#", closed, closed, closed, closed, closed, closed],
  ["webhook.github.a#b", closed, closed, closed, closed, closed, closed],

  // The router's own: nobody else publishes or registers there.
  ["wamp.subscription.match", invalid, relay, relay, relay, relay, invalid],
  ["wamp.subscription.count_subscribers", invalid, relay, relay, relay, relay, invalid],
  ["wamp.subscription.on_create", invalid, relay, relay, relay, relay, invalid],
  ["wamp.subscription", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.subscriptions.list", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.session.list", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.session.kill", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.registration.list", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.error.canceled", invalid, nobody, nobody, nobody, nobody, invalid],
  ["wamp.subscription.", closed, invalid, relay, relay, closed, closed],
  ["wamp.", closed, invalid, nobody, nobody, closed, closed],
  ["wamp..match", closed, invalid, invalid, nobody, closed, closed],
  ["wamp", nobody, nobody, nobody, nobody, nobody, nobody],
];

export interface UriCase {
  readonly uri: string;
  readonly verdicts: Readonly<Record<Way, Verdict>>;
}

export const URIS: readonly UriCase[] = TABLE.map(
  ([uri, publish, exact, prefix, wildcard, call, register]) => ({
    uri,
    verdicts: {
      publish,
      "subscribe exact": exact,
      "subscribe prefix": prefix,
      "subscribe wildcard": wildcard,
      call,
      register,
    },
  }),
);
