/** The short form of `npm run chaos`, with the same schedule each time: that one looks for what a new one finds. */
import { expect, it } from "vitest";
import { describeWith } from "../helpers/peers.ts";
import { runChaos } from "./run.ts";
import { queueOf } from "./schedule.ts";

const SEED = 14;
const DELIVERIES = 300;

describeWith("tor", "the pipeline under faults", () => {
  describeWith("redis", "with its queue embedded or in Redis", () => {
    it("loses nothing, builds nothing twice, invents nothing, and keeps the order of a ref", async () => {
      const lines = [`node test/chaos/main.ts --seed ${SEED} --deliveries ${DELIVERIES}`];
      const { violations, stuck } = await runChaos({
        seed: SEED,
        deliveries: DELIVERIES,
        tor: true,
        queue: queueOf(SEED),
        say: (line) => void lines.push(line),
        signal: new AbortController().signal,
      });
      expect({ violations, stuck }, lines.join("\n")).toEqual({ violations: [], stuck: undefined });
    }, 900_000);
  });
});
