/** The journal's part that knows which numbers of each stream came: `gaps.ts`, kept in SQLite. */
import type { DatabaseSync } from "node:sqlite";
import type { Gap, Numbering } from "./gaps.ts";

export interface Numberings {
  get(stream: string): Numbering | undefined;
  streams(): string[];
  /** Writes what is new, inside the caller's transaction; `get` has it only after {@link Numberings.committed}. */
  save(changed: ReadonlyMap<string, Numbering>): void;
  committed(changed: ReadonlyMap<string, Numbering>): void;
}

export function openNumberings(db: DatabaseSync): Numberings {
  const upsert = db.prepare(
    `INSERT INTO streams (stream, generation, first, newest, newest_at) VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (stream) DO UPDATE SET generation = ?2, first = ?3, newest = ?4, newest_at = ?5`,
  );
  const addGap = db.prepare("INSERT INTO gaps (stream, first, last, given_up) VALUES (?, ?, ?, ?)");
  const removeGap = db.prepare("DELETE FROM gaps WHERE stream = ? AND first = ?");
  const kept = readAll(db);

  function saveGaps(stream: string, before: readonly Gap[], after: readonly Gap[]): void {
    const [old, fresh] = [new Set(before), new Set(after)];
    for (const gap of before) if (!fresh.has(gap)) removeGap.run(stream, gap.from);
    for (const gap of after) if (!old.has(gap)) addGap.run(stream, gap.from, gap.to, gap.givenUp ? 1 : 0);
  }

  return {
    get: (stream) => kept.get(stream),
    streams: () => [...kept.keys()],
    save(changed) {
      for (const [stream, numbering] of changed) {
        const { generation, first, newest, newestAt, missing } = numbering;
        upsert.run(stream, generation, first, newest, newestAt);
        const before = kept.get(stream)?.missing ?? [];
        if (before !== missing) saveGaps(stream, before, missing);
      }
    },
    committed(changed) {
      for (const [stream, numbering] of changed) kept.set(stream, numbering);
    },
  };
}

function readAll(db: DatabaseSync): Map<string, Numbering> {
  const gapsOf = db.prepare("SELECT first, last, given_up FROM gaps WHERE stream = ? ORDER BY first");
  const rows = db.prepare("SELECT stream, generation, first, newest, newest_at FROM streams").all();
  return new Map(
    rows.map((row) => {
      const stream = String(row["stream"]);
      const missing = gapsOf.all(stream).map((gap) => ({
        from: Number(gap["first"]),
        to: Number(gap["last"]),
        givenUp: gap["given_up"] === 1,
      }));
      const numbering = {
        generation: Number(row["generation"]),
        first: Number(row["first"]),
        newest: Number(row["newest"]),
        newestAt: Number(row["newest_at"]),
        missing,
      };
      return [stream, numbering];
    }),
  );
}
