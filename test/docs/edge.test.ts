import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CHUNK_BYTES, CLOSE, HEARTBEAT_MS, MAX_WINDOW } from "../../shared/drain.ts";
import { MAX_BODY_BYTES } from "../../shared/webhook-body.ts";
import { Refusal, type RefusalCode } from "../../worker/refusal.ts";

const CODE = /\bERR_[A-Z_]+\b/g;

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const codesIn = (text: string) => new Set(text.match(CODE) ?? []);

const doc = read("docs/edge.md");

/** The rows of the table under a heading, without its head; cells without backticks. */
function rows(heading: string): string[][] {
  const section = doc.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) =>
    line
      .slice(2, -2)
      .split(" | ")
      .map((cell) => cell.replaceAll("`", "")),
  );
}

/** The table itself is not exported; its keys stand at the start of their lines. */
const refusalCodes = [...read("worker/refusal.ts").matchAll(/^ {2}(ERR_[A-Z_]+): \[/gm)].map(
  ([, code = ""]) => code as RefusalCode,
);

/** All of the edge, but for reconciliation, whose codes stand in docs/reconciliation.md. */
const edgeSource = readdirSync(new URL("../../worker/", import.meta.url), {
  recursive: true,
  encoding: "utf8",
})
  .filter((name) => name.endsWith(".ts") && !name.startsWith("reconcile/"))
  .map((name) => read(`worker/${name}`))
  .join("\n");

/** What opening a receipt may throw, which the edge hands on to the relay. */
const receiptSource = ["receipt", "cryptobox"].map((name) => read(`shared/${name}.ts`)).join("\n");

describe("docs/edge.md, Refusals", () => {
  it("has every refusal with its status, its meaning and a remedy, and no other", () => {
    expect(refusalCodes.length).toBeGreaterThan(10);
    const listed = rows("Refusals").map(([code, status]) => [code, Number(status)]);
    expect(listed).toEqual(refusalCodes.map((code) => [code, new Refusal(code).status]));
    for (const [, , meaning, remedy] of rows("Refusals")) expect([meaning, remedy]).not.toContain("");
  });
});

describe("docs/edge.md, Refused receipts", () => {
  it("has every code that a frame `refused` may have", () => {
    const finish = read("worker/drain/surroundings.ts");
    const check = read("worker/drain/receipt-check.ts");
    const sent = new Set([...codesIn(finish), ...codesIn(check), ...codesIn(receiptSource)]);
    expect(sent.size).toBeGreaterThan(3);
    expect(new Set(rows("Refused receipts").map(([code]) => code))).toEqual(sent);
  });
});

describe("docs/edge.md", () => {
  it("has every code of the edge, and none that the edge has not", () => {
    const known = codesIn(
      `${edgeSource}\n${receiptSource}\n${read("shared/drain.ts")}\n${read("shared/errors.ts")}`,
    );
    expect([...codesIn(edgeSource)].filter((code) => !codesIn(doc).has(code))).toEqual([]);
    expect([...codesIn(doc)].filter((code) => !known.has(code))).toEqual([]);
  });

  it("has every close code of the drain", () => {
    const listed = rows("Close codes").map(([code]) => Number(code));
    const [, failed] = /const INTERNAL_ERROR = (\d+);/.exec(edgeSource) ?? [];
    expect(listed).toEqual([...Object.values(CLOSE), Number(failed)].toSorted((a, b) => a - b));
  });

  it("has the limits that are in the code", () => {
    const limits = rows("Limits").map((cells) => cells.join(" "));
    const has = (what: string, number: string) =>
      expect(
        limits.some((row) => row.includes(what) && row.includes(number)),
        what,
      ).toBe(true);
    const constant = (name: string) => {
      const [, text = ""] = new RegExp(`const ${name} = ([\\d_* ]+);`).exec(edgeSource) ?? [];
      const product = text.split("*").reduce((all, factor) => all * Number(factor.replaceAll("_", "")), 1);
      if (text === "") throw new Error(`no ${name}`);
      return product;
    };
    const MIB = 1024 * 1024;
    has("MAX_HELD_BYTES", `${constant("MAX_HELD_BYTES") / MIB} MiB`);
    has("BODY_MS", `${constant("BODY_MS") / 1000} s`);
    has("LARGE_BYTES", `${constant("LARGE_BYTES") / MIB} MiB`);
    has("MAX_UNPROVEN", constant("MAX_UNPROVEN").toLocaleString("en-US"));
    has("PROVE_MS", `${constant("PROVE_MS") / 1000} s`);
    has("MAX_UNSTORED_BYTES", `${constant("MAX_UNSTORED_BYTES") / MIB} MiB`);
    has("MAX_REPLAYS", String(constant("MAX_REPLAYS")));
    has("PURGE_BATCH", String(constant("PURGE_BATCH")));
    has("PURGE_PAUSE_MS", `${constant("PURGE_PAUSE_MS") / 3_600_000} hour`);
    has("MAX_TROUBLES", String(constant("MAX_TROUBLES")));
    has("MAX_REDELIVERIES", String(constant("MAX_REDELIVERIES")));
    has("MAX_REDELIVERED_EVENTS", String(constant("MAX_REDELIVERED_EVENTS")));
    has("MAX_REDELIVERED_BYTES", `${constant("MAX_REDELIVERED_BYTES") / MIB} MiB`);
    has("CANARY_PAUSE_MS", `${constant("CANARY_PAUSE_MS") / 1000} s`);
    has("MAX_STREAMS", String(constant("MAX_STREAMS")));
    has("MAX_SOURCES", String(constant("MAX_SOURCES")));
    has("MAX_BODY_BYTES", `${MAX_BODY_BYTES / MIB} MiB`);
    expect(edgeSource).toContain("const LEASE_MS = 4 * HEARTBEAT_MS + 10_000;");
    has("LEASE_MS", `${(4 * HEARTBEAT_MS + 10_000) / 1000} s`);
    has("MAX_WINDOW", String(MAX_WINDOW));
    has("CHUNK_BYTES", `${CHUNK_BYTES / MIB} MiB`);
  });
});
