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

  SIGHUP  reads the files again: who may connect to the onion service`,
  options: { config: { type: "string", value: "FILE", help: "router.json; docs/configuration.md" } },
  async run(call) {
    const path = required(call, "config");
    const { crossbar, onion } = readRouterConfig(path);
    const config = parseRouterConfig(readConfigFile(crossbar).json, dirname(crossbar));
    const { report } = call.output;
    const { endpoints, close } = await startRouter({ config, report });
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
      const reload = (): void => {
        try {
          const { onion: changed } = readRouterConfig(path);
          // What else has changed there, the next start takes up.
          if (changed !== undefined) service?.update(access(changed));
          report("reloaded", {});
        } catch (error) {
          report("error", describeError(error));
        }
      };
      process.on("SIGHUP", reload);
      await stopped;
      process.off("SIGHUP", reload);
      await service?.close();
      await close();
    });
    return EXIT.ok;
  },
};

function access({ clients, open }: NonNullable<RouterFile["onion"]>) {
  return { clients: Object.values(clients), open };
}
