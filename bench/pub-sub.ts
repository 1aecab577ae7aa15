/** One publisher and its subscribers at a router: a publish is over when it is acknowledged and every subscriber has its event. */
import nacl from "tweetnacl";
import { CRYPTOBOX } from "../shared/cryptobox.ts";
import type { SerializerId } from "../shared/wamp/serializers.ts";
import { bytes, RawClient } from "../test/router/raw-client.ts";
import type { RouterProcess } from "./routers.ts";

export const PAYLOAD_BYTES = 8 * 1024;

const TOPIC = "webhook.github.push";
/** WAMP message codes. */
const PUBLISH = 16;
const PUBLISHED = 17;
const SUBSCRIBE = 32;
const SUBSCRIBED = 33;
const EVENT = 36;

export interface PubSub {
  /** Resolves with the milliseconds from the publish to the last subscriber's event, when the acknowledgement is there too. */
  publish(): Promise<number>;
  close(): void;
}

interface UnderWay {
  sentAt: number;
  /** Until the event that came last. */
  ms: number;
  /** Answers that are missing. */
  left: number;
  resolve: (ms: number) => void;
}

export async function openPubSub(
  { endpoint, keys }: RouterProcess,
  serializer: SerializerId,
  audience: number,
): Promise<PubSub> {
  const payload = nacl.randomBytes(PAYLOAD_BYTES);
  const options = { acknowledge: true, enc_algo: CRYPTOBOX, enc_serializer: "json" };
  let request = 0;
  const next = () => [PUBLISH, (request += 1), options, TOPIC, payload];

  const publisher = await RawClient.join(endpoint, "relay", keys.relay, serializer);
  const subscribers = await Promise.all(
    Array.from({ length: audience }, () => RawClient.join(endpoint, "builder", keys.builder, serializer)),
  );
  for (const subscriber of subscribers) {
    check(SUBSCRIBED, await subscriber.ask([SUBSCRIBE, 1, { match: "exact" }, TOPIC]));
  }
  // The first is read; after that answers are counted, which come in the order of what they answer.
  check(PUBLISHED, await publisher.ask(next()));
  for (const subscriber of subscribers) {
    const [, , , , got] = check(EVENT, await subscriber.next());
    if (!bytes(got).equals(payload)) throw new Error("the payload came as another");
  }

  const underWay = new Map<number, UnderWay>();
  const count = (client: RawClient) => {
    let number = 1;
    client.ws.removeAllListeners("message");
    client.ws.on("message", () => {
      number += 1;
      const publish = underWay.get(number);
      if (publish === undefined) return;
      if (client !== publisher) publish.ms = performance.now() - publish.sentAt;
      publish.left -= 1;
      if (publish.left > 0) return;
      underWay.delete(number);
      publish.resolve(publish.ms);
    });
  };
  for (const client of [publisher, ...subscribers]) count(client);

  return {
    publish: () =>
      new Promise((resolve) => {
        const message = next();
        underWay.set(request, { sentAt: performance.now(), ms: NaN, left: audience + 1, resolve });
        publisher.send(message);
      }),
    close() {
      for (const client of [publisher, ...subscribers]) client.end();
    },
  };
}

function check(code: number, message: unknown[]): unknown[] {
  if (message[0] !== code) throw new Error(`message ${code} was expected, ${String(message[0])} came`);
  return message;
}
