/** Whom a router of the matrix lets in, to do what. */
import { join } from "node:path";
import { expect } from "vitest";
import { WebSocket } from "ws";
import { readKeyFile } from "../../shared/host/key-file.ts";
import { RECEIPT_TOPIC, REPLAY_PROCEDURE, TOPIC_PREFIX } from "../../shared/topic.ts";
import type { Serializer } from "../../shared/wamp/serializers.ts";
import { joinWamp } from "../../shared/wamp/session.ts";
import { REALM } from "../helpers/rig-router.ts";
import type { Rig } from "../helpers/rig.ts";
import { builderName, BUILDERS, relayName } from "./matrix-builders.ts";

/** The subprotocol that a router chooses of these; undefined when it takes none. */
export function negotiated(url: string, protocols: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, [...protocols]);
    socket.once("open", () => {
      resolve(socket.protocol);
      socket.terminate();
    });
    socket.once("error", () => resolve(undefined));
  });
}

/** Joins as the first builder of the matrix and its relay, and as nobody. */
export async function refusesWrongRoles(rig: Rig, serializer: Serializer): Promise<void> {
  const stop = new AbortController();
  const [{ recipient }] = BUILDERS;
  const relay = relayName(recipient);
  const builder = builderName(recipient);
  const seed = (name: string, key: string) => readKeyFile(join(rig.folder, "keys", name, key), "sign");
  const joining = (authid: string, key: Uint8Array) =>
    joinWamp({
      url: rig.router.url,
      realm: REALM,
      authid,
      seed: key,
      tor: "none",
      isolation: "test",
      signal: stop.signal,
      serializers: [serializer],
    });
  const asBuilder = await joining(builder, seed(builder, "builder-wamp.key"));
  const asRelay = await joining(relay, seed(relay, "relay-wamp.key"));
  const denied = { code: "ERR_WAMP_REFUSED", message: "the router refused: wamp.error.not_authorized" };
  await expect(asBuilder.publish(`${TOPIC_PREFIX}push`, { forged: true })).rejects.toMatchObject(denied);
  await expect(asBuilder.subscribe(RECEIPT_TOPIC, "exact", () => {})).rejects.toMatchObject(denied);
  await expect(asBuilder.register(REPLAY_PROCEDURE, () => {})).rejects.toMatchObject(denied);
  await expect(asBuilder.call("wamp.subscription.list")).rejects.toMatchObject(denied);
  await expect(asRelay.subscribe(TOPIC_PREFIX, "prefix", () => {})).rejects.toMatchObject(denied);
  await expect(asRelay.publish(RECEIPT_TOPIC, { forged: true })).rejects.toMatchObject(denied);
  await expect(asRelay.call(REPLAY_PROCEDURE)).rejects.toMatchObject(denied);
  await expect(joining(relay, seed(builder, "builder-wamp.key"))).rejects.toMatchObject({
    code: "ERR_WAMP_DENIED",
  });
  await expect(joining("nobody", seed(builder, "builder-wamp.key"))).rejects.toMatchObject({
    code: "ERR_WAMP_DENIED",
  });
  await Promise.all([asBuilder.close(), asRelay.close()]);
}
