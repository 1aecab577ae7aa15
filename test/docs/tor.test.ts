import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { SOCKS_CODES, socksError } from "../../shared/tor/socks-reply.ts";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

const doc = read("docs/tor.md");

/** The rows of the tables under a heading, cell by cell, without backticks. */
function rows(heading: string): string[][] {
  const section = doc.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("|---"));
  return lines.map((line) =>
    line
      .slice(2, -2)
      .split(" | ")
      .map((cell) => cell.replaceAll("`", "")),
  );
}

const sourceOf = (...files: string[]) => files.map((file) => read(`shared/${file}.ts`)).join("\n");
/** Codes of errors that are made there. */
const madeIn = (source: string) =>
  new Set([...source.matchAll(/^[^*\n]*"(ERR_[A-Z_]*[A-Z])"/gm)].map(([, code]) => code));

describe("docs/tor.md", () => {
  it("has every reply of Tor's SocksPort as the source has it, and no other", () => {
    const documented = rows("Errors of a dial").filter(([reply = ""]) => /^[0-9A-F]{2}$/.test(reply));
    const known = SOCKS_CODES.map((code) => {
      const { code: name, message, hint, retryable } = socksError(code, "PEER");
      return [
        code.toString(16).padStart(2, "0").toUpperCase(),
        name,
        message,
        hint,
        retryable ? "yes" : "no",
      ];
    });
    expect(documented).toEqual(known);
  });

  it.each([
    [
      "Errors of a dial",
      sourceOf("tor/socks", "tor/local-socket", "tor/bootstrap", "host/websocket", "host/websocket-url"),
      // Ended by ourselves.
      ["ERR_STOPPED"],
    ],
    [
      "Errors of the control port",
      sourceOf("tor/control", "tor/control-auth", "tor/control-reply", "tor/add-onion", "tor/onion-service"),
      // In docs/onion.md; and what ends with us.
      ["ERR_TOR_ONION_OPEN", "ERR_TOR_ONION_TARGET", "ERR_TOR_POW", "ERR_TOR_ONION_CLOSED"],
    ],
  ])(
    "has every other error under %s, with the remedy that the error itself gives",
    (heading, source, silent) => {
      const documented = rows(heading).filter(([code = ""]) => code.startsWith("ERR_"));
      const codes = new Set([...documented.map(([code]) => code), ...silent]);
      expect(codes).toEqual(madeIn(source));
      const text = source.replaceAll('\\"', '"').replaceAll("'", '"');
      for (const [code, , remedy = ""] of documented)
        expect(text, code).toContain(remedy.replaceAll("'", '"'));
    },
  );

  it("names only files that there are", () => {
    const named = [...doc.matchAll(/[`(](?:\.\.\/)?((?:test|deploy)\/[\w/.-]+\.\w+)[`)]/g)].map(
      ([, path = ""]) => path,
    );
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });
});
