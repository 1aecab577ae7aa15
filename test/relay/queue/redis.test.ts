import { afterAll, beforeAll, expect, test } from "vitest";
import { openQueue } from "../../../relay/queue/open.ts";
import { startRedis, type RedisServer } from "../../helpers/redis.ts";
import { freePort } from "../../helpers/server-process.ts";
import { describeWith } from "../../helpers/peers.ts";
import { until } from "../../helpers/until.ts";
import { queueContract } from "./queue.contract.ts";
import { sharedContract } from "./shared.contract.ts";
import { closeAll, event, put, range, receive, watch, type Place } from "./watch.ts";

describeWith("redis", "the queue on redis", () => {
  let server: RedisServer;
  let places = 0;
  beforeAll(async () => {
    server = await startRedis();
  }, 30_000);
  afterAll(() => server.stop());
  const newPlace = async (): Promise<Place> => ({ url: server.url((places += 1)), dataDir: "/nonexistent" });

  queueContract(newPlace);
  sharedContract(newPlace, () => server);

  test("a Redis without room is told once, hands out what it holds, and takes more when there is room", async () => {
    const small = await startRedis(["--maxmemory", "12mb"]);
    try {
      const place = { url: small.url(0), dataDir: "/nonexistent" };
      const { queue, received, reports } = await watch(place, 2, receive);
      const sealed = Buffer.alloc(200_000, 7);
      let added = 0;
      const adding = (async () => {
        for (const seq of range(1, 60)) {
          await put(queue, event(seq, sealed));
          added += 1;
        }
      })();
      await until(() => expect(reports).toHaveLength(1));
      expect(reports[0]?.[1]).toMatchObject({
        code: "ERR_QUEUE_STORE",
        message: "the queue's store has no room",
        hint: expect.stringContaining("maxmemory"),
      });
      expect(added).toBeLessThan(60);
      await queue.resume();
      const removing = setInterval(() => {
        for (const [seq] of received) void queue.remove("a-stream", seq).catch(() => {});
      }, 100);
      await adding;
      await until(() => expect(new Set(received.map(([seq]) => seq)).size).toBe(60));
      clearInterval(removing);
      expect(received.map(([seq]) => seq).toSorted((a, b) => a - b)).toEqual(range(1, 60));
      await closeAll();
    } finally {
      await small.stop();
    }
  }, 90_000);

  test("a server that is not there is a clear error", async () => {
    const url = `redis://u:secret@127.0.0.1:${await freePort()}/0`;
    const opening = openQueue({ url, dataDir: "/nonexistent", concurrency: 1, report: () => {} });
    await expect(opening).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE", retryable: true });
    await expect(opening).rejects.not.toThrow(/secret/);
  });
});
