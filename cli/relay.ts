import { mkdirSync } from "node:fs";
import { parseConfig } from "../relay/config.ts";
import { openQueue } from "../relay/queue/open.ts";
import { runRelay } from "../relay/relay.ts";
import { makeStatus } from "../relay/status.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { makeNotifier, type Notifier } from "../shared/host/notify.ts";
import type { Report } from "../shared/report.ts";
import { type Command, EXIT, required } from "./command.ts";
import { hopsLine } from "./status.ts";
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
    const notifier = makeNotifier(process.env, call.output.report);
    const report = notifying(call.output.report, notifier, config.edge.streams);
    mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
    const queue = await openQueue({
      url: config.queue.url,
      dataDir: config.dataDir,
      concurrency: CONCURRENCY,
      ...(config.queue.maxBytes !== undefined && { maxBytes: config.queue.maxBytes }),
      report,
    });
    await untilSignal(async (signal) => {
      signal.addEventListener("abort", () => void notifier.stopping());
      await runRelay(config, queue, report, signal);
    });
    return EXIT.ok;
  },
};

/** Reports about which systemd hears: it is up once it can be asked, and what it reaches is its status. */
function notifying(out: Report, notifier: Notifier, streams?: readonly string[]): Report {
  const status = makeStatus(Date.now, streams);
  let isReady = false;
  return (event, fields) => {
    out(event, fields);
    status.note(event, fields);
    const { code } = fields ?? {};
    // Without its control API a relay delivers all the same.
    const isUp = event === "listening" || (event === "error" && String(code).startsWith("ERR_CONTROL_"));
    if (isUp && !isReady) notifier.ready();
    isReady ||= isUp;
    if (LINKS.has(event)) notifier.status(hopsLine(status.snapshot(undefined).hops));
  };
}

const LINKS: ReadonlySet<string> = new Set(["listening", "connected", "disconnected", "audience"]);
