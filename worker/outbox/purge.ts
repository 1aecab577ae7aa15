/** Deleting what was done long ago, from every table that an event is in. */

export interface OutboxPurge {
  /** Deletes events that were done before `doneBefore`, oldest first: whether there may be more. */
  purge(doneBefore: number): boolean;
  /** When the earliest of the first done events was done; 0 when none of the first is done, and more may be. */
  oldestDoneAt(): number | undefined;
}

/** Events deleted in one go: an alarm has to end. */
const PURGE_BATCH = 500;

export function openPurge(storage: DurableObjectStorage, newestSeq: () => number): OutboxPurge {
  const { sql } = storage;

  /** The first events that were done before a time; no row is read that was stored after it. */
  function oldAndDone(doneBefore: number): number[] {
    const newest = newestSeq();
    const seqs: number[] = [];
    for (let after = 0; seqs.length < PURGE_BATCH;) {
      const rows = sql
        .exec<{ seq: number; stored_at: number; done_at: number | null }>(
          `SELECT seq, stored_at, done_at FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ${PURGE_BATCH}`,
          after,
          newest,
        )
        .toArray();
      const old = rows.filter(({ stored_at }) => stored_at < doneBefore);
      seqs.push(
        ...old.filter(({ done_at }) => done_at !== null && done_at < doneBefore).map(({ seq }) => seq),
      );
      const last = rows.at(-1);
      if (!last || last.stored_at >= doneBefore) break;
      after = last.seq;
    }
    return seqs.slice(0, PURGE_BATCH);
  }

  function remove(seq: number): void {
    sql.exec("DELETE FROM chunks WHERE seq = ?", seq);
    sql.exec("DELETE FROM troubles WHERE seq = ?", seq);
    sql.exec("DELETE FROM events WHERE seq = ?", seq);
  }

  return {
    purge(doneBefore) {
      const old = oldAndDone(doneBefore);
      storage.transactionSync(() => {
        for (const seq of old) remove(seq);
      });
      return old.length === PURGE_BATCH;
    },
    oldestDoneAt() {
      const { at, looked } = sql
        .exec<{ at: number | null; looked: number }>(
          `SELECT min(done_at) AS at, count(*) AS looked
           FROM (SELECT done_at FROM events WHERE seq < ? ORDER BY seq LIMIT ${PURGE_BATCH})`,
          newestSeq(),
        )
        .one();
      return at ?? (looked === PURGE_BATCH ? 0 : undefined);
    },
  };
}
