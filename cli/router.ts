import { dirname } from "node:path";
import { parseRouterConfig } from "../router/config.ts";
import { startRouter } from "../router/router.ts";
import { describeError } from "../shared/errors.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { publishOnionService } from "../shared/tor/onion-service.ts";
import { type Command, EXIT, required } from "./command.ts";
import { readRouterConfig, type RouterFile } from "./router-config.ts";
import { untilSignal } from "./until-signal.ts";

/** The port under the onion address: WebSocket's own. */
export const ONION_PORT = 80;

export const router: Command = {
  name: "router",
  summary: "the embedded WAMP router, published as an onion service",
  usage: `router --config FILE

  SIGHUP  reads the files again: who may connect to the onion service, and who may join`,
  options: { config: { type: "string", value: "FILE", help: "router.json; docs/configuration.md" } },
  async run(call) {
    const path = required(call, "config");
    const { crossbar, onion } = readRouterConfig(path);
    const { report } = call.output;
    const { endpoints, close, reload } = await startRouter({ config: readCrossbar(crossbar), report });
    report("listening", { endpoints });
    await untilSignal(async (signal) => {
      const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => stop());
      const [target] = endpoints;
      const service =
        onion &&
        target &&
        publishOnionService({
          ...onion,
          access: access(onion),
          virtualPort: ONION_PORT,
          target,
          report,
          signal,
        });
      // What else has changed in the files, the next start takes up.
      const readAgain = (): void => {
        try {
          const changed = readRouterConfig(path);
          reload(readCrossbar(changed.crossbar));
          if (changed.onion !== undefined) service?.update(access(changed.onion));
          report("reloaded", {});
        } catch (error) {
          report("error", describeError(error));
        }
      };
      process.on("SIGHUP", readAgain);
      await stopped;
      process.off("SIGHUP", readAgain);
      await service?.close();
      await close();
    });
    return EXIT.ok;
  },
};

function readCrossbar(path: string) {
  return parseRouterConfig(readConfigFile(path).json, dirname(path));
}

function access({ clients, open }: NonNullable<RouterFile["onion"]>) {
  return { clients: Object.values(clients), open };
}
