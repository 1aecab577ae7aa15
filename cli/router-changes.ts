/** What SIGHUP does not take up. */
import { isDeepStrictEqual } from "node:util";
import type { RouterConfig } from "../router/config.ts";
import type { RouterFile } from "./router-config.ts";

/** The router's configuration: router.json, and the Crossbar config that it names. */
export interface RouterFiles {
  readonly file: RouterFile;
  readonly crossbar: RouterConfig;
}

/**
 * The settings in which two configurations differ, beyond who may connect and who may join: a router that runs by one
 * takes up the other's only when it is started again. Named as they stand in the files.
 */
export function waitsForRestart(running: RouterFiles, changed: RouterFiles): string[] {
  const before = settings(running);
  const after = settings(changed);
  // Settings of an onion that only one of them has are not worth a word each.
  return Object.keys(before).filter((name) => name in after && !isDeepStrictEqual(before[name], after[name]));
}

function settings({ file: { onion }, crossbar }: RouterFiles): Record<string, unknown> {
  return {
    onion: onion !== undefined,
    ...(onion !== undefined && {
      "onion.control": onion.control,
      "onion.key_file": onion.seed,
      "onion.introduction_grace_seconds": onion.introductionGraceMs,
      "onion.pow": onion.pow,
      "onion.max_streams": onion.maxStreams,
    }),
    realms: crossbar.realms,
    transports: crossbar.transports.map(({ principals: _taken, ...rest }) => rest),
  };
}
