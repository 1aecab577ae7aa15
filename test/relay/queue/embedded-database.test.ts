import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PGlite } from "@electric-sql/pglite";
import { expect, it, onTestFinished } from "vitest";
import { keepOpen } from "../../../relay/queue/embedded-database.ts";
import { openPostgresIn } from "../../../relay/queue/embedded-postgres.ts";
import { until } from "../../helpers/until.ts";

const hang = () => new Promise<never>(() => {});
const one = async (db: PGlite) => (await db.query<{ one: number }>("SELECT 1 AS one")).rows;

async function open() {
  const folder = mkdtempSync(join(tmpdir(), "onionhook-database-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  let opened = 0;
  const reopen = () => {
    opened += 1;
    return openPostgresIn(folder);
  };
  const disk = { hasRoom: true };
  const database = keepOpen(await reopen(), reopen, async () => disk.hasRoom, 3000);
  onTestFinished(() => database.close());
  return { database, disk, opened: () => opened };
}

it("a database that gives no answer is opened anew, and has what it acknowledged", async () => {
  const { database, opened } = await open();
  await database.run((db) => db.exec("CREATE TABLE kept (one int); INSERT INTO kept VALUES (1)"));
  await expect(database.run(hang)).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE", retryable: true });
  await until(async () => expect(await database.run(one)).toEqual([{ one: 1 }]));
  expect(opened()).toBe(2);
  expect(await database.run((db) => db.query("SELECT * FROM kept"))).toMatchObject({ rows: [{ one: 1 }] });
});

it("so is one whose disk was full, and another error is only passed on", async () => {
  const { database, disk, opened } = await open();
  await expect(database.run((db) => db.query("SELECT nothing"))).rejects.toMatchObject({ code: "42703" });
  expect(opened()).toBe(1);
  const full = Object.assign(new Error("could not extend file"), { code: "53100" });
  disk.hasRoom = false;
  const failing = database.run(() => Promise.reject(full));
  // On its way already: it is not to reach the instance that failed.
  const behind = expect(database.run(one)).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE" });
  await expect(failing).rejects.toBe(full);
  await behind;
  await sleep(2500);
  expect(opened(), "not while there is no room").toBe(1);
  disk.hasRoom = true;
  await until(async () => expect(await database.run(one)).toEqual([{ one: 1 }]));
  expect(opened()).toBe(2);
});
