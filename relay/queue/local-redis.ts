import { mkdirSync } from "node:fs";
import { lockFolder } from "../../shared/host/folder-lock.ts";
import type { Report } from "../../shared/report.ts";
import { startLocalRedis, type LocalRedis } from "./redis-server.ts";
import { openRedisStore } from "./redis.ts";
import type { QueueStore } from "./store.ts";

/**
 * Opens the store in a Redis of the relay's own (`redis-server.ts`). Rejects with `ERR_QUEUE_LOCKED`,
 * `ERR_QUEUE_LOCAL_REDIS`, or as `openRedisStore`.
 */
export async function openLocalRedisStore(dataDir: string, report: Report): Promise<QueueStore> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const unlock = lockFolder(dataDir, "ERR_QUEUE_LOCKED");
  let redis: LocalRedis | undefined;
  try {
    const server = await startLocalRedis(dataDir, report);
    redis = server;
    const store = await openRedisStore(`unix:${server.socket}`);
    return {
      ...store,
      async close() {
        await store.close();
        await server.close();
        unlock();
      },
    };
  } catch (error) {
    await redis?.close();
    unlock();
    throw error;
  }
}
