/** The short form of `npm run chaos`, with another seed each time. */
import { randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { describeWith } from "../helpers/peers.ts";
import { runChaos } from "./run.ts";
import { queueOf } from "./schedule.ts";

const DELIVERIES = 300;

describeWith("tor", "the pipeline under faults", () => {
  describeWith("redis", "with its queue embedded or in Redis", () => {
    it("loses nothing, builds nothing twice, invents nothing, and keeps the order of a ref", async () => {
      const seed = randomInt(2 ** 32);
      const lines = [`node test/chaos/main.ts --seed ${seed} --deliveries ${DELIVERIES}`];
      const { violations, stuck } = await runChaos({
        seed,
        deliveries: DELIVERIES,
        tor: true,
        queue: queueOf(seed),
        say: (line) => void lines.push(line),
        signal: new AbortController().signal,
      });
      expect({ violations, stuck }, lines.join("\n")).toEqual({ violations: [], stuck: undefined });
    }, 900_000);
  });
});
