import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { OnionhookError } from "../../shared/errors.ts";
import { type Command, required, text } from "../command.ts";
import { runDev } from "./run.ts";

/** Root of the project: where wrangler.toml and deploy/ are. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export const dev: Command = {
  name: "dev",
  summary: "runs the whole pipeline on this machine (npm start)",
  usage: "dev [options]",
  options: {
    once: { type: "boolean", help: "end after the first build of the sample push" },
    "no-sample": { type: "boolean", help: "send no sample push" },
    "no-tor": { type: "boolean", help: "do without Tor: loopback only, no onion service" },
    "data-dir": {
      type: "string",
      value: "DIR",
      help: "keys, stores and logs, kept between runs",
      default: "./.onionhook",
    },
    port: {
      type: "string",
      value: "N",
      help: "the edge's port on 127.0.0.1; 0 takes any free one",
      default: "8787",
    },
    queue: { type: "string", value: "URL", help: "embedded, redis://… or postgres://…", default: "embedded" },
    router: {
      type: "string",
      value: "CONFIG",
      help: "Crossbar config for roles and permissions",
      default: `${ROOT}deploy/crossbar.json`,
    },
  },
  run(call) {
    const port = Number(required(call, "port"));
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new OnionhookError("ERR_USAGE", `--port ${text(call, "port")} is no port`, {
        hint: "0 to 65535",
      });
    }
    if (call.options["once"] === true && call.options["no-sample"] === true) {
      throw new OnionhookError("ERR_USAGE", "--once waits for the sample that --no-sample leaves out");
    }
    const dataDir = required(call, "data-dir");
    return runDev(
      {
        root: ROOT,
        once: call.options["once"] === true,
        sample: call.options["no-sample"] !== true,
        tor: call.options["no-tor"] !== true,
        dataDir: resolve(dataDir),
        shownDataDir: dataDir,
        port,
        queueUrl: required(call, "queue"),
        crossbar: resolve(required(call, "router")),
      },
      call.output,
    );
  },
};
