/**
 * Keeps two processes from using one folder: Node has no `flock`, so a file names the holder.
 *
 * A holder that was killed is noticed: its process id is free, or belongs to a process that began at
 * another time. Accepted race: of two processes that find the same stale file within the same few
 * milliseconds both may go on; folders are handed out by one supervisor, seconds apart.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, OnionhookError } from "../errors.ts";
import { isAlive, processStart } from "./process-start.ts";
import { writeWhole } from "./whole-file.ts";

/**
 * Makes `folder` ours; returns how to give it up.
 * @throws OnionhookError with `code` when a living process has it.
 */
export function lockFolder(folder: string, code: `ERR_${string}`): () => void {
  const file = join(folder, "lock");
  const ours = `${process.pid} ${processStart(process.pid) ?? ""}`;
  for (;;) {
    try {
      writeWhole(file, ours);
      return () => {
        if (content(file) === ours) rmSync(file, { force: true });
      };
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
    }
    const holder = livingHolder(file);
    if (holder !== undefined) {
      throw new OnionhookError(code, `process ${holder} uses the folder ${folder}`, {
        hint: `stop process ${holder}, or give this one a folder of its own`,
      });
    }
    rmSync(file, { force: true });
  }
}

function livingHolder(file: string): number | undefined {
  const [pid, started] = content(file).split(" ");
  const holder = Number(pid);
  return holder > 0 && isAlive(holder) && (processStart(holder) ?? "") === started ? holder : undefined;
}

function content(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
