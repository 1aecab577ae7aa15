import { createRedisBackend } from "bullmq";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { makeRedisJobs } from "./redis-jobs.ts";
import { makeReserve } from "./redis-reserve.ts";
import { CLUSTER_URL } from "./url.ts";
import { storeError } from "./outage.ts";
import { QUEUE_NAME, SHARED_LOCK_MS, backendOptions, type QueueStore } from "./store.ts";

/** Milliseconds to wait for a connection. */
const CONNECT_MS = 5000;
/** Milliseconds to wait for an answer; the largest, a job of 35 MB, takes well under one second. */
const ANSWER_MS = 10_000;
/** Milliseconds between attempts to connect again, at most. */
const RECONNECT_MS = 1000;
/** What all keys begin with. A cluster hashes what is in braces, so it keeps all of them together. */
const PREFIX = "{onionhook}";

const retryStrategy = (times: number): number => Math.min(100 * times, RECONNECT_MS);

/** A connection fails fast: while it is down, every call rejects, and none is sent twice. The queue calls again. */
const CONNECTION = {
  lazyConnect: true,
  connectTimeout: CONNECT_MS,
  commandTimeout: ANSWER_MS,
  keepAlive: CONNECT_MS,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
} satisfies RedisOptions;
const RECONNECTING = { enableOfflineQueue: false, retryStrategy } satisfies RedisOptions;

/**
 * Opens a queue in Redis or Valkey: `redis://…`, `rediss://…`, `unix:<path>`, or the nodes of a cluster,
 * `redis-cluster://host:port,host:port`. An event is durable there only with `appendonly yes` and
 * `appendfsync always`. Rejects with `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`.
 */
export async function openRedisStore(url: string): Promise<QueueStore> {
  const client = makeClient(url);
  // Without a listener ioredis prints its errors. The calls that they fail are what is reported.
  client.on("error", () => {});
  try {
    await client.connect();
    // With its version check BullMQ prints warnings; it needs Redis 5, which is older than any in use.
    const options = {
      connection: client,
      prefix: PREFIX,
      skipVersionCheck: true,
      ...backendOptions(SHARED_LOCK_MS),
    };
    const backend = createRedisBackend(QUEUE_NAME, options);
    await backend.waitUntilReady();
    const jobs = makeRedisJobs(client, backend);
    const reserve = makeReserve(client, backend.toKey("reserve"));
    // In a Redis that is full already, what is held can be handed out all the same.
    await reserve.restore().catch(() => {});
    const close = async (): Promise<void> => client.disconnect();
    return { backend, jobs, reserve, lockMs: SHARED_LOCK_MS, jobOptions: {}, close };
  } catch (error) {
    client.disconnect();
    throw storeError(error);
  }
}

function makeClient(url: string): Redis | Cluster {
  if (url.startsWith("unix:"))
    return new Redis({ ...CONNECTION, ...RECONNECTING, path: url.slice("unix:".length) });
  const [, secure, login = "", nodes = ""] = CLUSTER_URL.exec(url) ?? [];
  if (nodes === "") return new Redis(url, { ...CONNECTION, ...RECONNECTING });
  const { username, password } = new URL(`redis://${login}host`);
  const redisOptions = {
    ...CONNECTION,
    ...(username !== "" && { username: decodeURIComponent(username) }),
    ...(password !== "" && { password: decodeURIComponent(password) }),
    ...(secure === "s" && { tls: {} }),
  };
  return new Cluster(nodes.split(","), {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    redisOptions,
  });
}
