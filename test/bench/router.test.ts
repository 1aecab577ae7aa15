import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { describeWith, ROOT } from "../helpers/peers.ts";

const FIGURES = /([\d.]+) events\/s +p50 +([\d.]+) +p99 +([\d.]+) ms$/;

describeWith("crossbar", "bench/router.ts", () => {
  it("has figures of both routers, and their ratio, for every serializer, audience and crowd", async () => {
    const argv = [join(ROOT, "bench/router.ts"), "--rounds", "1", "--events", "10"];
    const { stdout } = await promisify(execFile)(process.execPath, argv);
    const lines = stdout.split("\n");
    const found = (start: string) => lines.find((line) => line.trim().startsWith(start)) ?? "";
    for (const serializer of ["msgpack", "cbor", "json"]) {
      for (const audience of ["1 subscriber", "10 subscribers"]) {
        for (const inFlight of [1, 20]) {
          const what = `${serializer}, ${audience}, ${inFlight} in flight`;
          for (const router of ["ours", "Crossbar.io"]) {
            const [, perSecond, p50, p99] = FIGURES.exec(found(`${what}: ${router} `)) ?? [];
            expect(Number(perSecond), what).toBeGreaterThan(0);
            expect(Number(p50), what).toBeGreaterThan(0);
            expect(Number(p99), what).toBeGreaterThanOrEqual(Number(p50));
          }
          expect(found(`${what}: ours ÷ Crossbar.io`)).toMatch(/ \d+\.\d\d +\(goal ≥ 1\)$/);
        }
      }
    }
    for (const router of ["ours", "Crossbar.io"]) {
      expect(found(`${router}: resident memory`)).toMatch(/ [1-9]\d*, [1-9]\d*$/);
    }
  }, 300_000);
});
