/**
 * The edge under other settings than those of parties.ts. Worker and objects read their bindings once, so what
 * they read is replaced; an object that runs is started anew by `evictDurableObject`, as by a deploy.
 */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { configOf, parseConfig, type Settings } from "../../worker/config.ts";
import type { Outbox } from "../../worker/outbox.ts";
import { outbox } from "./stored.ts";

/** Until the next call: `configure({})` takes every change back. */
export async function configure(changes: Settings & Record<string, unknown>): Promise<void> {
  const ofObjects = await runInDurableObject(outbox(), (object) => settingsOf(object));
  for (const settings of [env, ofObjects])
    Object.assign(configOf(settings), parseConfig({ ...settings, ...changes }));
}

function settingsOf(object: Outbox): Settings {
  return (object as unknown as { env: Settings }).env;
}
