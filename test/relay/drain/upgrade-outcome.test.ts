import { describe, expect, it } from "vitest";
import { CIRCUIT_ERRORS, upgradeError } from "../../../relay/drain/upgrade-outcome.ts";

const WORD = "UNREPEATABLE";
const html = (text: string) =>
  `<!DOCTYPE html><html><head><title>${WORD}</title></head><body>${text}</body></html>`;
const own = (code: string) => JSON.stringify({ error: { code, message: WORD, hint: WORD } });
const challenge = { "cf-mitigated": "challenge", "content-type": "text/html; charset=UTF-8" };

describe("what the front door answers", () => {
  it.each<{ status: number; headers?: Record<string, string>; body?: string; code: string; again: string }>([
    {
      status: 403,
      headers: challenge,
      body: html("Just a moment"),
      code: "ERR_EDGE_CHALLENGED",
      again: "circuit",
    },
    { status: 429, headers: challenge, code: "ERR_EDGE_CHALLENGED", again: "circuit" },
    { status: 503, headers: challenge, code: "ERR_EDGE_CHALLENGED", again: "circuit" },
    { status: 403, headers: { "cf-mitigated": "block" }, code: "ERR_EDGE_BLOCKED", again: "slowly" },
    { status: 403, body: "error code: 1020", code: "ERR_EDGE_BLOCKED", again: "slowly" },
    { status: 403, body: '{"error_code": 1020}', code: "ERR_EDGE_BLOCKED", again: "slowly" },
    {
      status: 403,
      body: html('<span class="cf-error-code">1020</span>'),
      code: "ERR_EDGE_BLOCKED",
      again: "slowly",
    },
    ...[1005, 1006, 1007, 1008, 1009, 1010, 1012, 1106].map((number) => ({
      status: 403,
      body: html(`Error ${number}`),
      code: "ERR_EDGE_BLOCKED",
      again: "slowly",
    })),
    { status: 403, body: html("Sorry, you have been blocked"), code: "ERR_EDGE_BLOCKED", again: "slowly" },
    { status: 403, body: own("ERR_RELAY"), code: "ERR_EDGE_REFUSED", again: "slowly" },
    { status: 401, body: own("ERR_RELAY"), code: "ERR_EDGE_REFUSED", again: "slowly" },
    { status: 401, body: html("Access"), code: "ERR_EDGE_REFUSED", again: "slowly" },
    { status: 404, body: own("ERR_NOT_FOUND"), code: "ERR_EDGE_NOT_FOUND", again: "slowly" },
    { status: 404, body: html("nothing"), code: "ERR_EDGE_NOT_FOUND", again: "slowly" },
    { status: 426, body: own("ERR_UPGRADE"), code: "ERR_EDGE_NO_UPGRADE", again: "slowly" },
    { status: 429, body: own("ERR_RATE"), code: "ERR_EDGE_RATE_LIMITED", again: "circuit" },
    { status: 429, body: "error code: 1015", code: "ERR_EDGE_RATE_LIMITED", again: "circuit" },
    { status: 403, body: "error code: 1015", code: "ERR_EDGE_RATE_LIMITED", again: "circuit" },
    { status: 429, body: "error code: 1027", code: "ERR_EDGE_QUOTA", again: "slowly" },
    { status: 503, body: own("ERR_CONFIG"), code: "ERR_EDGE_FAILED", again: "soon" },
    { status: 500, body: html("Error 1101"), code: "ERR_EDGE_FAILED", again: "soon" },
    { status: 502, code: "ERR_EDGE_FAILED", again: "soon" },
    { status: 520, code: "ERR_EDGE_DOWN", again: "soon" },
    { status: 526, code: "ERR_EDGE_DOWN", again: "soon" },
    { status: 530, body: "error code: 1016", code: "ERR_EDGE_DOWN", again: "soon" },
    { status: 200, body: html("hello"), code: "ERR_EDGE_ANSWER", again: "slowly" },
    { status: 301, headers: { location: `https://${WORD}/` }, code: "ERR_EDGE_ANSWER", again: "slowly" },
    { status: 0, code: "ERR_EDGE_ANSWER", again: "slowly" },
  ])("$status, $body: $code, again $again", ({ status, headers = {}, body = "", code, again }) => {
    const error = upgradeError({ status, headers, body });
    expect(error).toMatchObject({ code, retryable: again !== "slowly" });
    expect(CIRCUIT_ERRORS.has(code)).toBe(again === "circuit");
    expect(error.hint).toMatch(/^\S.{20,}/);
    expect(`${error.message} ${error.hint}`).not.toContain(WORD);
  });

  it("is repeated by its code, when it has the form of one, and by nothing else", () => {
    const message = (status: number, body: string) => upgradeError({ status, headers: {}, body }).message;
    expect(message(404, own("ERR_NOT_FOUND"))).toContain("404 (ERR_NOT_FOUND)");
    expect(message(403, "error code: 1020")).toContain("403 (Cloudflare's error 1020)");
    expect(message(404, own("err_not_found"))).toContain("answered 404:");
    expect(message(404, own(`ERR_${"A".repeat(51)}`))).toContain("answered 404:");
    expect(message(404, own("ERR_A\\n"))).toContain("answered 404:");
  });

  it("names the rules as the remedy where they are one", () => {
    const hint = (status: number, headers: Record<string, string>) =>
      upgradeError({ status, headers, body: "" }).hint;
    expect(hint(403, challenge)).toContain("deploy/cloudflare");
    expect(hint(403, challenge)).toContain("Bot Fight Mode");
    expect(hint(403, {})).toContain("deploy/cloudflare");
  });
});
