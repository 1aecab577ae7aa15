import { createPostgresBackend } from "bullmq";
import { makePostgresJobs } from "./postgres-jobs.ts";
import { storeError } from "./outage.ts";
import {
  POSTGRES_JOB_OPTIONS,
  QUEUE_NAME,
  SHARED_LOCK_MS,
  backendOptions,
  type QueueStore,
} from "./store.ts";

/** Connections: one commit waits for one fsync, so several together are what makes throughput. */
const CONNECTIONS = 10;
/** Milliseconds to wait for a connection. */
const CONNECT_MS = 5000;
/** Milliseconds to wait for an answer; the largest, a job of 35 MB, takes about one second. */
const ANSWER_MS = 30_000;

/**
 * Opens a queue in PostgreSQL 13 or later, in the schema `bullmq`, which it creates or migrates. Rejects
 * with `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`.
 *
 * BullMQ is not asked for a blocking connection, so nothing listens for notifications. An idle connection
 * that drops is replaced; the calls that fail are what is reported.
 */
export async function openPostgresStore(url: string): Promise<QueueStore> {
  const connection = {
    connectionString: url,
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: ANSWER_MS,
    keepAlive: true,
    migrate: true,
  };
  const backend = createPostgresBackend(QUEUE_NAME, { connection, ...backendOptions(SHARED_LOCK_MS) });
  try {
    await backend.waitUntilReady();
  } catch (error) {
    await backend.close();
    throw storeError(error);
  }
  const jobs = makePostgresJobs(backend.connection.pool, SHARED_LOCK_MS);
  const close = (): Promise<void> => backend.close();
  return { backend, jobs, lockMs: SHARED_LOCK_MS, jobOptions: POSTGRES_JOB_OPTIONS, close };
}
