/** Several relays on the streams of one recipient, and several builders that share its work. */
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { startAutobahn } from "../helpers/autobahn.ts";
import { eventually } from "../helpers/until.ts";
import { describeWith } from "../helpers/peers.ts";
import { type Part, said } from "../helpers/part.ts";
import { type Rig, startRig } from "../helpers/rig.ts";

/** So many that each of two builders has some, by all odds: one in 32,768 runs has none. */
const STREAMS = ["builder", ...Array.from({ length: 15 }, (_, index) => `builder-${index + 2}`)];

let rig: Rig | undefined;

afterEach(async () => {
  await rig?.stop();
  rig = undefined;
});

const builtBy = (...parts: Part[]) =>
  parts.flatMap(({ events }) =>
    events.filter(({ event }) => event === "built").map(({ delivery }) => String(delivery)),
  );

describe("several relays and builders", () => {
  it("share the work: each event is built once, also when one of each ends in the middle", async () => {
    const running = (rig = await startRig({
      relays: ["relay-one", "relay-two"],
      builders: ["builder-one", "builder-two"],
      recipients: { builder: { streams: STREAMS.length } },
    }));
    const config = (name: string) => ({
      edge: {
        ...relayEdge(running, name),
        streams: STREAMS,
      },
    });
    const relays = ["relay-one", "relay-two"].map((name) => running.startRelay(name, config(name)));
    const builders = ["builder-one", "builder-two"].map((name) =>
      running.startBuilder(name, { share: true }),
    );
    for (const relay of relays)
      await eventually(
        "a relay sees both builders",
        () => relay.events.some(({ event, builders: seen }) => event === "audience" && seen === 2),
        120_000,
      );
    const sent: string[] = [];
    const send = async (pushes: number) => {
      for (let push = 0; push < pushes; push += 1) {
        const id = push % 20;
        sent.push(await running.push({ repository: { id, full_name: `owner/name-${id}` } }));
      }
    };
    await send(100);
    const [relayOne, relayTwo] = relays as [Part, Part];
    const [builderOne, builderTwo] = builders as [Part, Part];
    await eventually("all are built", () => builtBy(...builders).length >= sent.length, 60_000);
    expect(said(builderOne, "opened"), "builder-one has its share").toBeGreaterThan(0);
    expect(said(builderTwo, "opened"), "builder-two has its share").toBeGreaterThan(0);
    expect(said(builderOne, "opened") + said(builderTwo, "opened")).toBe(sent.length);

    const sending = send(100);
    expect(await relayOne.end("SIGTERM")).toBe(0);
    expect(await builderOne.end("SIGTERM")).toBe(0);
    await sending;
    // A build that the end of its builder broke off is run again by that builder.
    builderOne.start();
    await eventually("all are built", () => new Set(builtBy(...builders)).size >= sent.length, 90_000);
    expect(builtBy(...builders).toSorted(), "none twice, none invented").toEqual(sent.toSorted());
    expect(said(relayTwo, "drained")).toBeGreaterThan(0);
  }, 240_000);
});

describeWith("autobahn", "receipts off", () => {
  it("an Autobahn|Python builder alone gets every event, and what came while it was away", async () => {
    const running = (rig = await startRig({
      relays: ["relay-one"],
      builders: ["builder-one"],
      recipients: { builder: { receipts: false } },
    }));
    const relay = running.startRelay("relay-one");
    const early = [await running.push({}), await running.push({}, "issues")];
    await eventually("both are with the relay", () => said(relay, "drained") >= 2, 30_000);
    expect(said(relay, "accepted")).toBe(0);
    const builder = await startAutobahn(
      running.configureBuilder("builder-one"),
      running.router.url,
      "msgpack",
    );
    try {
      const sent = [...early, await running.push({}), await running.push({}, "issues")];
      await eventually("all arrive", () => sent.every((id) => builder.received.has(id)), 30_000);
      await eventually("and are done", () => said(relay, "accepted") >= sent.length, 30_000);
    } finally {
      await builder.stop();
    }
  }, 120_000);
});

function relayEdge({ webhook, folder }: Rig, name: string): object {
  return {
    url: webhook.replace(/^http(.*)\/webhook\/github$/, "ws$1/drain"),
    relay: name,
    key_file: join(folder, "keys", name, "relay-drain.key"),
  };
}
