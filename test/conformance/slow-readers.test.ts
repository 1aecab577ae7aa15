import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { eventually } from "../helpers/until.ts";
import { RawClient } from "../router/raw-client.ts";
import { peakBytes, residentBytes } from "./router-process.ts";
import { KEYS, startOurs, type Authid, type OurRouter } from "./routers.ts";

const MIB = 1024 * 1024;
const EVENT_BYTES = MIB;
/** More than 64 MiB, which may wait for one, and what the kernel takes on the way to each. */
const EVENTS = 90;
const SLOW = 24;
/**
 * 192 MiB may wait for all together, and 64 MiB more until they are counted. On top: frames on their way in and out, and garbage;
 * measured 400 MiB in all. It is a third of what it could be without the common bound, 24 times 64 MiB.
 */
const MAX_GROWTH_BYTES = 512 * MIB;
/** Milliseconds from publishing an event to a healthy reader's having it, while the slow ones are served as well. */
const IN_TIME = 10_000;
const SERIALIZERS: readonly SerializerId[] = ["json", "msgpack", "cbor"];
const TOPIC = `flood.${"x".repeat(SLOW)}`;

describe("readers that stop reading", () => {
  let router: OurRouter;
  const clients: RawClient[] = [];

  beforeAll(async () => {
    router = await startOurs();
  });
  afterAll(async () => {
    for (const client of clients) client.end();
    await router.stop();
  });

  const join = async (authid: Authid, serializer: SerializerId): Promise<RawClient> => {
    const client = await RawClient.join(router, authid, KEYS[authid], serializer);
    clients.push(client);
    return client;
  };
  const thrownOut = () =>
    router.reports.filter(({ event, reason }) => event === "left" && reason === "slow").length;

  it(
    `${SLOW} of them, none sharing a frame: all are thrown out, others get every event in time, memory is bounded`,
    { timeout: 180_000 },
    async ({ annotate }) => {
      for (let index = 0; index < SLOW; index++) {
        // oxlint-disable no-await-in-loop
        const slow = await join("carol", SERIALIZERS[index % 3] ?? "json");
        // Each its own prefix: a subscription of its own, and frames of its own.
        await slow.ask([32, 1, { match: "prefix" }, TOPIC.slice(0, TOPIC.length - index)]);
        slow.ws.pause();
        // oxlint-enable no-await-in-loop
      }
      const [publisher, healthy] = [await join("alice", "cbor"), await join("bob", "msgpack")];
      await healthy.ask([32, 1, {}, TOPIC]);
      const before = residentBytes(router.pid);
      const payload = Buffer.alloc(EVENT_BYTES, 1);
      let slowest = 0;
      for (let number = 1; number <= EVENTS; number++) {
        const started = performance.now();
        // oxlint-disable no-await-in-loop
        const published = await publisher.ask([16, number, { acknowledge: true }, TOPIC, [number, payload]]);
        expect(published.slice(0, 2)).toEqual([17, number]);
        const [code, , publication, , args] = await healthy.next();
        // oxlint-enable no-await-in-loop
        expect([code, publication, (args as unknown[])[0]]).toEqual([36, published[2], number]);
        slowest = Math.max(slowest, performance.now() - started);
      }
      await eventually("all slow readers are thrown out", () => thrownOut() === SLOW, 30_000);
      const grown = peakBytes(router.pid) - before;
      await annotate(
        `slow readers: slowest event ${Math.round(slowest)} ms, at most ${Math.round(grown / MIB)} MiB more`,
      );
      expect(slowest).toBeLessThan(IN_TIME);
      expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
    },
  );

  it(
    "a caller that reads no results is thrown out, and its callee goes on",
    { timeout: 120_000 },
    async () => {
      const already = thrownOut();
      const [callee, slow, caller] = [
        await join("alice", "cbor"),
        await join("carol", "msgpack"),
        await join("bob", "json"),
      ];
      await callee.ask([64, 1, {}, "large"]);
      void serve(callee, Buffer.alloc(EVENT_BYTES, 2));
      slow.ws.pause();
      for (let number = 1; number <= EVENTS; number++) slow.send([48, number, {}, "large"]);
      await eventually("the slow caller is thrown out", () => thrownOut() === already + 1, 60_000);
      const [code, request, , args] = await caller.ask([48, 1, {}, "large", ["small"]]);
      expect([code, request, args]).toEqual([50, 1, ["small"]]);
    },
  );
});

/** Answers calls with their arguments, and those without with the payload, for as long as there are any. */
async function serve(callee: RawClient, payload: Buffer): Promise<void> {
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop
    const [code, invocation, , , args] = await callee.next();
    if (code === 68) callee.send([70, invocation, {}, args ?? [payload]]);
  }
}
