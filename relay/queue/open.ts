import type { Report } from "../../shared/report.ts";
import type { DeliveryQueue } from "./queue.ts";
import { makeBullmqQueue } from "./bullmq.ts";
import type { QueueStore } from "./store.ts";
import { queueKind } from "./url.ts";

/** 1 GiB: some 100,000 common webhooks. A store keeps a third more, since BullMQ stores JSON. */
const MAX_BYTES = 1_073_741_824;

/** What a queue is opened with. */
export interface QueueOptions {
  /**
   * `embedded`, `local-redis`, `redis://…`, `rediss://…`, `redis-cluster://host:port,host:port`, `rediss-cluster://…`,
   * `postgres://…` or `postgresql://…`.
   */
  readonly url: string;
  /** The relay's data directory; `embedded` keeps its store in `<dataDir>/queue`, `local-redis` in `<dataDir>/redis`. */
  readonly dataDir: string;
  /** How many events are in hand at once, at most. */
  readonly concurrency: number;
  /** Bytes of sealed events that the queue holds before `add` waits; {@link MAX_BYTES} unless told. */
  readonly maxBytes?: number;
  readonly report: Report;
}

/**
 * Opens the delivery queue; nothing is handed out before `process` and `resume`. Rejects with
 * `ERR_QUEUE_URL`, `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`, for `embedded` and `local-redis` with
 * `ERR_QUEUE_LOCKED`, and for `local-redis` with `ERR_QUEUE_LOCAL_REDIS`.
 */
export async function openQueue(options: QueueOptions): Promise<DeliveryQueue> {
  const { concurrency, maxBytes = MAX_BYTES, report } = options;
  return makeBullmqQueue(await openStore(options), { concurrency, maxBytes, report });
}

/** Each store's client is loaded only when it is the one in use: 30 MB and 100 ms. */
async function openStore({ url, dataDir, report }: QueueOptions): Promise<QueueStore> {
  const kind = queueKind(url);
  switch (kind) {
    case "redis":
      return (await import("./redis.ts")).openRedisStore(url);
    case "local-redis":
      return (await import("./local-redis.ts")).openLocalRedisStore(dataDir, report);
    case "postgres":
      return (await import("./postgres.ts")).openPostgresStore(url);
    case "embedded":
      return (await import("./embedded.ts")).openEmbeddedStore(dataDir, report);
    default:
      return kind satisfies never;
  }
}
