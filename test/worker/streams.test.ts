import { listDurableObjectIds, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { NAME } from "../../shared/delivery.ts";
import { parseConfig } from "../../worker/config.ts";
import { recipientOf, streamFor } from "../../worker/recipient.ts";
import { configure } from "./configure.ts";
import { deliver } from "./deliver.ts";
import { bindings } from "./parties.ts";
import { openDrained, receiptFor } from "./receipts.ts";
import { hello, RelaySocket, upgrade } from "./relay-socket.ts";

const box_public = bindings.RECIPIENTS.builder.box_public;
const four = { RECIPIENTS: { builder: { box_public, streams: 4 } } };
const bodyOf = (repository: number, n = crypto.randomUUID()) =>
  JSON.stringify({ repository: { id: repository, full_name: `octo/r${repository}` }, n });

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await configure({});
  await reset();
});

describe("a recipient's streams", () => {
  it("are chosen by repository: one and the same for each, and all of them for many", async () => {
    await configure(four);
    const streams = new Map<number, string>();
    for (let repository = 1; repository <= 40; repository += 1) {
      const [first, again] = [
        await deliver({ body: bodyOf(repository) }),
        await deliver({ body: bodyOf(repository) }),
      ];
      const stream = first.json.stored[0]?.stream ?? "";
      expect(again.json.stored[0]?.stream).toBe(stream);
      streams.set(repository, stream);
    }
    expect([...new Set(streams.values())].toSorted()).toEqual([
      "builder",
      "builder-2",
      "builder-3",
      "builder-4",
    ]);
  });

  it("are numbered each for itself, and drained each for itself, with the stream's name in the seal", async () => {
    await configure(four);
    const stored = [];
    for (let repository = 1; repository <= 12; repository += 1)
      stored.push(...(await deliver({ body: bodyOf(repository) })).json.stored);
    for (const stream of ["builder", "builder-2", "builder-3", "builder-4"]) {
      const seqs = stored.filter((each) => each.stream === stream).map(({ seq }) => seq);
      expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, index) => index + 1));
      const relay = await RelaySocket.open("relay-one", { stream });
      relay.send({ type: "credit", events: 50 });
      const events = await relay.eventsByNow();
      expect(events.map(({ seq }) => seq)).toEqual(seqs);
      for (const event of events) {
        expect(openDrained(event).delivery).toMatchObject({ stream, seq: event.seq });
        const other = stream === "builder" ? "builder-2" : "builder";
        expect(await relay.done(event.seq, receiptFor(event, undefined, other))).toMatchObject({
          code: "ERR_RECEIPT",
        });
        expect(await relay.done(event.seq, receiptFor(event, undefined, stream))).toMatchObject({
          type: "accepted",
        });
      }
    }
  });

  it("must be named by the relay, and proven for: another stream's proof is none", async () => {
    await configure(four);
    expect((await upgrade()).status).toBe(404);
    const relay = await RelaySocket.dial("builder-2");
    relay.send(hello(await relay.challenge(), { stream: "builder" }));
    expect((await relay.closed).code).toBe(4401);
  });

  it("that are fewer now can still be drained, but get nothing new", async () => {
    await configure(four);
    let stream = "";
    for (let repository = 1; stream === "" || stream === "builder"; repository += 1)
      stream = (await deliver({ body: bodyOf(repository, "old") })).json.stored[0]?.stream ?? "";
    await configure({});
    for (let repository = 1; repository <= 10; repository += 1)
      expect((await deliver({ body: bodyOf(repository) })).json.stored[0]?.stream).toBe("builder");
    const relay = await RelaySocket.open("relay-one", { stream });
    const [event] = await relay.drain(1);
    expect(await relay.done(1, receiptFor(event, undefined, stream))).toMatchObject({ type: "accepted" });
  });

  test.for([
    "builder-1",
    "builder-0",
    "builder-02",
    "builder-33",
    "builder-100",
    "builder-999999",
    "builder-2-2",
    "builder-",
    "Builder",
    "constructor",
    "",
  ])("are no more than there can be, and asking for %j makes no object", async (stream) => {
    const before = (await listDurableObjectIds(env.OUTBOX)).length;
    const answer = await upgrade(stream);
    expect([answer.status, await answer.json()]).toEqual([
      404,
      { error: { code: "ERR_STREAM", message: expect.any(String), hint: expect.any(String) } },
    ]);
    expect(await listDurableObjectIds(env.OUTBOX)).toHaveLength(before);
  });

  it("all have names that relays and builders take", () => {
    const longest = "r".repeat(60);
    const config = parseConfig({ ...bindings, RECIPIENTS: { [longest]: { box_public, streams: 32 } } });
    const recipient = config.recipients.get(longest);
    if (!recipient) throw new Error("no recipient");
    const names = new Set<string>();
    for (let repository = 0; repository < 1000; repository += 1)
      names.add(streamFor(recipient, { ...NOTHING, repositoryId: String(repository) }));
    expect(names.size).toBe(32);
    for (const name of names) {
      expect(name).toMatch(NAME);
      expect(recipientOf(config, name)).toBe(recipient);
    }
    expect(() => parseConfig({ ...bindings, RECIPIENTS: { [`${longest}r`]: { box_public } } })).toThrow(
      "leaves no room for the number of a further stream",
    );
  });
});

const NOTHING = {
  keys: new Set<string>(),
  repository: undefined,
  repositoryId: undefined,
  owner: undefined,
  organization: undefined,
  hookId: undefined,
};
