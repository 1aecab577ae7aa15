import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../helpers/until.ts";
import { RawClient } from "../router/raw-client.ts";
import { openHandles, residentBytes } from "./router-process.ts";
import { KEYS, startOurs, type OurRouter } from "./routers.ts";

const SESSIONS = 1000;
/** Sessions that join at the same time: more only wait for each other's signatures. */
const AT_ONCE = 50;
const SERIALIZERS = ["json", "msgpack", "cbor"] as const;
const MIB = 1024 * 1024;
/** V8 collects when it likes: measured, less than half of this. Who kept 32 KB of each session would exceed it. */
const MAX_GROWTH_BYTES = 32 * MIB;

describe(`${SESSIONS} sessions at once`, () => {
  let router: OurRouter;
  beforeAll(async () => {
    router = await startOurs();
  });
  afterAll(() => router.stop());

  it(
    "all join, subscribe, get their event and leave; memory and handles are given back",
    { timeout: 180_000 },
    async ({ annotate }) => {
      const publisher = await RawClient.join(router, "alice", KEYS.alice, "cbor");
      const handles = openHandles(router.pid);
      // The first crowd makes V8 and the allocator take what they keep.
      await crowd(publisher);
      await eventually("all handles are released", () => openHandles(router.pid) <= handles, 20_000);
      await sleep(1000);
      const warm = residentBytes(router.pid);
      const full = await crowd(publisher);
      await eventually("all handles are released", () => openHandles(router.pid) <= handles, 20_000);
      await sleep(1000);
      const grown = residentBytes(router.pid) - warm;
      await annotate(
        `${SESSIONS} sessions: resident ${Math.round(warm / MIB)} MiB without, ${Math.round(full / MIB)} MiB with them, then ${Math.round(grown / MIB)} MiB more`,
      );
      expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
      const [, , , counted] = await publisher.ask([48, 1, {}, "wamp.session.count"]);
      expect(counted).toEqual([1]);
      publisher.end();
    },
  );

  /** Resolves with the bytes that are resident while all are there. */
  async function crowd(publisher: RawClient): Promise<number> {
    const clients: RawClient[] = [];
    while (clients.length < SESSIONS)
      clients.push(
        // oxlint-disable-next-line no-await-in-loop
        ...(await Promise.all(
          Array.from({ length: AT_ONCE }, (_, index) =>
            RawClient.join(router, "carol", KEYS.carol, SERIALIZERS[index % 3]),
          ),
        )),
      );
    expect(new Set(clients.map(({ session }) => session)).size).toBe(SESSIONS);
    const subscribed = await Promise.all(clients.map((client) => client.ask([32, 1, {}, "crowd.topic"])));
    expect(new Set(subscribed.map(([, , id]) => id)).size).toBe(1);
    const [, , publication] = await publisher.ask([16, 1, { acknowledge: true }, "crowd.topic", ["once"]]);
    const full = residentBytes(router.pid);
    const events = await Promise.all(clients.map((client) => client.settled()));
    for (const got of events) expect(got).toEqual([[36, subscribed[0]?.[2], publication, {}, ["once"]]]);
    for (const client of clients) client.send([6, {}, "wamp.close.normal"]);
    const codes = await Promise.all(clients.map(({ closed }) => closed));
    expect(new Set(codes)).toEqual(new Set([1000]));
    return full;
  }
});
