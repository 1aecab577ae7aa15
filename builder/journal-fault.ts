import { describeError, errnoCode, OnionhookError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";

/** Says that the journal's disk fails, once for each time that it does. */
export interface JournalFault {
  failed(cause: unknown): void;
  works(): void;
}

/** `consequence`: what does not happen meanwhile. */
export function makeJournalFault(consequence: string, report: Report): JournalFault {
  let told = false;
  return {
    failed(cause) {
      if (told) return;
      told = true;
      report("error", describeError(journalError(consequence, cause)));
    },
    works() {
      told = false;
    },
  };
}

/** Whether it may be over without a restart: the disk is full or failing, or somebody else locks the journal. */
export function isJournalFault(error: unknown): boolean {
  return sqliteCode(error) !== undefined || FULL.has(errnoCode(error) ?? "");
}

/** `ERR_JOURNAL`, with what to do. `consequence`: what does not happen. */
export function journalError(consequence: string, cause: unknown): OnionhookError {
  const code = sqliteCode(cause);
  if (code === SQLITE_FULL || FULL.has(errnoCode(cause) ?? ""))
    return new OnionhookError("ERR_JOURNAL", `the disk of the journal is full: ${consequence}`, {
      hint: "make room in the builder's data folder; it goes on by itself",
      cause,
    });
  const why = code === SQLITE_BUSY ? "is locked by another program" : "cannot be written";
  return new OnionhookError("ERR_JOURNAL", `the journal ${why}: ${consequence}`, {
    hint: "check journal.sqlite in the builder's data folder, its disk, and that only one builder uses it",
    cause,
  });
}

const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);
/** https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/** The primary result code of an error of node:sqlite. */
function sqliteCode(error: unknown): number | undefined {
  if (errnoCode(error) !== "ERR_SQLITE_ERROR" || !(error instanceof Error)) return undefined;
  return "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
}
