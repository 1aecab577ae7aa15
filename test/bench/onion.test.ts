import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { describeWith, ROOT } from "../helpers/peers.ts";

const FIGURES = /p50 +([\d.]+) +p95 +([\d.]+) +p99 +[\d.]+ ms$/;

describeWith("tor", "bench/onion.ts", () => {
  it("has figures of TCP, WAMP and the pipeline over one network, their ratios, connections and recoveries", async () => {
    const argv = [join(ROOT, "bench/onion.ts"), "--rounds", "3", "--kills", "1"];
    const { stdout } = await promisify(execFile)(process.execPath, argv);
    const lines = stdout.split("\n");
    const found = (start: string) => lines.find((line) => line.trim().startsWith(start)) ?? "";
    for (const what of [
      "bare TCP",
      "bare WAMP:",
      "pipeline: POST → opened",
      "connect: the first",
      "connect: a later one, the same circuit",
      "connect: a later one, another circuit",
    ]) {
      const [, p50, p95] = FIGURES.exec(found(what)) ?? [];
      expect(Number(p50), what).toBeGreaterThan(0);
      expect(Number(p95), what).toBeGreaterThanOrEqual(Number(p50));
    }
    const kills = lines.filter((line) => /^ +killed .* opened, s +\d+\.\d$/.test(line));
    expect(kills).toHaveLength(4);
    expect(found("pipeline ÷ bare WAMP")).toMatch(/ \d+\.\d\d +\(goal ≤ 1\.25\)$/);
  }, 600_000);
});
