/** deploy/cloudflare: what the rules let through is the drain of docs/protocol.md, and nothing else. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const read = (name: string) =>
  readFileSync(new URL(`../../../deploy/cloudflare/${name}`, import.meta.url), "utf8");
const readme = read("README.md");

it("lets Tor past at the drain of one host, and never past the rate limit", () => {
  const rule = JSON.parse(read("tor-rule.json")) as Record<string, unknown>;
  expect(rule).toMatchObject({
    action: "skip",
    expression:
      '(ip.src.country eq "T1" and http.host eq "DRAIN_HOST" and http.request.uri.path eq "/drain")',
    position: { index: 1 },
  });
  expect(JSON.stringify(rule.action_parameters)).not.toMatch(/ratelimit/i);
});

it("limits what anybody may ask of the edge, within what the free plan takes", () => {
  expect(JSON.parse(read("rate-rule.json"))).toMatchObject({
    action: "block",
    ratelimit: { characteristics: ["cf.colo.id", "ip.src"], period: 10, mitigation_timeout: 10 },
  });
});

it("has no placeholder that the README does not fill in, and fills in none that is not there", () => {
  const placeholders = (text: string) => new Set(text.match(/\b[A-Z]+_HOST\b/g));
  expect(placeholders(read("tor-rule.json"))).toEqual(new Set(["DRAIN_HOST"]));
  expect(placeholders(read("rate-rule.json"))).toEqual(new Set());
  expect(placeholders(readme)).toEqual(new Set(["DRAIN_HOST"]));
  expect(readme).not.toMatch(/Bearer (?!TOKEN)/);
});

it("is named, with each code, where the relay's errors are explained", () => {
  const source = readFileSync(new URL("../../../relay/drain/upgrade-outcome.ts", import.meta.url), "utf8");
  const codes = [...source.matchAll(/code: "(ERR_EDGE_[A-Z_]+)"/g)].map(([, code]) => code ?? "");
  expect(codes.length).toBeGreaterThan(8);
  expect(codes.filter((code) => !readme.includes(`\`${code}\``))).toEqual(["ERR_EDGE_ANSWER"]);
});
