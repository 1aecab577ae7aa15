/** The original's builder beside the router, on its unix socket. */
import { afterAll, describe } from "vitest";
import { describeWith } from "../helpers/peers.ts";
import type { RouterKind } from "../helpers/rig-router.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import { describeOriginal, PARTIES } from "./original.contract.ts";

const ROUTERS: readonly { title: string; kind: RouterKind }[] = [
  { title: "our router", kind: "ours" },
  { title: "Crossbar.io", kind: "crossbar" },
];

describeWith("crossbar", "a builder as the original's, on a unix socket", () => {
  describe.each(ROUTERS)("of $title", ({ kind }) => {
    let rig: Rig | undefined;
    afterAll(() => rig?.stop());

    describeOriginal(async () => {
      rig = await startRig({ ...PARTIES, kind });
      return { rig, where: rig.router.socket };
    });
  });
});
