/** The reconciler's store, all of its SQL. Nothing here awaits, so every function is one step of a transaction. */
import * as v from "valibot";
import type { Progress, ReconcileStore, Tracked } from "./reconcile.ts";

/** No index but the key: each would be one more row written. */
const TABLE = `CREATE TABLE IF NOT EXISTS guids (
  guid TEXT PRIMARY KEY,
  rooted INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  pending INTEGER NOT NULL,
  oldest_at INTEGER NOT NULL,
  newest_at INTEGER NOT NULL,
  newest_id TEXT NOT NULL,
  asked INTEGER NOT NULL,
  asked_at INTEGER NOT NULL
) WITHOUT ROWID`;

const COLUMNS = "guid, rooted, succeeded, pending, oldest_at, newest_at, newest_id, asked, asked_at";

type Row = {
  guid: string;
  rooted: number;
  succeeded: number;
  pending: number;
  oldest_at: number;
  newest_at: number;
  newest_id: string;
  asked: number;
  asked_at: number;
};

const PROGRESS = "progress";

const progressSchema = v.object({
  watermark: v.number(),
  listing: v.optional(v.object({ startedAt: v.number(), floor: v.number(), cursor: v.string() })),
  notBefore: v.number(),
  limits: v.number(),
});

export function openReconcileSql(storage: DurableObjectStorage): ReconcileStore {
  const { sql, kv } = storage;
  sql.exec(TABLE);
  return {
    progress() {
      // What another version wrote may be of another form: a listing of all 3 days is always right.
      const stored = v.safeParse(progressSchema, kv.get(PROGRESS));
      return stored.success
        ? { ...stored.output, listing: stored.output.listing }
        : { watermark: 0, listing: undefined, notBefore: 0, limits: 0 };
    },
    find(guid) {
      const [row] = sql.exec<Row>(`SELECT ${COLUMNS} FROM guids WHERE guid = ?`, guid).toArray();
      return row && trackedOf(row);
    },
    unsucceeded: () =>
      sql.exec<Row>(`SELECT ${COLUMNS} FROM guids WHERE succeeded = 0`).toArray().map(trackedOf),
    commit({ progress, tracked }: { progress?: Progress; tracked?: Iterable<Tracked> }) {
      storage.transactionSync(() => {
        for (const each of tracked ?? []) {
          sql.exec(
            `INSERT OR REPLACE INTO guids (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
            each.guid,
            Number(each.rooted),
            Number(each.succeeded),
            Number(each.pending),
            each.oldestAt,
            each.newestAt,
            each.newestId,
            each.asked,
            each.askedAt,
          );
        }
        if (progress) kv.put(PROGRESS, progress);
      });
    },
    settle(time, rooting) {
      sql.exec("DELETE FROM guids WHERE oldest_at < ?", time);
      if (rooting) sql.exec("UPDATE guids SET rooted = 1 WHERE rooted = 0");
    },
  };
}

function trackedOf(row: Row): Tracked {
  return {
    guid: row.guid,
    rooted: row.rooted === 1,
    succeeded: row.succeeded === 1,
    pending: row.pending === 1,
    oldestAt: row.oldest_at,
    newestAt: row.newest_at,
    newestId: row.newest_id,
    asked: row.asked,
    askedAt: row.asked_at,
  };
}
