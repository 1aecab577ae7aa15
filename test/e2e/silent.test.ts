/** Peers that are connected and say nothing: each is noticed within the bound that docs/delivery.md states. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dataFolder, type Dev, startDev } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";

const BOUND_MS = 30_000;

interface Line {
  event: string;
  at: number;
  [field: string]: unknown;
}

describe("a part that is stopped, and keeps its sockets open", () => {
  const data = dataFolder();
  let dev: Dev;

  beforeAll(async () => {
    dev = startDev(["--no-tor", "--no-sample", "--port", "0", "--data-dir", data.path]);
    await dev.ready();
  });

  afterAll(async () => {
    await dev.stop();
    data.remove();
  });

  const said = (by: string): Line[] =>
    readFileSync(join(data.path, "logs", `${by}.log`), "utf8")
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Line);

  /** Stops the part until all of `by` say so, then lets it go on until they say that it is back. */
  const stopped = async (
    part: string,
    by: readonly string[],
    noticed: (line: Line) => boolean,
    back: (line: Line) => boolean,
  ) => {
    const stoppedAt = Date.now();
    const after = (wanted: (line: Line) => boolean, since: number) => {
      const lines = by.map((one) => said(one).find((line) => line.at >= since && wanted(line)));
      return lines.every((line) => line !== undefined) ? lines : undefined;
    };
    process.kill(dev.pidOf(part), "SIGSTOP");
    try {
      await eventually(`${part} is missed`, () => after(noticed, stoppedAt) !== undefined, BOUND_MS + 10_000);
    } finally {
      process.kill(dev.pidOf(part), "SIGCONT");
    }
    const missedAt = Math.max(...(after(noticed, stoppedAt) ?? []).map(({ at }) => at));
    expect(missedAt - stoppedAt, part).toBeLessThan(BOUND_MS);
    await eventually(`${part} is back`, () => after(back, missedAt) !== undefined, 60_000);
  };

  it("edge, router and builder are each missed within 30 s", async () => {
    await Promise.all([
      stopped(
        "worker",
        ["relay"],
        ({ event, from }) => event === "disconnected" && from === "edge",
        ({ event, to }) => event === "connected" && to === "edge",
      ),
      stopped(
        "builder",
        ["relay"],
        ({ event, builders }) => event === "audience" && builders === 0,
        ({ event, builders }) => event === "audience" && builders === 1,
      ),
    ]);
    await stopped(
      "router",
      ["relay", "builder"],
      ({ event, from }) => event === "disconnected" && from === "router",
      ({ event, to }) => event === "connected" && to === "router",
    );
  }, 240_000);
});
