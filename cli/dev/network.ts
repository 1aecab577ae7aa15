import { describeError } from "../../shared/errors.ts";
import { makePrivateNetwork } from "../../shared/tor/private-network.ts";
import { nowMs, type Output } from "../output.ts";
import type { Layout } from "./layout.ts";
import type { Processes } from "./processes.ts";

/** The private Tor network as parts of the run. */
export function makeNetwork(tor: string, layout: Layout, processes: Processes, output: Output) {
  let isUp = false;
  const takeUp = (name: string) => {
    network.restarted(name).catch((error: unknown) => {
      output.forward({ event: "error", at: nowMs(), ...describeError(error), part: `tor:${name}` });
    });
  };
  const network = makePrivateNetwork({
    dir: layout.tor,
    tor,
    spawn: (name, argv) =>
      processes.start({
        name: `tor:${name}`,
        argv,
        // While it starts, the network itself decides what to do about a tor that dies.
        restart: () => isUp,
        onRestarted: () => takeUp(name),
      }),
    report: (_event, fields) => {
      if (typeof fields?.["reason"] === "string") output.say(`  tor      starting over: ${fields["reason"]}`);
    },
    clientAuth: [{ onion: layout.onion.address, secret: layout.onion.clientSecret }],
  });
  return {
    socks: network.socks,
    serviceControl: network.serviceControl,
    close: network.close,
    async start() {
      await network.start();
      isUp = true;
    },
    /** The onion service is published anew: its clients need new circuits, as if its tor had been away. */
    republished() {
      if (isUp) takeUp("service");
    },
  };
}
