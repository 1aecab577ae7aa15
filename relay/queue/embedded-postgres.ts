/**
 * Postgres inside this process (PGlite), with BullMQ's schema, as the pool of connections that BullMQ's
 * Postgres backend expects. It never syncs to disk: it survives the death of the process, not of the machine.
 */
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { PGlite } from "@electric-sql/pglite";
import { runMigrations, type PgPool, type PgPoolClient, type PgQueryResult } from "bullmq";
import type { Database } from "./embedded-database.ts";
import { SCHEMA } from "./store.ts";

/** An empty database with BullMQ's schema, packed: to make one takes some seconds and a gigabyte for a moment. */
export const PREPARED = join(import.meta.dirname, "embedded-postgres.zst");

/**
 * What differs from PGlite's own settings. It runs without fsync whatever is set here, and with what follows
 * every acknowledged event survives SIGKILL (not `synchronous_commit=off`: the log would stay in memory).
 */
const SETTINGS = [
  "shared_buffers=4MB", // instead of 128 MB: the system caches files too, and this stays resident
  "wal_buffers=256kB", // there is one writer, who waits for what it wrote
  "work_mem=1MB", // nothing is sorted that is larger
  "maintenance_work_mem=4MB", // for VACUUM
  "max_connections=1", // PGlite has one session
  "max_wal_size=64MB", // what a checkpoint leaves of the log: a few segments of 16 MB
  "wal_level=minimal", // nobody replicates it
  "max_wal_senders=0", // as wal_level=minimal demands
  "full_page_writes=off", // pages are torn by power loss only, which costs the cache and no event
  "enable_seqscan=off", // there is no ANALYZE, and plans made for an empty table are kept: half the throughput
  "jit=off", // there is no compiler in WebAssembly
  `search_path=${SCHEMA}`,
];

/**
 * How V8 is to compile WebAssembly, of which only this file has much: each function when it is first called, and not
 * again. To optimise Postgres takes 500 MB for a while and more CPU than it saves in thousands of events.
 */
const COMPILING = [
  "--wasm-lazy-compilation",
  "--liftoff-only",
  "--no-wasm-tier-up",
  "--no-wasm-dynamic-tiering",
];

/**
 * Opens the database in `dir`, or makes it there when the directory is missing or empty, which takes some
 * seconds and a gigabyte for a moment. Rejects with PGlite's error when the directory cannot be used.
 */
export async function openPostgresIn(dir: string): Promise<PGlite> {
  for (const flag of COMPILING) setFlagsFromString(flag);
  const startParams = [...PGlite.defaultStartParams, ...SETTINGS.flatMap((setting) => ["-c", setting])];
  const db = await PGlite.create({ dataDir: dir, startParams });
  try {
    await runMigrations({ query: (text, params) => query(db, text, params) }, SCHEMA);
    // Ciphertext does not become smaller; trying takes half of the time that adding 25 MiB takes.
    await db.exec("ALTER TABLE job ALTER data SET STORAGE EXTERNAL");
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}

/**
 * The database as a pool. There is one session, so every "connection" is the same one and statements run one
 * after the other; nobody may open a transaction over several statements, nor LISTEN (BullMQ does so only to
 * migrate and to block, and here it does neither). `end` closes the database.
 */
export function asPool(database: Database): PgPool {
  const run = <R>(text: string, params?: readonly unknown[]) =>
    database.run((db) => query<R>(db, text, params));
  const client: PgPoolClient = {
    query: run,
    on: () => client,
    removeListener: () => client,
    removeAllListeners: () => client,
    release: () => {},
  };
  const pool: PgPool = {
    query: run,
    connect: async () => client,
    end: () => database.close(),
    on: () => pool,
    removeAllListeners: () => pool,
  };
  return pool;
}

/** Without parameters the text may hold several statements, as with `pg`. */
async function query<R>(db: PGlite, text: string, params?: readonly unknown[]): Promise<PgQueryResult<R>> {
  if (params === undefined || params.length === 0) {
    const results = await db.exec(text);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller knows its columns, as with `pg`
    return { rows: (results.at(-1)?.rows ?? []) as R[] };
  }
  const { rows } = await db.query<R>(text, [...params]);
  return { rows };
}
