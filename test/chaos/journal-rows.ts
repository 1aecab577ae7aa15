/** What the builder keeps, as the ledger reads it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { KeptBuild, KeptEvent } from "./ledger.ts";

/** Says what it was given: `env -S` puts the variable in, without a shell. */
export const BUILD_COMMAND = ["/usr/bin/env", "-S", "/usr/bin/sha256sum ${ONIONHOOK_PAYLOAD}"];

/** @param folder the builder's data folder. */
export function readJournal(folder: string): { kept: KeptEvent[]; builds: KeptBuild[] } {
  const journal = new DatabaseSync(join(folder, "journal.sqlite"), { readOnly: true });
  try {
    const kept = journal.prepare("SELECT tag, stream, seq, delivery FROM events").all();
    const builds = journal.prepare("SELECT id, tag, exit FROM builds ORDER BY id").all();
    return {
      kept: kept.map((row) => ({
        tag: String(row["tag"]),
        stream: String(row["stream"]),
        seq: Number(row["seq"]),
        delivery: String(row["delivery"]),
      })),
      builds: builds.map((row) => ({
        id: Number(row["id"]),
        tag: String(row["tag"]),
        exit: row["exit"] === null ? null : String(row["exit"]),
        printed: printedBy(join(folder, "builds", `${String(row["id"])}.log`)),
      })),
    };
  } finally {
    journal.close();
  }
}

function printedBy(log: string): string[] {
  return [...readText(log).matchAll(/^([0-9a-f]{64}) /gm)].map(([, hash = ""]) => hash);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
