/**
 * `node relay/queue/embedded-postgres-prepare.ts`: makes `embedded-postgres.zst` anew, an empty database with BullMQ's
 * schema. To be run after a new version of PGlite or BullMQ; `test/relay/queue/embedded.test.ts` tells when.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PREPARED, openPostgresIn } from "./embedded-postgres.ts";
import { packFolder } from "./prepared-folder.ts";

const folder = mkdtempSync(join(tmpdir(), "onionhook-prepare-"));
const db = await openPostgresIn(folder);
await db.exec("CHECKPOINT");
await db.close();
writeFileSync(PREPARED, packFolder(folder));
rmSync(folder, { recursive: true });
