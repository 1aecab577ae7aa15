import { afterAll, beforeAll } from "vitest";
import { startRedisCluster, type RedisCluster } from "../../helpers/redis.ts";
import { describeWith } from "../../helpers/peers.ts";
import { queueContract } from "./queue.contract.ts";
import { sharedContract } from "./shared.contract.ts";
import type { Place } from "./watch.ts";

describeWith("redis", "the queue on a cluster of three Redis", () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  }, 60_000);
  afterAll(() => cluster.stop());
  const newPlace = async (): Promise<Place> => {
    await cluster.empty();
    return { url: cluster.url, dataDir: "/nonexistent" };
  };

  queueContract(newPlace);
  sharedContract(newPlace, () => cluster);
});
