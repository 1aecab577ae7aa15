import { createRedisBackend } from "bullmq";
import { Redis } from "ioredis";
import { storeError } from "./queue-outage.ts";
import { QUEUE_NAME, SHARED_LOCK_MS, backendOptions, type QueueStore } from "./queue-store.ts";

/** Milliseconds to wait for a connection. */
const CONNECT_MS = 5000;
/** Milliseconds to wait for an answer; the largest, a job of 35 MB, takes well under one second. */
const ANSWER_MS = 10_000;
/** Milliseconds between attempts to connect again, at most. */
const RECONNECT_MS = 1000;

/**
 * Opens a queue in Redis or Valkey. An event is durable there only with `appendonly yes` and
 * `appendfsync always`. Rejects with `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`.
 *
 * The connection fails fast: while it is down, every call rejects, and the queue calls again. A command that
 * was on its way is not sent twice.
 */
export async function openRedisStore(url: string): Promise<QueueStore> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    commandTimeout: ANSWER_MS,
    keepAlive: CONNECT_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(100 * times, RECONNECT_MS),
  });
  // Without a listener ioredis prints its errors. The calls that they fail are what is reported.
  client.on("error", () => {});
  try {
    await client.connect();
    // With its version check BullMQ prints warnings; it needs Redis 5, which is older than any in use.
    const options = { connection: client, skipVersionCheck: true, ...backendOptions(SHARED_LOCK_MS) };
    const backend = createRedisBackend(QUEUE_NAME, options);
    await backend.waitUntilReady();
    return { backend, lockMs: SHARED_LOCK_MS, jobOptions: {}, close: async () => client.disconnect() };
  } catch (error) {
    client.disconnect();
    throw storeError(error);
  }
}
