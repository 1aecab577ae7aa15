/** What is not sealed as it must be, in every place and from both sides, through both routers; and routers that lie. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { CRYPTOBOX } from "../../../shared/cryptobox.ts";
import { describeError } from "../../../shared/errors.ts";
import { makeKeyring } from "../../../shared/keyring.ts";
import { sealPayload } from "../../../shared/sealed-payload.ts";
import { Passthru } from "../../../shared/wamp/passthru.ts";
import { sealedSession, type SealedSession } from "../../../shared/wamp/sealed-session.ts";
import type { Match } from "../../../shared/wamp/match.ts";
import type { WampEvent, WampSession } from "../../../shared/wamp/session.ts";
import { CallError, ErrorReply } from "../../../shared/wamp/wamp-error.ts";
import type { RawClient } from "../../router/raw-client.ts";
import {
  ENCODING,
  FAILED,
  foreign,
  forgeries,
  key,
  payload,
  ring,
  SECRET,
  sealedFor,
  URI,
} from "./forgeries.ts";
import { describeWorlds, START_MS } from "./keyring-world.ts";

const TEST_MS = 60_000;

describeWorlds((world, serializer) => {
  let ours: SealedSession;
  let raw: RawClient;
  /** All that our side said for its log. */
  let said: unknown[];

  beforeEach(async () => {
    said = [];
    ours = sealedSession(await world().join(serializer), ring, {
      onRefused: (error) => said.push(describeError(error)),
      onFault: (error) => said.push(describeError(error)),
    });
    raw = await world().joinRaw(serializer);
  }, START_MS);

  /** Our call, and what somebody who serves the procedure sends back. */
  async function callAnswered(toAnswer: (invocation: unknown) => readonly unknown[]): Promise<unknown> {
    expect((await raw.ask([64, 1, {}, URI]))[0]).toBe(65);
    const call = ours.call(URI, payload).catch((error: unknown) => error);
    const [type, invocation, , details, sealed] = await raw.next();
    expect([type, details, sealed]).toEqual([68, expect.objectContaining(ENCODING), expect.any(Uint8Array)]);
    raw.send(toAnswer(invocation));
    const outcome = await call;
    if (outcome instanceof Error) said.push(describeError(outcome));
    return outcome;
  }

  it.each(forgeries)(
    "no subscriber is given %s",
    async (_what, code, forge) => {
      const handler = vi.fn(() => {});
      await ours.subscribe("com.example.", "prefix", handler);
      const { options, tail } = forge(URI);
      expect((await raw.ask([16, 1, { acknowledge: true, ...options }, URI, ...tail]))[0]).toBe(17);
      raw.send([16, 2, ENCODING, URI, sealedFor(URI)]);
      await vi.waitFor(() => expect(handler).toHaveBeenCalled(), TEST_MS);
      expect(handler.mock.calls).toEqual([[{ topic: URI, ...payload }]]);
      expect(said).toMatchObject([{ code }]);
      expect(JSON.stringify(said)).not.toContain(SECRET);
    },
    TEST_MS,
  );

  it.each(forgeries)(
    "no procedure is run for %s, and the caller is told no more than that",
    async (_what, code, forge) => {
      const handler = vi.fn(async () => ({}));
      await ours.register(URI, handler);
      const { options, tail } = forge(URI);
      const answer = await raw.ask([48, 7, options, URI, ...tail]);
      expect(answer.slice(0, 3)).toEqual([8, 48, 7]);
      expect(answer[4]).toBe("wamp.error.encryption.decrypt_error");
      expect(answer.slice(5).flat()).toEqual([]);
      expect(handler).not.toHaveBeenCalled();
      expect(said).toMatchObject([{ code }]);
      expect(JSON.stringify(said)).not.toContain(SECRET);
    },
    TEST_MS,
  );

  it.each(forgeries)(
    "no caller takes for a result %s",
    async (_what, code, forge) => {
      const { options, tail } = forge(URI);
      expect(await callAnswered((id) => [70, id, options, ...tail])).toMatchObject({ code });
      expect(JSON.stringify(said)).not.toContain(SECRET);
    },
    TEST_MS,
  );

  describe.each([`${URI}.error`, FAILED])("the error %s", (uri) => {
    it.each(forgeries)(
      "no caller takes for it %s",
      async (_what, code, forge) => {
        const { options, tail } = forge(uri);
        const outcome = await callAnswered((id) => [8, 68, id, options, uri, ...tail]);
        expect(outcome).not.toBeInstanceOf(CallError);
        expect(outcome).toMatchObject({ code });
        expect(JSON.stringify(said)).not.toContain(SECRET);
      },
      TEST_MS,
    );
  });

  it(
    "no caller takes for a result a sealed error",
    async () => {
      const failed = sealPayload(`${URI}.error`, { args: ["com.example.why", [SECRET], {}] }, key);
      expect(await callAnswered((id) => [70, id, ENCODING, failed])).toMatchObject({
        code: "ERR_SEALED_PAYLOAD",
      });
    },
    TEST_MS,
  );

  it.each<[what: string, uri: string, sealed: Uint8Array]>([
    ["a sealed result", `${URI}.error`, sealedFor(URI)],
    ["a sealed error of no form", `${URI}.error`, sealedFor(`${URI}.error`)],
    ["the sealed error of another procedure", `${URI}.error`, sealedFor("com.example.other.error")],
  ])(
    "no caller takes for an error %s",
    async (_what, uri, sealed) => {
      expect(await callAnswered((id) => [8, 68, id, ENCODING, uri, sealed])).toMatchObject({
        code: "ERR_SEALED_PAYLOAD",
      });
    },
    TEST_MS,
  );

  it(
    "an error that is sealed under a URI without a key is not opened",
    async () => {
      const uri = "org.elsewhere.failed";
      const outcome = await callAnswered((id) => [8, 68, id, ENCODING, uri, sealedFor(uri)]);
      expect(outcome).toMatchObject({ code: "ERR_NO_KEY" });
    },
    TEST_MS,
  );

  it(
    "what is right is taken: an error under its own URI, and one under the procedure's",
    async () => {
      expect(await callAnswered((id) => [8, 68, id, ENCODING, FAILED, sealedFor(FAILED)])).toMatchObject({
        uri: FAILED,
        payload,
      });
      expect(said).toEqual([{ code: "ERR_CALLEE", message: expect.any(String) }]);
    },
    TEST_MS,
  );
});

/** What a router could do; a real one cannot be made to. */
describe("a router that lies", () => {
  interface Lie {
    readonly event?: Partial<WampEvent>;
    readonly answer?: (sealed: Passthru) => unknown;
  }

  function lyingSession({ event, answer }: Lie): WampSession {
    return {
      publish: async () => {},
      async subscribe(_topic, _match, handler) {
        if (event) handler({ topic: URI, passthru: undefined, args: [], kwargs: {}, ...event });
      },
      async call(_procedure, sealed) {
        if (!(sealed instanceof Passthru)) throw new TypeError("not sealed");
        return answer?.(sealed);
      },
      register: async () => {},
      closed: new Promise(() => {}),
      close: async () => {},
    };
  }

  const passthru = (uri: string) => new Passthru(sealedFor(uri), CRYPTOBOX, "json");

  it.each<[pattern: string, match: Match, topic: string, isTaken: boolean]>([
    [URI, "exact", URI, true],
    [URI, "exact", `${URI}.more`, false],
    ["com.example.th", "prefix", URI, true],
    ["com.example.other", "prefix", URI, false],
    ["com..thing", "wildcard", URI, true],
    ["com..", "wildcard", URI, true],
    ["com.", "wildcard", URI, false],
    ["com..other", "wildcard", URI, false],
  ])(
    "gives no subscription to %s (%s) what is rightly sealed for %s, unless it is for it: %s",
    async (...row) => {
      const [pattern, match, topic, isTaken] = row;
      const refused: unknown[] = [];
      const handler = vi.fn(() => {});
      const session = sealedSession(lyingSession({ event: { topic, passthru: passthru(topic) } }), ring, {
        onRefused: (error) => refused.push(error),
      });
      await session.subscribe(pattern, match, handler);
      expect(handler).toHaveBeenCalledTimes(isTaken ? 1 : 0);
      expect(refused).toHaveLength(isTaken ? 0 : 1);
    },
  );

  it("gives no handler an event on a topic without a key", async () => {
    const refused: unknown[] = [];
    const handler = vi.fn(() => {});
    const topic = "org.elsewhere";
    const session = sealedSession(lyingSession({ event: { topic, passthru: passthru(topic) } }), ring, {
      onRefused: (error) => refused.push(error),
    });
    await session.subscribe("", "prefix", handler);
    expect(handler).not.toHaveBeenCalled();
    expect(refused).toMatchObject([{ code: "ERR_NO_KEY" }]);
  });

  it("makes a caller use its older keys, and no more", async () => {
    const keys = [foreign, key];
    const tried: Passthru[] = [];
    const session = sealedSession(
      lyingSession({
        answer(sealed) {
          tried.push(sealed);
          throw new ErrorReply("wamp.error.encryption.decrypt_error");
        },
      }),
      makeKeyring([{ uri: URI, match: "exact", originator: keys }]),
    );
    await expect(session.call(URI, payload)).rejects.toMatchObject({
      uri: "wamp.error.encryption.decrypt_error",
    });
    expect(tried).toHaveLength(2);
  });

  it("cannot answer under another of the caller's keys than the one that was asked under", async () => {
    const session = sealedSession(
      lyingSession({ answer: () => new Passthru(sealedFor(URI, foreign), CRYPTOBOX, "json") }),
      makeKeyring([{ uri: URI, match: "exact", originator: [key, foreign] }]),
    );
    await expect(session.call(URI, payload)).rejects.toMatchObject({ code: "ERR_NOT_OPENED" });
  });
});
