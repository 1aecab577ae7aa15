import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { answer, challengeOf, RawClient, record } from "../router/raw-client.ts";
import { KEYS, type TestRouter } from "./routers.ts";
import { ABLE, type WireWorld } from "./wire-scenario.ts";

let worlds = 0;

/** Clients of one scenario on the wire; all of them are gone after `end`. */
export function makeWireWorld(
  router: TestRouter,
  serializer: SerializerId,
): { world: WireWorld; end: () => void } {
  const clients: RawClient[] = [];
  const number = ++worlds;
  const dial = async () => {
    const client = await RawClient.dial(router, serializer);
    clients.push(client);
    return client;
  };
  const world: WireWorld = {
    router,
    serializer,
    dial,
    uri: (tail) => `wire${number}.${tail}`,
    async join(authid = "alice", roles = ABLE) {
      const client = await dial();
      client.hello(authid, KEYS[authid].publicHex, { roles });
      const [, , extra] = await client.next();
      client.send([5, answer(KEYS[authid], challengeOf(extra)), {}]);
      const [code, session, details] = await client.next();
      if (code !== 2) throw new Error(`not welcome: ${String(details)}`);
      client.session = Number(session);
      client.welcome = record(details);
      return client;
    },
  };
  return {
    world,
    end: () => {
      for (const client of clients) client.end();
    },
  };
}
