/**
 * Room kept free on the disk of a store inside this process: on a full disk not even what waits can be started, since
 * that is written down too, and the database has to be opened anew (`embedded-database.ts`). So nothing is added unless
 * this much would be free. Others may fill the disk all the same.
 */
import { statfs } from "node:fs/promises";
import type { Reserve } from "./store.ts";

/** Bytes: two segments of Postgres's log, and what is added in one go. */
const RESERVE_BYTES = 67_108_864;

/** @param tidy frees what the store does not need any more. */
export function makeDiskReserve(folder: string, tidy: () => Promise<void>): Reserve {
  return {
    release: async () => false,
    async restore() {
      if (await hasRoom(folder)) return;
      await tidy();
      if (await hasRoom(folder)) return;
      throw Object.assign(new Error("the disk is nearly full"), { code: "ENOSPC" });
    },
  };
}

/** Whether the folder's disk has more free than the reserve. */
export async function hasRoom(folder: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize >= RESERVE_BYTES;
}
