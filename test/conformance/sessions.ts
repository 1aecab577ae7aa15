/** Joining and leaving. */
import { expect } from "vitest";
import { newKeyPair } from "../router/raw-client.ts";
import { KEYS, REALM } from "./routers.ts";
import { refusal, type Scenario, type World } from "./scenario.ts";

const LARGEST_ID = 2 ** 53;

export const sessions: readonly Scenario[] = [
  {
    title: "a session has an id from 1 to 2^53 of its own, and learns who it is",
    async run({ join }) {
      const all = await Promise.all([join("alice"), join("alice"), join("carol")]);
      for (const { id } of all) {
        expect(Number.isInteger(id)).toBe(true);
        expect(id).toBeGreaterThanOrEqual(1);
        expect(id).toBeLessThanOrEqual(LARGEST_ID);
      }
      expect(new Set(all.map(({ id }) => id)).size).toBe(3);
      expect(all[2]?.welcome).toMatchObject({
        realm: REALM,
        authid: "carol",
        authrole: "guest",
        authmethod: "cryptosign",
        authprovider: "static",
      });
    },
  },
  {
    title: "who has another key, or no such name, is not authorized",
    async run(world) {
      expect(await joining(world, { keys: newKeyPair() })).toBe("wamp.error.not_authorized");
      expect(await joining(world, { authid: "nobody" })).toBe("wamp.error.not_authorized");
    },
  },
  {
    title: "a realm that is not there is said to be none",
    except: {
      "Crossbar.io": "it takes a principal into the realm of its configuration, whatever was asked for",
    },
    run: async (world) =>
      expect(await joining(world, { realm: "elsewhere" })).toBe("wamp.error.no_such_realm"),
  },
  {
    title: "GOODBYE is answered with GOODBYE",
    async run({ join }) {
      const client = await join();
      client.leave();
      // The first is what the specification says; Crossbar.io says the second.
      expect(["wamp.close.goodbye_and_out", "wamp.close.normal"]).toContain(await client.left);
    },
  },
];

function joining(
  { library, router: { host, port }, serializer }: World,
  changes: Partial<Parameters<World["library"]["join"]>[0]>,
): Promise<string> {
  const url = `ws://${host}:${port}/`;
  return refusal(
    library.join({ url, realm: REALM, authid: "alice", keys: KEYS.alice, serializer, ...changes }),
  );
}
