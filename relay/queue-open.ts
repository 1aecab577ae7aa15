import { OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import type { DeliveryQueue } from "./queue.ts";
import { makeBullmqQueue } from "./queue-bullmq.ts";
import type { QueueStore } from "./queue-store.ts";

/** What a queue is opened with. */
export interface QueueOptions {
  /** `embedded`, `redis://…`, `rediss://…`, `postgres://…` or `postgresql://…`. */
  readonly url: string;
  /** The relay's data directory; `embedded` keeps its store in `<dataDir>/queue`. */
  readonly dataDir: string;
  /** How many events are in hand at once, at most. */
  readonly concurrency: number;
  readonly report: Report;
}

/**
 * Opens the delivery queue; nothing is handed out before `process` and `resume`. Rejects with
 * `ERR_QUEUE_URL`, `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`, and for `embedded` with `ERR_QUEUE_LOCKED`.
 */
export async function openQueue(options: QueueOptions): Promise<DeliveryQueue> {
  const store = await openStore(options);
  return makeBullmqQueue(store, options.concurrency, options.report);
}

/** Each store's client is loaded only when it is the one in use: 30 MB and 100 ms. */
async function openStore({ url, dataDir, report }: QueueOptions): Promise<QueueStore> {
  const kind = queueKind(url);
  if (kind === "redis") return (await import("./queue-redis.ts")).openRedisStore(url);
  if (kind === "postgres") return (await import("./queue-postgres.ts")).openPostgresStore(url);
  return (await import("./queue-embedded.ts")).openEmbeddedStore(dataDir, report);
}

/** Which store a queue URL names. Throws `ERR_QUEUE_URL`, whose message never holds more than the scheme. */
export function queueKind(url: string): "embedded" | "redis" | "postgres" {
  if (url === "embedded") return "embedded";
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase();
  if (URL.canParse(url)) {
    if (scheme === "redis" || scheme === "rediss") return "redis";
    if (scheme === "postgres" || scheme === "postgresql") return "postgres";
  }
  const found = scheme === undefined ? "something that is no URL" : `a URL that begins with ${scheme}://`;
  const message = `queue.url is ${found}; expected "embedded", redis://host:port or postgres://user@host/database`;
  throw new OnionhookError("ERR_QUEUE_URL", message, {
    hint: 'Set queue.url to "embedded" to need no server.',
  });
}
