/** What a scenario is given, and how scenarios are run over routers, libraries and serializers. */
import { expect } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { until } from "../helpers/until.ts";
import { WampError, type Client, type Library, type Subscription } from "./client.ts";
import { KEYS, REALM, type Authid, type TestRouter } from "./routers.ts";

export interface World {
  readonly router: TestRouter;
  readonly library: Library;
  readonly serializer: SerializerId;
  /** As alice, with the run's serializer, unless said otherwise. */
  join(authid?: Authid, serializer?: SerializerId): Promise<Client>;
  /** A URI that no other run of any scenario uses. */
  uri(tail: string): string;
}

export interface Scenario {
  readonly title: string;
  readonly run: (world: World) => Promise<void>;
  /** Where it is not asked for, and why. */
  readonly except?: Partial<Record<RouterName | LibraryName | `${RouterName} with ${LibraryName}`, string>>;
}

type RouterName = TestRouter["name"];
type LibraryName = Library["name"];

/** Why a scenario is not run with this router and this library; undefined when it is. */
export function exception(
  { except = {} }: Scenario,
  router: RouterName,
  library: LibraryName,
): string | undefined {
  return except[router] ?? except[library] ?? except[`${router} with ${library}`];
}

let worlds = 0;

export function makeWorld(
  router: TestRouter,
  library: Library,
  serializer: SerializerId,
): { world: World; end: () => Promise<void> } {
  const clients: Client[] = [];
  const number = ++worlds;
  const world: World = {
    router,
    library,
    serializer,
    uri: (tail) => `run${number}.${tail}`,
    async join(authid = "alice", wanted = serializer) {
      const url = `ws://${router.host}:${router.port}/`;
      const client = await library.join({
        url,
        realm: REALM,
        authid,
        keys: KEYS[authid],
        serializer: wanted,
      });
      clients.push(client);
      return client;
    },
  };
  return {
    world,
    async end() {
      for (const client of clients) client.drop();
      await Promise.all(clients.map(({ left }) => left));
    },
  };
}

/** Waits for that many events, and not one more up to the publisher's next event on a topic of its own. */
export async function hasExactly(
  events: Subscription["events"],
  count: number,
  barrier: Barrier,
): Promise<void> {
  await until(() => expect(events.length).toBeGreaterThanOrEqual(count));
  await barrier.pass();
  expect(events).toHaveLength(count);
}

export interface Barrier {
  /** Resolves when everything that the publisher sent before has reached the receiver, or never will. */
  pass(): Promise<void>;
}

/** Events of one publisher keep their order, also over subscriptions: the last one tells that the others are through. */
export async function makeBarrier(
  { uri }: Pick<World, "uri">,
  publisher: Client,
  receiver: Client,
): Promise<Barrier> {
  const topic = uri(`barrier.${crypto.randomUUID()}`);
  const subscription = await receiver.subscribe(topic);
  let passed = 0;
  return {
    async pass() {
      passed++;
      await publisher.publish(topic, undefined, { exclude_me: false });
      await until(() => expect(subscription.events).toHaveLength(passed));
    },
  };
}

/** The error URI with which it is refused. */
export async function refusal(answer: Promise<unknown>): Promise<string> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof WampError) return error.uri;
    throw error;
  }
  throw new Error("it was not refused");
}
