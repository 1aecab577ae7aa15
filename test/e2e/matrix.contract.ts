/**
 * The end-to-end suite that holds for every router, serializer and builder. Each router is started once for each
 * serializer; the builders take turns, each with a relay and a stream of its own, and what is sent before its turn waits
 * for it.
 */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { serializers, subprotocol } from "../../shared/wamp/serializers.ts";
import { type Body, examples, paddedPush } from "../helpers/bodies.ts";
import { eventually } from "../helpers/until.ts";
import { type Part, said } from "../helpers/part.ts";
import type { RouterKind } from "../helpers/rig-router.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import {
  builderName,
  BUILDERS,
  KEPT_EVENT,
  type MatrixBuilder,
  relayName,
  type Sent,
} from "./matrix-builders.ts";
import { negotiated, refusesWrongRoles } from "./matrix-roles.ts";

/** Milliseconds between two pushes of a load. */
const PACE_MS = 15;
/** Milliseconds before a router's death within which an event may die with it: it had passed it on to a socket only. */
const DYING_MS = 1000;
/** Milliseconds for anything to come through, on two cores that tests share; a test waits for several such things. */
const COMES_MS = 60_000;

/** Milliseconds of a whole test, if everything waits its longest. */
const TEST_MS = 4 * COMES_MS;

/** One of each of GitHub's events, sizes at which something changes, and text that some JSON parsers do not take. */
function bodies(): (Body & { altered?: Uint8Array })[] {
  const firsts = new Map(examples.toReversed().map((example) => [example.event, example]));
  const odd = { "k\0ey": "in\0side", lone: "\ud800 \udc00", text: "é ✓ 𝕏 \u2028", "": null };
  const leading = JSON.stringify({ ...odd, nul: "\0begins", list: ["\0"] });
  return [
    ...firsts.values(),
    { event: KEPT_EVENT, bytes: encodeUtf8(JSON.stringify(odd)) },
    {
      event: KEPT_EVENT,
      bytes: encodeUtf8(leading),
      altered: encodeUtf8(leading.replaceAll(String.raw`"\u0000`, String.raw`"\uFFFD`)),
    },
    paddedPush(1024 * 1024),
    paddedPush(25 * 1024 * 1024),
  ];
}

export function describeMatrix(kind: RouterKind): void {
  describe.each(serializers.map((serializer) => [serializer.id, serializer] as const))(
    "on %s",
    (_id, serializer) => {
      const sent: Sent[] = [];
      let rig: Rig;

      beforeAll(async () => {
        rig = await startRig({
          kind,
          serializers: [serializer.id],
          relays: BUILDERS.map(({ recipient }) => relayName(recipient)),
          builders: BUILDERS.map(({ recipient }) => builderName(recipient)),
          recipients: Object.fromEntries(
            BUILDERS.map(({ recipient, receipts }) => [recipient, { receipts }]),
          ),
        });
        for (const body of bodies()) sent.push({ ...body, delivery: await rig.send(body.event, body.bytes) });
      }, TEST_MS);

      afterAll(() => rig?.stop());

      it("speaks this serializer and no other", async () => {
        const all = serializers.map(subprotocol);
        const own = subprotocol(serializer);
        expect(await negotiated(rig.router.url, all)).toBe(own);
        const others = all.filter((protocol) => protocol !== own);
        expect(others).not.toContain(await negotiated(rig.router.url, others));
      });

      describe.each(BUILDERS)("$title", ({ recipient, receipts, make }) => {
        takeTurn(() => rig, { recipient, receipts, sent, make: () => make(rig, recipient, serializer.id) });
      });

      it("refuses what a role may not, and who does not prove an authid", () =>
        refusesWrongRoles(rig, serializer));
    },
  );
}

interface TurnOptions {
  recipient: string;
  receipts: boolean;
  sent: readonly Sent[];
  make: () => MatrixBuilder;
}

function takeTurn(rigOf: () => Rig, { recipient, receipts, sent, make }: TurnOptions): void {
  let rig: Rig;
  let relay: Part;
  let builder: MatrixBuilder;

  beforeAll(async () => {
    rig = rigOf();
    relay = rig.startRelay(relayName(recipient), relayConfig(rig, recipient));
    builder = make();
    await eventually("the relay has all", () => said(relay, "drained") >= sent.length, COMES_MS);
    await builder.start();
  });

  afterAll(async () => {
    await builder?.kill();
    await relay?.end("SIGKILL");
  });

  const lastAudience = () => relay.events.findLast(({ event }) => event === "audience")?.["builders"];
  const timesOf = (delivery: string) => builder.came().filter((each) => each === delivery).length;
  const missing = (deliveries: readonly string[]) => deliveries.filter((delivery) => timesOf(delivery) === 0);
  const twice = (deliveries: readonly string[]) => deliveries.filter((delivery) => timesOf(delivery) > 1);
  const allCome = (deliveries: readonly string[]) =>
    eventually("all come", () => missing(deliveries).length === 0, COMES_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${missing(deliveries).length} of ${deliveries.length} are missing`);
    });
  /** Deliveries that the relay had done with before its event number `until`. */
  const doneBefore = (until: number) => {
    const received = relay.events.slice(0, until).filter(({ event }) => event === "received");
    return new Map(received.map(({ delivery, at }) => [String(delivery), at]));
  };

  /** Where the relay's present life begins in what it said: what it heard last before a kill, nobody knows. */
  let born = 0;
  /** The relay has done with everything that it took. */
  const isCaughtUp = () => {
    const events = relay.events.slice(born);
    const accepted = numbers(events, "accepted");
    return numbers(events, "drained").every((seq) => accepted.includes(seq));
  };

  it(
    "has what was sent before it was there, byte for byte",
    async () => {
      await allCome(sent.map(({ delivery }) => delivery));
      for (const each of sent) builder.check(each);
      // A builder without a journal has an event twice when the relay's session breaks over it, as 25 MiB may make it.
      const again = relay.events.some(({ event, from }) => event === "disconnected" && from === "router");
      if (receipts || !again) expect(twice(sent.map(({ delivery }) => delivery))).toEqual([]);
    },
    TEST_MS,
  );

  it(
    "has events in the order of the stream, what came while it was away too",
    async () => {
      await eventually("it has what the other builder had", isCaughtUp, COMES_MS);
      const pushes = await send(rig, 20);
      await allCome(pushes);
      await eventually("all are done", isCaughtUp, COMES_MS);
      await builder.kill();
      await eventually("the relay misses it", () => lastAudience() === 0, COMES_MS);
      const drained = said(relay, "drained");
      const away = await send(rig, 20);
      await eventually("the relay has them", () => said(relay, "drained") >= drained + away.length, COMES_MS);
      expect(missing(away)).toEqual(away);
      await builder.start();
      await allCome(away);
      const came = builder.came();
      expect(came.slice(came.indexOf(pushes[0] ?? ""))).toEqual([...pushes, ...away]);
    },
    TEST_MS,
  );

  const flow = (pushed: readonly string[], more: number) => {
    const from = pushed.length;
    return eventually(
      "events flow",
      () => pushed.length >= from + more && missing(pushed.slice(from, from + more)).length === 0,
      COMES_MS,
    );
  };

  it(
    "has every event although the router was killed under load",
    async () => {
      const from = relay.events.length;
      const lost = () =>
        relay.events.findIndex(
          ({ event, from: peer }, at) => at >= from && event === "disconnected" && peer === "router",
        );
      let killedAt = 0;
      const all = await underLoad(rig, async (pushed) => {
        await flow(pushed, 30);
        killedAt = Date.now();
        await rig.router.kill();
        await eventually("the relay misses it", () => lost() >= 0, COMES_MS);
        await rig.router.restart();
        await eventually("somebody listens again", () => lastAudience() === 1, COMES_MS);
        await flow(pushed, 10);
      });
      // With receipts off the router's word is all that the edge has: what it had just taken may die with it.
      const done = doneBefore(lost());
      const mayDie = (delivery: string) => !receipts && (done.get(delivery) ?? 0) > killedAt - DYING_MS;
      await allCome(all.filter((delivery) => !mayDie(delivery)));
      const again = twice(all);
      expect(receipts ? again : again.filter((delivery) => done.has(delivery))).toEqual([]);
    },
    TEST_MS,
  );

  it(
    "has every event although the relay was killed under load",
    async () => {
      const all = await underLoad(rig, async (pushed) => {
        await flow(pushed, 30);
        await relay.end("SIGKILL");
        born = relay.events.length;
        await sleep(10 * PACE_MS);
        relay.start();
        await flow(pushed, 10);
      });
      await allCome(all);
      // A builder without a journal has twice what was not done yet; ours has nothing twice.
      const accepted = numbers(relay.events.slice(0, born), "accepted");
      const done = relay.events.filter(
        ({ event, seq }) => event === "drained" && accepted.includes(Number(seq)),
      );
      const again = twice(all);
      expect(receipts ? again : again.filter((id) => done.some(({ delivery }) => delivery === id))).toEqual(
        [],
      );
    },
    TEST_MS,
  );

  it.runIf(receipts)(
    "has by webhook.replay what its journal lacks",
    async () => {
      const data = join(rig.folder, `${builderName(recipient)}-data`);
      const backup = join(rig.folder, "backup");
      await eventually("all is done", isCaughtUp, COMES_MS);
      await builder.kill();
      cpSync(data, backup, { recursive: true });
      await builder.start();
      const forgotten = await send(rig, 3);
      await allCome(forgotten);
      await eventually("they are done", isCaughtUp, COMES_MS);
      await builder.kill();
      rmSync(data, { recursive: true });
      cpSync(backup, data, { recursive: true });
      await builder.start();
      await allCome(await send(rig, 1));
      await eventually(
        "the forgotten ones come again",
        () => twice(forgotten).length === forgotten.length,
        COMES_MS,
      );
      expect(said(relay, "replayed")).toBeGreaterThan(0);
    },
    TEST_MS,
  );
}

/** Numbers of the events of which the relay said this. */
function numbers(events: Part["events"], what: string): number[] {
  return events.filter(({ event }) => event === what).map(({ seq }) => Number(seq));
}

function relayConfig(rig: Rig, recipient: string): object {
  const name = relayName(recipient);
  const url = rig.webhook.replace(/^http/, "ws").replace("/webhook/github", "/drain");
  const key_file = join(rig.folder, "keys", name, "relay-drain.key");
  return { edge: { url, relay: name, key_file, streams: [recipient] }, canary_seconds: 0 };
}

async function send(rig: Rig, pushes: number): Promise<string[]> {
  const deliveries: string[] = [];
  for (let push = 0; push < pushes; push += 1) deliveries.push(await rig.push({ push }));
  return deliveries;
}

/** Pushes, one after the other, while `during` runs; resolves with them all. */
async function underLoad(
  rig: Rig,
  during: (pushed: readonly string[]) => Promise<void>,
): Promise<readonly string[]> {
  const pushed: string[] = [];
  const stopping = new AbortController();
  const sending = (async () => {
    while (!stopping.signal.aborted) {
      pushed.push(await rig.push({}));
      await sleep(PACE_MS);
    }
  })();
  try {
    await during(pushed);
  } finally {
    stopping.abort();
    await sending;
  }
  return pushed;
}
