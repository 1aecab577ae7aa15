/** What the free plan bills of an object: rows written, each index entry and every `setAlarm` among them. */
import { vi } from "vitest";

/** Counts what runs from now on in every object of this storage's class; `vi.restoreAllMocks` ends it. */
export function meter(storage: DurableObjectStorage) {
  const exec = vi.spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "exec");
  const setAlarm = vi.spyOn(Object.getPrototypeOf(storage) as DurableObjectStorage, "setAlarm");
  // A cursor counts on while it is read, so that its figure is asked for at the end.
  const sum = (cost: "rowsWritten" | "rowsRead") =>
    exec.mock.results.reduce(
      (total, { type, value: cursor }) => (type === "return" ? total + cursor[cost] : total),
      0,
    );
  return {
    rowsWritten: () => sum("rowsWritten"),
    rowsRead: () => sum("rowsRead"),
    alarms: () => setAlarm.mock.calls.length,
  };
}
