import { dirname } from "node:path";
import { parseRouterConfig } from "../router/config.ts";
import { startRouter } from "../router/router.ts";
import { describeError } from "../shared/errors.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import type { Report } from "../shared/report.ts";
import { publishOnionService } from "../shared/tor/onion-service.ts";
import { type Command, EXIT, required } from "./command.ts";
import { type Hangups, takeHangups } from "./hangups.ts";
import { type RouterFiles, waitsForRestart } from "./router-changes.ts";
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
    const hangups = takeHangups();
    try {
      await runRouter(required(call, "config"), call.output.report, hangups);
    } finally {
      hangups.end();
    }
    return EXIT.ok;
  },
};

async function runRouter(path: string, report: Report, hangups: Hangups): Promise<void> {
  const running = readFiles(path);
  const { onion } = running.file;
  const { endpoints, close, reload } = await startRouter({ config: running.crossbar, report });
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
    hangups.listen(() => {
      try {
        const changed = readFiles(path);
        const restart = waitsForRestart(running, changed);
        // First what may throw, so that a fault changes nothing.
        if (changed.file.onion !== undefined) service?.update(access(changed.file.onion));
        reload(changed.crossbar);
        report("reloaded", restart.length > 0 ? { restart } : {});
      } catch (error) {
        report("error", describeError(error));
      }
    });
    await stopped;
    hangups.listen(() => undefined);
    await service?.close();
    await close();
  });
}

function readFiles(path: string): RouterFiles {
  const file = readRouterConfig(path);
  const { json } = readConfigFile(file.crossbar);
  return { file, crossbar: parseRouterConfig(json, dirname(file.crossbar)) };
}

function access({ clients, open }: NonNullable<RouterFile["onion"]>) {
  return { clients: Object.values(clients), open };
}
