/**
 * Room kept back in a Redis with `maxmemory` and `noeviction`. When it is full, not even what waits in it can be
 * started: BullMQ's `moveToActive` is refused, and nothing would ever be removed. The reserve is given up then, and
 * nothing is added until there is room for it again.
 */
import type { Cluster, Redis } from "ioredis";
import type { Reserve } from "./store.ts";

/** Bytes: enough for the locks and marks of thousands of events, and for the answer that hands out a common one. */
const RESERVE_BYTES = 2_097_152;

export function makeReserve(client: Redis | Cluster, key: string): Reserve {
  return {
    async release() {
      return (await client.del(key)) > 0;
    },
    async restore() {
      if ((await client.exists(key)) === 0) await client.set(key, Buffer.alloc(RESERVE_BYTES), "NX");
    },
  };
}
