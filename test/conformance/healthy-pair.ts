/** Two clients of autobahn-js that talk all the while, on topics where the hostile ones have no rights. */
import { setTimeout as sleep } from "node:timers/promises";
import { autobahnJs } from "./autobahn-js.ts";
import { payloadOf, type Client } from "./client.ts";
import { SECRET } from "./specimens.ts";
import { KEYS, REALM, type TestRouter } from "./routers.ts";

/** Milliseconds between two exchanges. */
const PACE = 25;

export interface HealthyPair {
  /** What no other client may ever be sent. */
  readonly marker: string;
  readonly sessions: readonly number[];
  /** How many events and calls went through, and the longest time that one took, in milliseconds. */
  readonly exchanges: () => number;
  readonly slowest: () => number;
  /** Stops, and rejects with what went wrong meanwhile. */
  stop(): Promise<void>;
}

export async function startHealthyPair(router: TestRouter, intervalMs = PACE): Promise<HealthyPair> {
  const url = `ws://${router.host}:${router.port}/`;
  const join = (authid: "alice" | "bob", serializer: "json" | "cbor"): Promise<Client> =>
    autobahnJs.join({ url, realm: REALM, authid, keys: KEYS[authid], serializer });
  const [alice, bob] = [await join("alice", "cbor"), await join("bob", "json")];
  const marker = `onionhook-${crypto.randomUUID()}`;
  const { events } = await bob.subscribe(`${SECRET}topic`);
  await alice.register(`${SECRET}echo`, ({ args }) => payloadOf(args));
  let exchanges = 0;
  let slowest = 0;
  const state = { stopped: false };

  async function talk(): Promise<void> {
    while (!state.stopped) {
      const number = exchanges;
      const started = performance.now();
      // oxlint-disable no-await-in-loop
      await alice.publish(`${SECRET}topic`, payloadOf([marker, number]));
      const { args } = await bob.call(`${SECRET}echo`, payloadOf([marker, number])).answer;
      if (args[1] !== number) throw new Error(`the call brought ${String(args[1])} for ${number}`);
      // The call's answer came after the event, which was sent before it.
      if (events.length !== number + 1 || events[number]?.args[1] !== number)
        throw new Error(`${events.length} events after ${number + 1} were published`);
      slowest = Math.max(slowest, performance.now() - started);
      exchanges++;
      await sleep(intervalMs);
      // oxlint-enable no-await-in-loop
    }
  }

  const talking = talk();
  const over = Promise.race([alice.left, bob.left]).then(() => {
    if (!state.stopped) throw new Error("a healthy client lost its session");
  });
  // Told of by `stop`.
  talking.catch(() => {});
  over.catch(() => {});
  return {
    marker,
    sessions: [alice.id, bob.id],
    exchanges: () => exchanges,
    slowest: () => slowest,
    async stop() {
      state.stopped = true;
      await Promise.race([talking, over]);
      alice.drop();
      bob.drop();
    },
  };
}
