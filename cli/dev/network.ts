import { describeError } from "../../shared/errors.ts";
import { makePrivateNetwork } from "../../shared/tor/private-network.ts";
import { nowMs, type Output } from "../output.ts";
import type { ClientTor, Layout } from "./layout.ts";
import type { Processes } from "./processes.ts";

/** Each part that dials has a Tor of its own, as in production, and in it a key of its own. */
const RELAY_TOR = "relay-client";
const BUILDER_TOR = "builder-client";

/** The private Tor network as parts of the run. */
export function makeNetwork(tor: string, layout: Layout, processes: Processes, output: Output) {
  const { onion } = layout;
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
    clients: [RELAY_TOR, BUILDER_TOR],
    clientAuth: [
      { onion: onion.address, secret: onion.relaySecret, client: RELAY_TOR },
      { onion: onion.address, secret: onion.builderSecret, client: BUILDER_TOR },
    ],
  });
  const clientTor = (name: string): ClientTor => ({
    socks: `unix:${network.socksOf(name).unix}`,
    control: `unix:${network.controlOf(name)}`,
  });
  return {
    /** For a program that joins as the builder does. */
    socks: network.socksOf(BUILDER_TOR),
    wiring: {
      relay: clientTor(RELAY_TOR),
      builder: clientTor(BUILDER_TOR),
      control: `unix:${network.serviceControl}`,
    },
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
