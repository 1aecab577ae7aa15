import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { parseRouterConfig } from "../router/config.ts";
import { startRouter } from "../router/router.ts";
import { checkConfig, readConfigFile } from "../shared/host/config-file.ts";
import { readKeyFile } from "../shared/host/key-file.ts";
import { parseKey } from "../shared/keys.ts";
import { parseLocalAddress } from "../shared/tor/local-socket.ts";
import { publishOnionService } from "../shared/tor/onion-service.ts";
import { type Command, EXIT, required } from "./command.ts";
import { untilSignal } from "./until-signal.ts";

/** The port under the onion address: WebSocket's own. */
export const ONION_PORT = 80;

const schema = v.strictObject({
  crossbar: v.string(),
  onion: v.optional(
    v.strictObject({
      control: v.string(),
      key_file: v.string(),
      clients: v.pipe(v.array(v.string()), v.minLength(1, "at least one client's public key was expected")),
      introduction_grace_seconds: v.optional(v.pipe(v.number(), v.minValue(1))),
    }),
  ),
});

export const router: Command = {
  name: "router",
  summary: "the embedded WAMP router, published as an onion service",
  usage: "router --config FILE",
  options: { config: { type: "string", value: "FILE", help: "router.json; docs/configuration.md" } },
  async run(call) {
    const { json, folder } = readConfigFile(required(call, "config"));
    const { crossbar, onion } = checkConfig("router", schema, json);
    const crossbarFile = resolve(folder, crossbar);
    const config = parseRouterConfig(readConfigFile(crossbarFile).json, dirname(crossbarFile));
    const service = onion && {
      control: parseLocalAddress(onion.control, "onion.control"),
      ...(onion.introduction_grace_seconds !== undefined && {
        introductionGraceMs: onion.introduction_grace_seconds * 1000,
      }),
      seed: readKeyFile(resolve(folder, onion.key_file), "onion-service"),
      clients: onion.clients.map((key, index) =>
        parseKey(key, "onion-client", "public", `onion.clients.${index}`),
      ),
    };
    const { report } = call.output;
    const { endpoints, close } = await startRouter({ config, report });
    report("listening", { endpoints });
    await untilSignal(async (signal) => {
      const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => stop());
      const [target] = endpoints;
      const published =
        service &&
        target &&
        publishOnionService({ ...service, virtualPort: ONION_PORT, target, report, signal });
      await stopped;
      await published?.close();
      await close();
    });
    return EXIT.ok;
  },
};
