/** A session of ours at a test's router. */
import { onTestFinished } from "vitest";
import { joinWamp, type WampSession } from "../../../shared/wamp/session.ts";
import type { Serializer } from "../../../shared/wamp/serializers.ts";
import type { Testbed } from "../../router/testbed.ts";

export function urlOf({ endpoint }: Testbed): string {
  if (!("port" in endpoint)) throw new Error("the test bed listens on TCP");
  return `ws://${endpoint.host}:${endpoint.port}/`;
}

export function seedOf({ privateKey }: Testbed["keys"]["relay"]): Uint8Array {
  return new Uint8Array(Buffer.from(privateKey.export({ format: "jwk" }).d ?? "", "base64url"));
}

/** Ends with the test, if not before. */
export async function join(
  bed: Testbed,
  authid: "relay" | "builder",
  only?: Serializer,
): Promise<WampSession> {
  const session = await joinWamp({
    url: urlOf(bed),
    realm: "onionhook",
    authid,
    seed: seedOf(bed.keys[authid]),
    tor: "none",
    isolation: "test",
    signal: new AbortController().signal,
    ...(only && { serializers: [only] }),
  });
  onTestFinished(() => session.close());
  return session;
}
