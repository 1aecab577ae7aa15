import { mkdirSync } from "node:fs";
import { parseConfig } from "../relay/config.ts";
import { openQueue } from "../relay/queue-open.ts";
import { runRelay } from "../relay/relay.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { type Command, EXIT, required } from "./command.ts";
import { untilSignal } from "./until-signal.ts";

/** Events whose receipts may be awaited at a time. */
const CONCURRENCY = 32;

export const relay: Command = {
  name: "relay",
  summary: "drains the edge and publishes to the router, both through Tor",
  usage: "relay --config FILE",
  options: { config: { type: "string", value: "FILE", help: "relay.json; docs/configuration.md" } },
  async run(call) {
    const { json, folder } = readConfigFile(required(call, "config"));
    const config = parseConfig(json, folder);
    const { report } = call.output;
    mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
    const queue = await openQueue({
      url: config.queueUrl,
      dataDir: config.dataDir,
      concurrency: CONCURRENCY,
      report,
    });
    await untilSignal((signal) => runRelay(config, queue, report, signal));
    return EXIT.ok;
  },
};
