import { afterAll, beforeAll, expect, test } from "vitest";
import { openQueue } from "../../relay/queue-open.ts";
import { freePort, startRedis, type RedisServer } from "../helpers/redis.ts";
import { describeWith } from "../helpers/peers.ts";
import { queueContract } from "./queue.contract.ts";
import { sharedContract } from "./queue-shared.contract.ts";
import type { Place } from "./queue-watch.ts";

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

  test("a server that is not there is a clear error", async () => {
    const url = `redis://u:secret@127.0.0.1:${await freePort()}/0`;
    const opening = openQueue({ url, dataDir: "/nonexistent", concurrency: 1, report: () => {} });
    await expect(opening).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE", retryable: true });
    await expect(opening).rejects.not.toThrow(/secret/);
  });
});
