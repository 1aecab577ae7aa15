import { runBuilder } from "../builder/builder.ts";
import { parseConfig } from "../builder/config.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { type Command, EXIT, required } from "./command.ts";
import { untilSignal } from "./until-signal.ts";

export const builder: Command = {
  name: "builder",
  summary: "opens events and runs the rules' commands",
  usage: "builder --config FILE",
  options: { config: { type: "string", value: "FILE", help: "builder.json; docs/configuration.md" } },
  async run(call) {
    const { json, folder } = readConfigFile(required(call, "config"));
    const config = parseConfig(json, folder);
    await untilSignal((signal) => runBuilder(config, call.output.report, signal));
    return EXIT.ok;
  },
};
