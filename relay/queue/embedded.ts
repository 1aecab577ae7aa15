/**
 * The queue's store inside this process. It is a cache of the edge's outbox, which holds every event until
 * it is done: a directory that cannot be opened (half-written, another major version) is thrown away and
 * made anew, and the events come again.
 *
 * Measured on two cores that others used too: opened with .65 s of CPU, also the first time; 165 MB resident when
 * opened, 230 MB at most through hundreds of events of 8 KB. (With V8's optimising compiler for WebAssembly: 1 s, and
 * 300 to 780 MB.)
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createPostgresBackend } from "bullmq";
import type { PGlite } from "@electric-sql/pglite";
import { OnionhookError } from "../../shared/errors.ts";
import { lockFolder } from "../../shared/host/folder-lock.ts";
import type { Report } from "../../shared/report.ts";
import { type Database, keepOpen } from "./embedded-database.ts";
import { PREPARED, asPool, openPostgresIn } from "./embedded-postgres.ts";
import { unpackFolder } from "./prepared-folder.ts";
import { hasRoom, makeDiskReserve } from "./disk-reserve.ts";
import { makePostgresJobs } from "./postgres-jobs.ts";
import {
  POSTGRES_JOB_OPTIONS,
  QUEUE_NAME,
  backendOptions,
  type Ledger,
  type Reserve,
  type QueueStore,
} from "./store.ts";

/** Milliseconds: a lock that nobody can take, since the directory is ours alone. */
const LOCK_MS = 3_600_000;
/**
 * Bytes added between two tidyings. PGlite has neither autovacuum nor a checkpointer: a removed event leaves
 * its bytes in the table, and the write-ahead log grows without end. So the directory holds about twice this
 * beyond what waits, and 100 MB of Postgres itself.
 */
const TIDY_BYTES = 67_108_864;
/** Bytes that an event costs beyond its data, in rows, indexes and log, about. */
const EVENT_BYTES = 8192;

/**
 * Opens the store in `<dataDir>/queue`, mode 0700. Events that a dead process had in hand wait again, in
 * their place. Rejects with `ERR_QUEUE_LOCKED`, or with `ERR_QUEUE_STORE` when not even a new store can be
 * made. Reports `queue_rebuilt` when the old one was thrown away.
 */
export async function openEmbeddedStore(dataDir: string, report: Report): Promise<QueueStore> {
  const dir = join(dataDir, "queue");
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const unlock = lockFolder(dataDir, "ERR_QUEUE_LOCKED");
  try {
    const open = async () => {
      // On a full disk opening can hang, and this thread with it.
      if (!(await hasRoom(dataDir))) throw Object.assign(new Error("no room"), { code: "ENOSPC" });
      const db = await openOrRebuild(dir, report);
      await freeActive(db);
      return db;
    };
    const database = keepOpen(await open(), open, () => hasRoom(dataDir));
    const reserve = makeDiskReserve(dataDir, () => database.run(tidy));
    return makeStore(database, await makeLedger(database), reserve, unlock);
  } catch (cause) {
    unlock();
    throw new OnionhookError("ERR_QUEUE_STORE", "the embedded queue cannot be opened, nor made anew", {
      hint: "Check that the data directory can be written to and has 100 MB free.",
      cause,
    });
  }
}

function makeStore(database: Database, ledger: Ledger, reserve: Reserve, unlock: () => void): QueueStore {
  const pool = asPool(database);
  return {
    backend: createPostgresBackend(QUEUE_NAME, { connection: pool, ...backendOptions(LOCK_MS) }),
    jobs: makePostgresJobs(pool, LOCK_MS),
    lockMs: LOCK_MS,
    jobOptions: POSTGRES_JOB_OPTIONS,
    ledger,
    reserve,
    async close() {
      await database.close();
      unlock();
    },
  };
}

/** Knows which jobs there are, and frees the space of those that were removed. */
async function makeLedger(database: Database): Promise<Ledger> {
  const { rows } = await database.run((db) => db.query<{ id: string }>("SELECT id FROM job"));
  const ids = new Set(rows.map(({ id }) => id));
  let bytesAdded = 0;
  return {
    mayHold: (id) => ids.has(id),
    added(id, bytes) {
      ids.add(id);
      bytesAdded += bytes + EVENT_BYTES;
    },
    removed(id) {
      ids.delete(id);
      if (bytesAdded < TIDY_BYTES) return;
      bytesAdded = 0;
      void database.run(tidy).catch(() => {});
    },
  };
}

async function openOrRebuild(dir: string, report: Report): Promise<PGlite> {
  if (existsSync(dir)) {
    const db = await openExisting(dir);
    if (db !== undefined) return db;
    rmSync(dir, { recursive: true, force: true });
    report("queue_rebuilt", {});
  }
  return (await openPrepared(dir)) ?? make(dir);
}

/** `undefined` when the directory cannot be opened, whatever is wrong with it. */
async function openExisting(dir: string): Promise<PGlite | undefined> {
  // Where there is no database, PGlite would make one, in this process.
  if (!existsSync(join(dir, "PG_VERSION"))) return undefined;
  return openPostgresIn(dir).catch(() => undefined);
}

/** `undefined` when what is prepared does not suit the PGlite that is installed. */
async function openPrepared(dir: string): Promise<PGlite | undefined> {
  const unfinished = besidePlace(dir);
  unpackFolder(readFileSync(PREPARED), unfinished);
  renameSync(unfinished, dir);
  const db = await openExisting(dir);
  if (db === undefined) rmSync(dir, { recursive: true, force: true });
  return db;
}

/** An empty folder, which is moved to its place whole, so that a kill leaves nothing half-made. */
function besidePlace(dir: string): string {
  const prefix = `${dir}.new-`;
  for (const name of readdirSync(dirname(dir))) {
    if (name.startsWith(basename(prefix))) rmSync(join(dirname(dir), name), { recursive: true, force: true });
  }
  // A name of its own: the child of a killed relay may still be at work in another.
  return mkdtempSync(prefix);
}

async function make(dir: string): Promise<PGlite> {
  const unfinished = besidePlace(dir);
  const program = join(import.meta.dirname, "embedded-init.ts");
  // V8 without its optimising compiler for WebAssembly: as fast for so short a run, and half the memory.
  const child = spawn(process.execPath, ["--liftoff-only", program, unfinished], {
    stdio: "ignore",
    env: { ONIONHOOK_RUN: process.env["ONIONHOOK_RUN"] },
  });
  await once(child, "exit");
  if (child.exitCode !== 0) throw new Error("making the embedded database failed");
  renameSync(unfinished, dir);
  return openPostgresIn(dir);
}

/** What was in hand when the last process ended: nobody has it now, and nobody need wait for its lock. */
async function freeActive(db: PGlite): Promise<void> {
  await db.exec(
    "UPDATE job SET state = 'waiting', lock_token = NULL, locked_until_ms = NULL WHERE state = 'active'",
  );
  await tidy(db);
}

async function tidy(db: PGlite): Promise<void> {
  // One at a time: several in one text would be one transaction, which VACUUM refuses.
  await db.exec("VACUUM job");
  await db.exec("VACUUM event");
  await db.exec("CHECKPOINT");
}
