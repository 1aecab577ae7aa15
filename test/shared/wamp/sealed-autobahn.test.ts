/** Our keyring and Autobahn|Python's, through both routers, on every serializer; and what then stood on the wire. */
import nacl from "tweetnacl";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { describeError } from "../../../shared/errors.ts";
import { makeKeyring, type Keyring } from "../../../shared/keyring.ts";
import { sealedSession, type SealedEvent, type SealedSession } from "../../../shared/wamp/sealed-session.ts";
import { CallError } from "../../../shared/wamp/wamp-error.ts";
import { describeWith } from "../../helpers/peers.ts";
import { payload, ring, rings, SECRET, uris, written } from "./keyring-pairs.ts";
import { type AutobahnPeer, startPeer } from "./keyring-peer.ts";
import { describeWorlds, START_MS } from "./keyring-world.ts";

const TEST_MS = 60_000;

describeWith("autobahn", "our keyring and Autobahn|Python's", (python) => {
  describeWorlds((world, serializer) => {
    let peer: AutobahnPeer;
    let ours: SealedSession;
    /** All that our side said for its log. */
    let said: unknown[];

    beforeAll(async () => {
      peer = await startPeer(python, world(), serializer, rings);
      for (const match of ["com.ours.", "plain."])
        await peer.tell({ do: "subscribe", uri: match, match: "prefix", ring: "right" });
      for (const [, uri] of [...uris("ours"), ["", "com.ours.changing"]])
        await peer.tell({ do: "register", uri: `${uri}` });
    }, START_MS);
    afterAll(() => peer.end());

    beforeEach(async () => {
      await peer.tell({ do: "nothing", ring: "right" });
      peer.events.length = 0;
      world().forget();
      said = [];
      ours = await withRing(ring);
    });

    async function withRing(keyring: Keyring): Promise<SealedSession> {
      return sealedSession(await world().join(serializer), keyring, {
        onRefused: (error) => said.push(describeError(error)),
        onFault: (error) => said.push(describeError(error)),
      });
    }

    /** The error of a call, and what a log would hold of it. */
    async function failureOf(call: Promise<unknown>): Promise<unknown> {
      const error = await call.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      said.push(describeError(error));
      return error;
    }

    function expectNothingLeaked(): void {
      expect(world().messages().length).toBeGreaterThan(0);
      expect(world().wasSeen(SECRET)).toBe(false);
      expect(JSON.stringify(said)).not.toContain(SECRET);
    }

    it.each(uris("ours"))(
      "our publisher reaches their subscriber with the key of %s",
      async (_what, uri) => {
        await ours.publish(uri ?? "", payload);
        await vi.waitFor(() => expect(peer.events).toHaveLength(1), TEST_MS);
        expect(peer.events).toEqual([{ topic: uri, ...written, algo: "cryptobox" }]);
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it.each(uris("theirs"))(
      "their publisher reaches our subscriber with the key of %s",
      async (_what, uri) => {
        const events: SealedEvent[] = [];
        await ours.subscribe("com.theirs.", "prefix", (event) => events.push(event));
        await peer.tell({ do: "publish", uri: uri ?? "", ...written });
        await vi.waitFor(() => expect(events).toHaveLength(1), TEST_MS);
        expect(events).toEqual([{ topic: uri, ...payload }]);
        expect(said).toEqual([]);
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it.each(uris("ours"))(
      "our caller has the result of their callee with the key of %s",
      async (_what, uri) => {
        const { args, kwargs } = payload;
        expect(await ours.call(uri ?? "", { args: ["echo", ...args], kwargs })).toEqual(payload);
        expect(await ours.call(uri ?? "", { args: ["one", SECRET] })).toEqual({
          args: [SECRET],
          kwargs: {},
        });
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it(
      "our caller asks under the older key when their callee does not know the newer one",
      async () => {
        const result = await ours.call("com.ours.changing", { args: ["one", SECRET] });
        expect(result.args).toEqual([SECRET]);
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it(
      "our caller opens the error of their callee that has a key for the error's URI",
      async () => {
        const error = await failureOf(
          ours.call("com.ours.news", {
            args: ["fail", "com.failed.refused", SECRET, 7],
            kwargs: { why: SECRET },
          }),
        );
        expect(error).toBeInstanceOf(CallError);
        expect(error).toMatchObject({
          code: "ERR_CALLEE",
          uri: "com.failed.refused",
          payload: { args: [SECRET, 7], kwargs: { why: SECRET } },
        });
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it.each([
      ["an ApplicationError without a key for its URI", ["fail", "com.plain.refused", SECRET]],
      ["a plain Python exception", ["crash", SECRET]],
    ])(
      "our caller refuses an error of their callee that is not sealed, and repeats nothing of it: %s",
      async (_what, args) => {
        const error = await failureOf(ours.call("com.ours.news", { args }));
        expect(error).not.toBeInstanceOf(CallError);
        expect(error).toMatchObject({ code: "ERR_PLAINTEXT", hint: expect.stringContaining("KeyRing") });
        // It was Autobahn that let it out.
        expect(world().wasSeen(SECRET)).toBe(true);
        expect(JSON.stringify(said)).not.toContain(SECRET);
      },
      TEST_MS,
    );

    it(
      "our caller is told by their callee that it has no key, and by the router that there is nobody",
      async () => {
        const strange = await withRing(
          makeKeyring([{ uri: "com.ours.", match: "prefix", originator: [nacl.randomBytes(32)] }]),
        );
        expect(await failureOf(strange.call("com.ours.news", payload))).toMatchObject({
          code: "ERR_WAMP_REFUSED",
          uri: "wamp.error.encryption.decrypt_error",
        });
        expect(await failureOf(ours.call("com.ours.nobody", payload))).toMatchObject({
          code: "ERR_WAMP_REFUSED",
          uri: "wamp.error.no_such_procedure",
        });
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it.each(uris("theirs"))(
      "their caller has the result of our callee with the key of %s",
      async (_what, uri) => {
        await ours.register(uri ?? "", async ({ args, kwargs }) => ({ args: [...args, "back"], kwargs }));
        expect(await peer.tell({ do: "call", uri: uri ?? "", ...written })).toEqual({
          args: [...written.args, "back"],
          kwargs: written.kwargs,
        });
        expectNothingLeaked();
      },
      TEST_MS,
    );

    it.each<[what: string, thrown: () => Error, inside: unknown[]]>([
      [
        "its own",
        () => new CallError("com.failed.refused", { args: [SECRET, 7], kwargs: { why: SECRET } }),
        ["com.failed.refused", [SECRET, 7], { why: SECRET }],
      ],
      [
        "its own, which cannot be written",
        () => new CallError("com.failed.refused", { args: [SECRET, 7n] }),
        ["wamp.error.runtime_error", [], {}],
      ],
      ["a fault of ours", () => new TypeError(SECRET), ["wamp.error.runtime_error", [], {}]],
    ])(
      "their caller opens the error of our callee: %s",
      async (_what, thrown, inside) => {
        await ours.register("com.theirs.news", () => Promise.reject(thrown()));
        expect(await peer.tell({ do: "call", uri: "com.theirs.news", ...written })).toEqual({
          error: "com.theirs.news.error",
          args: inside,
          kwargs: {},
          algo: "cryptobox",
        });
        expectNothingLeaked();
        const errors = world()
          .messages()
          .filter(({ list }) => list[0] === 8);
        expect(errors.map(({ from, list }) => [from, list[4], list[5] instanceof Uint8Array])).toEqual([
          ["client", "com.theirs.news.error", true],
          ["router", "com.theirs.news.error", true],
        ]);
      },
      TEST_MS,
    );

    it.each(["wrong", "none"])(
      "our callee and our subscriber take nothing from them with %s keys",
      async (keys) => {
        const handler = vi.fn(async () => ({}));
        const onEvent = vi.fn(() => {});
        await ours.register("com.theirs.news", handler);
        await ours.subscribe("com.theirs.news", "exact", onEvent);
        const call = { do: "call", uri: "com.theirs.news", ...written, ring: keys } as const;
        expect(await peer.tell(call)).toMatchObject({
          error: "wamp.error.encryption.decrypt_error",
          args: [],
          kwargs: {},
        });
        await peer.tell({ ...call, do: "publish" });
        await vi.waitFor(() => expect(said).toHaveLength(2), TEST_MS);
        const code = keys === "none" ? "ERR_PLAINTEXT" : "ERR_NOT_OPENED";
        expect(said).toMatchObject([{ code }, { code }]);
        expect(handler).not.toHaveBeenCalled();
        expect(onEvent).not.toHaveBeenCalled();
        expect(JSON.stringify(said)).not.toContain(SECRET);
      },
      TEST_MS,
    );

    it(
      "what we seal with a key that they do not have never comes to their subscriber",
      async () => {
        const strange = await withRing(
          makeKeyring([{ uri: "com.ours.", match: "prefix", originator: [nacl.randomBytes(32)] }]),
        );
        await strange.publish("com.ours.news", payload);
        await ours.publish("com.ours.news", { args: ["after"] });
        await vi.waitFor(() => expect(peer.events).toHaveLength(1), TEST_MS);
        expect(peer.events).toMatchObject([{ args: ["after"] }]);
      },
      TEST_MS,
    );

    it("nothing goes out for a URI without a key, or with one for the other role only", async () => {
      for (const uri of ["com.elsewhere", "com.theirs.news"]) {
        await expect(ours.publish(uri, payload)).rejects.toMatchObject({ code: "ERR_NO_KEY" });
        await expect(ours.call(uri, payload)).rejects.toMatchObject({ code: "ERR_NO_KEY" });
      }
      for (const uri of ["com.elsewhere", "com.ours.news"]) {
        await expect(ours.subscribe(uri, "exact", () => {})).rejects.toMatchObject({ code: "ERR_NO_KEY" });
        await expect(ours.register(uri, async () => ({}))).rejects.toMatchObject({ code: "ERR_NO_KEY" });
      }
      expect(
        world()
          .messages()
          .filter(({ list }) => list[0] === 16 || list[0] === 48),
      ).toEqual([]);
    });
  });
});
