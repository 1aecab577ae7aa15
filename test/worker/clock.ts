/** The time as the edge sees it: the real one and what a test lets pass; `vi.restoreAllMocks` ends it. */
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { vi } from "vitest";
import { STREAM } from "./parties.ts";
import { outbox } from "./stored.ts";

const realNow = Date.now;

export function letPass(ms: number): void {
  const ahead = Date.now() - realNow() + ms;
  vi.spyOn(Date, "now").mockImplementation(() => realNow() + ahead);
}

/** In how many milliseconds the outbox's alarm rings; undefined: it is not armed. */
export async function alarmIn(stream = STREAM): Promise<number | undefined> {
  const at = await runInDurableObject(outbox(stream), (_object, { storage }) => storage.getAlarm());
  return at === null ? undefined : at - Date.now();
}

/** Lets pass what is left until the alarm, and has it ring: how many milliseconds that were. */
export async function untilAlarm(stream = STREAM): Promise<number> {
  const ms = await alarmIn(stream);
  if (ms === undefined) throw new Error("no alarm is armed");
  letPass(Math.max(0, ms));
  await runDurableObjectAlarm(outbox(stream));
  return ms;
}

/** Has one alarm ring after the other, each in its time, until something is so. */
export async function ringUntil(isSo: () => Promise<boolean>): Promise<void> {
  for (let rung = 0; !(await isSo()); rung += 1) {
    if (rung === 20) throw new Error("twenty alarms, and it is not so");
    await untilAlarm();
  }
}
