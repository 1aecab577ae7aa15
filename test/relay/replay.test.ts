/** Sealed calls through our own router. */
import * as fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { OpenDrain } from "../../relay/drain/connection.ts";
import { serveReplay } from "../../relay/replay.ts";
import { encodeBase64 } from "../../shared/bytes.ts";
import { CRYPTOBOX } from "../../shared/cryptobox.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { MAX_REPLAY } from "../../shared/replay.ts";
import { openPayload, sealPayload } from "../../shared/sealed-payload.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import type { WampSession } from "../../shared/wamp/session.ts";
import { ErrorReply } from "../../shared/wamp/wamp-error.ts";
import { until } from "../helpers/until.ts";
import { startTestbed, type Testbed } from "../router/testbed.ts";
import { describeWith } from "../helpers/peers.ts";
import { join } from "../shared/wamp/joined.ts";
import { startPeer } from "../shared/wamp/keyring-peer.ts";
import { startWorld } from "../shared/wamp/keyring-world.ts";
import { heldEvent } from "./fake-operations.ts";
import { scriptedDrain } from "./drain/open-drain.ts";

const PROCEDURE = "webhook.replay";
const ID = "7f6c1f0e-3b0a-4c64-9d39-1d2a0b6b9c11";
const shared = new Uint8Array(32).fill(1);
const otherShared = new Uint8Array(32).fill(2);
const foreign = new Uint8Array(32).fill(3);
/** Milliseconds, instead of half a minute. */
const TAKEN_RETRY_MS = 50;

/** The numbers of the stream `docs` that the queue holds, and what it was asked to make ready. */
function fakeQueue(...held: number[]) {
  const retried: number[] = [];
  return {
    retried,
    find: async (stream: string, seq: number) =>
      stream === "docs" && held.includes(seq) ? heldEvent(seq, "dead", { stream }) : undefined,
    async retry(_stream: string, seq: number) {
      retried.push(seq);
      return true;
    },
  };
}

type Queue = Pick<ReturnType<typeof fakeQueue>, "find" | "retry">;

interface Served {
  reports: [event: string, fields: unknown][];
  session: WampSession;
}

async function serve(bed: Testbed, queue: Queue, ...drains: OpenDrain[]): Promise<Served> {
  const session = await join(bed, "relay");
  const reports: Served["reports"] = [];
  await serveReplay(
    session,
    {
      queue,
      drains: { open: () => drains },
      sharedKeys: [otherShared, shared],
      report: (event, fields) => void reports.push([event, fields]),
    },
    TAKEN_RETRY_MS,
  );
  return { reports, session };
}

const sealed = (kwargs: Record<string, unknown>, key = shared, uri = PROCEDURE) =>
  new Passthru(sealPayload(uri, { kwargs }, key), CRYPTOBOX, "json");

/** What the relay answers, opened. */
async function ask(bed: Testbed, kwargs: Record<string, unknown>, key = shared): Promise<unknown> {
  const builder = await join(bed, "builder");
  const answer = await builder.call(PROCEDURE, sealed(kwargs, key));
  if (!(answer instanceof Passthru)) throw new Error(`not sealed: ${JSON.stringify(answer)}`);
  expect(answer).toMatchObject({ algo: CRYPTOBOX, serializer: "json" });
  return openPayload(PROCEDURE, answer, [key]).kwargs;
}

describe("a builder that misses events", () => {
  it.each([shared, otherShared])("gets ready those that the queue holds", async (key) => {
    const bed = await startTestbed();
    const queue = fakeQueue(3, 4, 5);
    const { reports } = await serve(bed, queue);
    expect(await ask(bed, { id: ID, stream: "docs", from: 3, to: 5 }, key)).toEqual({ id: ID, events: 3 });
    expect(queue.retried).toEqual([3, 4, 5]);
    expect(reports).toEqual([["replayed", { stream: "docs", from: 3, to: 5, events: 3 }]]);
  });

  it("gets the others from the edge, which is asked for what is missing alone", async () => {
    const bed = await startTestbed();
    const queue = fakeQueue(4, 7);
    const drain = scriptedDrain(({ id }) => ({ type: "replaying", id, events: 1 }));
    const site = scriptedDrain(() => Promise.reject(new Error("not asked")), { stream: "site" });
    await serve(bed, queue, site, drain);
    expect(await ask(bed, { id: ID, stream: "docs", from: 2, to: 8 })).toEqual({ id: ID, events: 5 });
    expect(queue.retried).toEqual([4, 7]);
    expect(drain.questions).toMatchObject([
      { type: "replay", of: { from: 2, to: 3 } },
      { type: "replay", of: { from: 5, to: 6 } },
      { type: "replay", of: { from: 8, to: 8 } },
    ]);
    expect(new Set(drain.questions.map(({ id }) => id)).size).toBe(3);
    expect(site.questions).toEqual([]);
  });

  it("is told that there are none", async () => {
    const bed = await startTestbed();
    const drain = scriptedDrain(({ id }) => ({ type: "replaying", id, events: 0 }));
    await serve(bed, fakeQueue(), drain);
    expect(await ask(bed, { id: ID, stream: "docs", from: 2, to: 8 })).toEqual({ id: ID, events: 0 });
  });

  it("is told that the edge cannot be asked now", async () => {
    const bed = await startTestbed();
    await serve(bed, fakeQueue(1));
    expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: 1 })).toEqual({ id: ID, events: 1 });
    expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: 2 })).toEqual({
      id: ID,
      error: "ERR_NO_DRAIN",
    });
  });

  it.each<[what: string, error: Error, code: string]>([
    ["a silent edge", new OnionhookError("ERR_EDGE_SILENT", "no answer"), "ERR_EDGE_SILENT"],
    ["a fault of ours", new TypeError("secrets of the inside"), "ERR_INTERNAL"],
    [
      "a system's error",
      Object.assign(new Error("connect ECONNREFUSED 10.1.2.3"), { code: "ECONNREFUSED" }),
      "ERR_INTERNAL",
    ],
  ])("is told no more than a code: %s", async (_what, error, code) => {
    const bed = await startTestbed();
    const { reports } = await serve(
      bed,
      fakeQueue(),
      scriptedDrain(() => Promise.reject(error)),
    );
    expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: 2 })).toEqual({ id: ID, error: code });
    expect(reports).toMatchObject([["error", { code: expect.any(String) }]]);
    expect(JSON.stringify(reports)).not.toMatch(/secrets|10\.1/);
  });

  it.each<[what: string, kwargs: Record<string, unknown>]>([
    ["no id", { stream: "docs", from: 1, to: 2 }],
    ["an id that is no UUID", { id: "1", stream: "docs", from: 1, to: 2 }],
    ["no stream", { id: ID, from: 1, to: 2 }],
    ["a stream that is no name", { id: ID, stream: "a/b", from: 1, to: 2 }],
    ["number 0", { id: ID, stream: "docs", from: 0, to: 2 }],
    ["a number as text", { id: ID, stream: "docs", from: "1", to: 2 }],
    ["the end before the beginning", { id: ID, stream: "docs", from: 3, to: 2 }],
    ["too many", { id: ID, stream: "docs", from: 1, to: MAX_REPLAY + 1 }],
    ["nothing", {}],
  ])("is refused with %s", async (_what, kwargs) => {
    const bed = await startTestbed();
    const queue = fakeQueue(1, 2, 3);
    await serve(bed, queue);
    expect(await ask(bed, kwargs)).toEqual({ id: "", error: "ERR_REPLAY_REQUEST" });
    expect(queue.retried).toEqual([]);
  });

  it("may ask for as many as the protocol allows", async () => {
    const bed = await startTestbed();
    const drain = scriptedDrain(({ id }) => ({ type: "replaying", id, events: MAX_REPLAY }));
    await serve(bed, fakeQueue(), drain);
    expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: MAX_REPLAY })).toEqual({
      id: ID,
      events: MAX_REPLAY,
    });
    expect(drain.questions).toHaveLength(1);
  });
});

describe("who does not hold a builder's key", () => {
  const request = { id: ID, stream: "docs", from: 1, to: 1 };
  const notOpened = expect.objectContaining({
    code: "ERR_WAMP_REFUSED",
    uri: "wamp.error.encryption.decrypt_error",
    passthru: undefined,
  });

  it.each<[what: string, args: unknown[]]>([
    ["sealed with another key", [sealed(request, foreign)]],
    ["sealed for another procedure", [sealed(request, shared, "webhook.receipt")]],
    ["sealed, and altered", [new Passthru(new Uint8Array(80), CRYPTOBOX, "json")]],
    ["of another scheme", [new Passthru(sealed(request).bytes, "mqtt", "json")]],
    ["not sealed", [request]],
    ["empty", []],
    ["of another inner serializer", [new Passthru(sealed(request).bytes, CRYPTOBOX, "msgpack")]],
  ])("is told that it was not opened, and nothing else: a call that is %s", async (_what, args) => {
    const bed = await startTestbed();
    const queue = fakeQueue(1);
    const { reports } = await serve(bed, queue);
    const somebody = await join(bed, "builder");
    await expect(somebody.call(PROCEDURE, ...args)).rejects.toEqual(notOpened);
    expect(queue.retried).toEqual([]);
    expect(reports).toEqual([
      ["error", expect.objectContaining({ code: "ERR_REPLAY_REFUSED", hint: expect.any(String) })],
    ]);
  });

  it("learns nothing by sending back an answer, or whatever bytes it likes", async () => {
    const bed = await startTestbed();
    await serve(bed, fakeQueue(1));
    const somebody = await join(bed, "builder");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const answer = somebody.call(PROCEDURE, new Passthru(bytes, CRYPTOBOX, "json"));
        await expect(answer).rejects.toEqual(notOpened);
      }),
      { numRuns: 50 },
    );
  });
});

describe("two relays at one router", () => {
  it("serve it one after the other", async () => {
    const bed = await startTestbed();
    const first = await serve(bed, fakeQueue(1));
    const queue = fakeQueue(1);
    const second = await serve(bed, queue);
    expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: 1 })).toEqual({ id: ID, events: 1 });
    expect(queue.retried).toEqual([]);
    await first.session.close();
    await until(async () => {
      expect(await ask(bed, { id: ID, stream: "docs", from: 1, to: 1 })).toEqual({ id: ID, events: 1 });
    });
    expect(queue.retried).toContain(1);
    expect([first.reports, second.reports].flat().filter(([event]) => event === "error")).toEqual([]);
  });

  it("is waited for without anything that grows with the time", async () => {
    const bed = await startTestbed();
    const session = await join(bed, "relay");
    const onClosed = vi.spyOn(session.closed, "then");
    const register = vi
      .spyOn(session, "register")
      .mockRejectedValue(new ErrorReply("wamp.error.procedure_already_exists"));
    const parts = { queue: fakeQueue(), drains: { open: () => [] }, sharedKeys: [shared], report: () => {} };
    await serveReplay(session, parts, 1);
    await until(() => expect(register.mock.calls.length).toBeGreaterThan(5));
    expect(onClosed).toHaveBeenCalledTimes(1);
    onClosed.mockRestore();
    await session.close();
  });

  it("leave nothing running behind when the one that waits ends", async () => {
    const bed = await startTestbed();
    await serve(bed, fakeQueue());
    const register = vi.fn<WampSession["register"]>();
    const { session, reports } = await serve(bed, fakeQueue());
    await session.close();
    session.register = register;
    await new Promise((resolve) => setTimeout(resolve, 3 * TAKEN_RETRY_MS));
    expect(register).not.toHaveBeenCalled();
    expect(reports).toEqual([]);
  });
});

describe("a router that does not let the relay register", () => {
  it("is reported, and nothing more", async () => {
    const bed = await startTestbed({
      changes: [["workers.0.realms.0.roles.0.permissions.2.allow", { register: false }]],
    });
    const { reports } = await serve(bed, fakeQueue());
    await new Promise((resolve) => setTimeout(resolve, 3 * TAKEN_RETRY_MS));
    expect(reports).toMatchObject([["error", { code: "ERR_WAMP_REFUSED" }]]);
  });
});

describeWith("autobahn", "a builder on Autobahn|Python that misses events", (python) => {
  it("asks by its KeyRing, and is told, and so is one without a key", async () => {
    const world = await startWorld("our router");
    onTestFinished(() => world.end());
    const [builder, relay] = [nacl.box.keyPair(), nacl.box.keyPair()];
    const ring = {
      uri: PROCEDURE,
      originator_priv: encodeBase64(builder.secretKey),
      responder_pub: encodeBase64(relay.publicKey),
    };
    const peer = await startPeer(python, world, "cbor", { right: [ring] });
    onTestFinished(() => peer.end());
    await serveReplay(await world.join("msgpack"), {
      queue: fakeQueue(3),
      drains: { open: () => [] },
      sharedKeys: [foreign, sharedKey(builder.publicKey, relay.secretKey)],
      report: () => {},
    });
    const kwargs = { id: ID, stream: "docs", from: 3, to: 3 };
    const call = { do: "call", uri: PROCEDURE, kwargs } as const;
    const told = { args: [], kwargs: { id: ID, events: 1 } };
    expect(await peer.tell({ ...call, ring: "right" })).toEqual(told);
    expect(await peer.tell({ ...call, ring: "none" })).toMatchObject({
      error: "wamp.error.encryption.decrypt_error",
    });
  }, 60_000);
});
