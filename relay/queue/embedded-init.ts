/**
 * `node embedded-init.ts <dir>`: makes the embedded database in an empty directory and exits. A process
 * of its own, because making one takes a gigabyte that WebAssembly never gives back.
 */
import { openPostgresIn } from "./embedded-postgres.ts";

const dir = process.argv[2];
if (dir === undefined) throw new TypeError("expected a directory");
const db = await openPostgresIn(dir);
await db.close();
