import { visible } from "./visible.ts";

/** Rows of cells as lines, each column as wide as its widest cell. Nothing in a cell can break the line. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const plain = rows.map((row) => row.map((cell) => visible(cell.replaceAll(/\s+/gu, " "))));
  const widths: number[] = [];
  for (const row of plain)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  return plain.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
