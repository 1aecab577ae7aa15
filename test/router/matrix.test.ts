/** Every role × every request × allowed, denied and malformed URIs: two routers, one table. */
import { expect, it, describe } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import {
  answerTo,
  AUTHIDS,
  describeRouters,
  inWords,
  SERIALIZERS,
  type Answer,
  type Authid,
  type MatrixRouter,
} from "./matrix-routers.ts";
import { URIS, WAYS, type UriCase, type Verdict, type Way } from "./matrix-uris.ts";
import type { RawClient } from "./raw-client.ts";

const ways = Object.keys(WAYS) as Way[];

describeRouters("the permission matrix", (router) => {
  describe.each(SERIALIZERS)("over %s", (serializer) => {
    const sessions = new Sessions(router, serializer);

    it.each(rowsFor(serializer))("on $uri: every role, every request", async ({ uri, verdicts }: UriCase) => {
      const seen: Record<string, string> = {};
      const wanted: Record<string, string> = {};
      for (const way of ways) {
        for (const authid of AUTHIDS) {
          const what = `${authid}: ${way}`;
          wanted[what] = verdictFor(authid, verdicts[way]);
          // oxlint-disable-next-line no-await-in-loop
          seen[what] = await tryOut(await sessions.of(authid), way, uri, wanted[what]);
        }
      }
      expect(seen).toEqual(wanted);
    });

    it("a publish that is denied is silent when nobody asked for its acknowledgement, and reaches nobody", async () => {
      const builder = await sessions.of("builder");
      const subscribed = await answerTo(builder, () => builder.send([32, 2, {}, "webhook.github.push"]));
      for (const authid of AUTHIDS) {
        // oxlint-disable-next-line no-await-in-loop
        const from = await sessions.of(authid);
        const publish = [16, 3, { exclude_me: false }, "webhook.github.push", [authid]];
        const heard = hear(builder);
        // oxlint-disable-next-line no-await-in-loop
        const answer = await answerTo(from, () => from.send(publish));
        expect(inWords(answer)).toBe("nothing");
        // oxlint-disable-next-line no-await-in-loop
        await answerTo(builder, () => {});
        expect(heard.map((event) => event[4])).toEqual(authid === "relay" ? [["relay"]] : []);
      }
      await undo(builder, subscribed);
    });

    it("a malformed topic ends the connection, acknowledged or not", async () => {
      const relay = await sessions.of("relay");
      const words = "closed 1011";
      const answer = await answerTo(relay, () => relay.send([16, 4, {}, "webhook.github.", []]), words);
      expect(inWords(answer)).toBe(words);
    });
  });
});

/** Another serializer reads letters and dots the same: there only the others need be tried. */
function rowsFor(serializer: SerializerId): readonly UriCase[] {
  return serializer === "msgpack" ? URIS : URIS.filter(({ uri }) => /[^a-z.]/i.test(uri) || uri === "");
}

/** What comes to a client from now on. */
function hear(client: RawClient): unknown[][] {
  const heard: unknown[][] = [];
  client.ws.on("message", (data: Buffer) => heard.push(client.serializer.parse(data)));
  return heard;
}

/** One session for each principal, joined again when its connection was ended. */
class Sessions {
  readonly #open = new Map<Authid, RawClient>();
  readonly #router: MatrixRouter;
  readonly #serializer: SerializerId;

  constructor(router: MatrixRouter, serializer: SerializerId) {
    this.#router = router;
    this.#serializer = serializer;
  }

  async of(authid: Authid): Promise<RawClient> {
    const open = this.#open.get(authid);
    if (open?.ws.readyState === open?.ws.OPEN && open !== undefined) return open;
    const joined = await this.#router.join(authid, this.#serializer);
    this.#open.set(authid, joined);
    return joined;
  }
}

function verdictFor(authid: Authid, verdict: Verdict): string {
  if (verdict === authid) return "allowed";
  return verdict === "closed 1011" || verdict === "wamp.error.invalid_uri"
    ? verdict
    : "wamp.error.not_authorized";
}

/** What came of it; taken back when it was allowed. */
async function tryOut(client: RawClient, way: Way, uri: string, expected?: string): Promise<string> {
  const answer = await answerTo(client, () => client.send(WAYS[way](uri)), expected);
  const words = inWords(answer);
  if (!isAllowed(way, words)) return words;
  await undo(client, answer);
  return "allowed";
}

function isAllowed(way: Way, words: string): boolean {
  if (way === "publish") return words === "PUBLISHED";
  if (way === "register") return words === "REGISTERED";
  if (way !== "call") return words === "SUBSCRIBED";
  // Whether somebody answers the call is another matter; with what, as well.
  return (
    !["wamp.error.not_authorized", "wamp.error.invalid_uri"].includes(words) && !words.includes("closed")
  );
}

async function undo(client: RawClient, { messages }: Answer): Promise<void> {
  const [type, , id] = messages[0] ?? [];
  if (type === 33) await answerTo(client, () => client.send([34, 9, id]));
  if (type === 65) await answerTo(client, () => client.send([66, 9, id]));
}
