import { randomUUID } from "node:crypto";
import type { PgQueryable } from "bullmq";
import type { QueueState } from "./queue.ts";
import type { StoredJob } from "./job.ts";
import { QUEUE_NAME, type JobTable } from "./store.ts";

/** Each state as a filter and an order of BullMQ's table `job`, as its own indexes have them. */
const LISTS: Record<QueueState, string> = {
  waiting: "state = 'waiting' ORDER BY priority, seq",
  "in hand": "state = 'active' ORDER BY processed_at_ms, seq",
  delayed: "state = 'delayed' ORDER BY process_at_ms, seq",
  received: "state = 'completed' ORDER BY finished_at_ms, seq",
  dead: "state = 'failed' ORDER BY finished_at_ms, seq",
};

const STATES: ReadonlyMap<string, QueueState> = new Map([
  ["waiting", "waiting"],
  ["active", "in hand"],
  ["delayed", "delayed"],
  ["completed", "received"],
  ["failed", "dead"],
]);

const COLUMNS = `id, name, state, added_at_ms, attempts_started, attempts_made, process_at_ms, failed_reason,
  return_value::text AS return_value`;

/** Each call of BullMQ's function takes one; numbering the tokens makes them as many calls as are wanted. */
const TAKE = `SELECT job.id, job.name, job.lock_token, job.attempts_started, job.attempts_made,
    job.data #>> '{}' AS data
  FROM generate_series(1, $2::integer) AS number,
    LATERAL move_to_active($1, $3::text || number, $4, $5, NULL, NULL, NULL) AS job
  ORDER BY number`;

interface Row {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  /** `pg` has a bigint as text. */
  readonly added_at_ms: string | number;
  readonly attempts_started: number;
  readonly attempts_made: number;
  readonly process_at_ms: string | number | null;
  readonly failed_reason: string | null;
  readonly return_value: string | null;
}

interface TakenRow extends Pick<Row, "id" | "name" | "attempts_started" | "attempts_made"> {
  readonly lock_token: string;
  readonly data: string;
}

/** BullMQ's table `job`, one statement a call. */
export function makePostgresJobs(db: PgQueryable, lockMs: number): JobTable {
  return {
    async take(count) {
      const { rows } = await db.query<TakenRow>(TAKE, [QUEUE_NAME, count, randomUUID(), lockMs, Date.now()]);
      return rows.map((row) => ({
        id: row.id,
        name: row.name,
        token: row.lock_token,
        attemptsStarted: row.attempts_started,
        attemptsMade: row.attempts_made,
        sealed: Buffer.from(row.data, "base64"),
      }));
    },
    async find(ids) {
      const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM job WHERE queue = $1 AND id = ANY($2)`, [
        QUEUE_NAME,
        [...ids],
      ]);
      const byId = new Map(rows.map((row) => [row.id, storedJob(row)]));
      return ids.map((id) => byId.get(id));
    },
    async list(state, limit) {
      const { rows } = await db.query<Row>(
        `SELECT ${COLUMNS} FROM job WHERE queue = $1 AND ${LISTS[state]} LIMIT $2`,
        [QUEUE_NAME, Number.isFinite(limit) ? limit : null],
      );
      return rows.map(storedJob);
    },
    async anyWaiting() {
      const { rows } = await db.query<{ some: boolean }>(
        "SELECT EXISTS (SELECT FROM job WHERE queue = $1 AND state = 'waiting') AS some",
        [QUEUE_NAME],
      );
      return rows[0]?.some === true;
    },
    async remove(ids) {
      const { rows } = await db.query<{ id: string; name: string; removed: number }>(
        "SELECT id, name, remove(queue, id, false) AS removed FROM job WHERE queue = $1 AND id = ANY($2)",
        [QUEUE_NAME, [...ids]],
      );
      return rows.filter(({ removed }) => removed > 0);
    },
    async forgetSpent(id) {
      await db.query("UPDATE job SET attempts_made = 0 WHERE queue = $1 AND id = $2 AND state = 'delayed'", [
        QUEUE_NAME,
        id,
      ]);
    },
    async bytesHeld() {
      const { rows } = await db.query<{ bytes: string | number }>(
        "SELECT coalesce(sum(split_part(name, E'\\n', 3)::bigint), 0)::bigint AS bytes FROM job WHERE queue = $1",
        [QUEUE_NAME],
      );
      return Number(rows[0]?.bytes ?? 0);
    },
  };
}

function storedJob(row: Row): StoredJob {
  return {
    id: row.id,
    name: row.name,
    state: STATES.get(row.state) ?? "waiting",
    addedAt: Number(row.added_at_ms),
    attemptsStarted: row.attempts_started,
    attemptsMade: row.attempts_made,
    dueAt: row.process_at_ms === null ? undefined : Number(row.process_at_ms),
    failedReason: row.failed_reason ?? undefined,
    returnValue: row.return_value ?? undefined,
  };
}
