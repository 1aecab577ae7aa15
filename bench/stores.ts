/** The stores that a relay's queue can be kept in, each as durable as docs/operations.md asks for. */
import { findPeer } from "../test/helpers/peers.ts";
import { startPostgres } from "../test/helpers/postgres.ts";
import { startRedis } from "../test/helpers/redis.ts";

export const STORES = ["embedded", "redis", "local-redis", "postgres"] as const;
export type StoreName = (typeof STORES)[number];

export interface Store {
  /** For the relay's configuration. */
  readonly queueUrl: string;
  /** For our queue alone: as empty as the relay's. */
  readonly aloneUrl: string;
  /** An empty database for BullMQ alone; none in the process, where its `Worker` cannot run. */
  readonly bullmqUrl: string | undefined;
  stop(): Promise<void>;
}

/** Resolves with nothing where the server is not installed. */
export async function openStore(name: StoreName): Promise<Store | undefined> {
  switch (name) {
    case "embedded":
      return { queueUrl: name, aloneUrl: name, bullmqUrl: undefined, stop: async () => {} };
    case "redis":
    case "local-redis": {
      if (findPeer("redis") === undefined) return undefined;
      const redis = await startRedis();
      return {
        queueUrl: name === "redis" ? redis.url(0) : name,
        aloneUrl: name === "redis" ? redis.url(1) : name,
        bullmqUrl: redis.url(2),
        stop: redis.stop,
      };
    }
    case "postgres": {
      if (findPeer("postgres") === undefined) return undefined;
      const postgres = await startPostgres();
      return {
        queueUrl: await postgres.createDatabase("relay"),
        aloneUrl: await postgres.createDatabase("alone"),
        bullmqUrl: await postgres.createDatabase("bullmq"),
        stop: postgres.stop,
      };
    }
    default:
      return name satisfies never;
  }
}
