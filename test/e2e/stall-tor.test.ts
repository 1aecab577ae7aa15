/**
 * Streams through Tor that stay open and carry nothing, because a tor on their way is stopped: each end notices by
 * itself, within the bound that docs/tor.md states, frees what the other had, and nothing is lost.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ONION_PORT } from "../../cli/router.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";
import { connectControl } from "../../shared/tor/control.ts";
import { clientAuthPublicKey, onionAddress } from "../../shared/tor/onion-keys.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../shared/tor/private-network.ts";
import { type DevEvent } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import type { Part } from "../helpers/part.ts";
import { describeWith } from "../helpers/peers.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import { REALM } from "../helpers/rig-router.ts";
import { makeTorSupervisor } from "../shared/tor/tor-supervisor.ts";

/** Milliseconds that docs/tor.md states, "Streams that stall". */
const DRAIN_BOUND_MS = 30_000;
const WAMP_BOUND_MS = 20_000;
const LEASE_MS = 90_000;
/** Milliseconds between the drain's heartbeats: the edge's last word of a relay may be that old. */
const HEARTBEAT_MS = 20_000;
/** Milliseconds by which a busy machine may be late. */
const LATE_MS = 3000;
const PATIENCE_MS = 240_000;

type Wanted = (event: DevEvent) => boolean;

const disconnected =
  (from: string): Wanted =>
  (event) =>
    event.event === "disconnected" && event["from"] === from;
const connected =
  (to: string): Wanted =>
  (event) =>
    event.event === "connected" && event["to"] === to;
const drained =
  (delivery: string): Wanted =>
  (event) =>
    event.event === "drained" && event["delivery"] === delivery;
const left =
  (authid: string): Wanted =>
  (event) =>
    event.event === "left" && event["authid"] === authid;

describeWith("tor", "a stream through Tor that stalls", (tor) => {
  const dir = mkdtempSync(join(tmpdir(), "oh-"));
  const seed = randomBytes(32);
  const secrets = { "relay-one": randomBytes(32), builder: randomBytes(32) };
  const clients = Object.keys(secrets) as (keyof typeof secrets)[];
  const supervisor = makeTorSupervisor();
  const sent: string[] = [];
  let network: PrivateNetwork;
  let rig: Rig;
  let relay: Part;
  let builder: Part;

  beforeAll(async () => {
    network = makePrivateNetwork({
      dir: join(dir, "tor"),
      tor,
      spawn: supervisor.spawn,
      report: () => {},
      clients,
      clientAuth: clients.map((client) => ({ onion: onionAddress(seed), secret: secrets[client], client })),
    });
    const keyFile = join(dir, "onion.key");
    writeSecretFile(keyFile, formatKey("onion-service", "secret", seed));
    const publicKey = (client: keyof typeof secrets) =>
      formatKey("onion-client", "public", clientAuthPublicKey(secrets[client]));
    await network.start();
    rig = await startRig({
      relays: ["relay-one", "relay-two"],
      builders: ["builder"],
      onion: {
        control: `unix:${network.serviceControl}`,
        key_file: keyFile,
        clients: { relay: publicKey("relay-one"), builder: publicKey("builder") },
      },
    });
    relay = rig.startRelay("relay-one", throughTor("relay-one", "relay-wamp"));
    builder = rig.startBuilder("builder", throughTor("builder", "builder-wamp"));
    await built(await send());
  }, PATIENCE_MS);

  afterAll(async () => {
    await rig?.stop();
    await network?.close();
    rmSync(dir, { recursive: true, force: true });
    expect(supervisor.pids).toEqual([]);
  });

  function throughTor(name: keyof typeof secrets, key: string): object {
    return {
      tor: `unix:${network.socksOf(name).unix}`,
      router: {
        url: `ws://${onionAddress(seed)}:${ONION_PORT}/`,
        realm: REALM,
        authid: name,
        key_file: join(rig.folder, "keys", name, `${key}.key`),
      },
    };
  }

  async function send(): Promise<string> {
    const delivery = await rig.push({});
    sent.push(delivery);
    return delivery;
  }

  const buildsOf = (delivery: string) =>
    builder.events.filter((event) => event.event === "built" && event["delivery"] === delivery);
  const built = (delivery: string) =>
    eventually("it is built", () => buildsOf(delivery).length > 0, PATIENCE_MS);

  /** How many milliseconds after `since` it was said first. */
  async function said(events: readonly DevEvent[], wanted: Wanted, since: number): Promise<number> {
    const find = () => events.find((event) => event.at >= since && wanted(event));
    await eventually("it is said", () => find() !== undefined, PATIENCE_MS);
    return (find()?.at ?? NaN) - since;
  }

  /** Stops a tor while `work` goes on; gives it when that was. */
  async function whileFrozen(name: string, work: (since: number) => Promise<void>): Promise<void> {
    const since = Date.now();
    supervisor.freeze(name);
    try {
      await work(since);
    } finally {
      supervisor.thaw(name);
    }
  }

  /** What is sent when all are back is built, and so is what was sent before. */
  async function allAreBuilt(): Promise<void> {
    await built(await send());
    for (const delivery of sent) await built(delivery);
    expect(
      sent.filter((delivery) => buildsOf(delivery).length !== 1),
      "built once",
    ).toEqual([]);
  }

  it(
    "at the builder's tor is missed by builder and router, and the relay keeps what comes meanwhile",
    async ({ annotate }) => {
      await whileFrozen("builder", async (since) => {
        await send();
        const byRouter = await said(rig.router.events, left("builder"), since);
        const byBuilder = await said(builder.events, disconnected("router"), since);
        const noAudience: Wanted = ({ event, builders }) => event === "audience" && builders === 0;
        const byRelay = await said(relay.events, noAudience, since);
        await send();
        await annotate(JSON.stringify({ byRouter, byBuilder, byRelay }));
        for (const ms of [byRouter, byBuilder, byRelay]) expect(ms).toBeLessThan(WAMP_BOUND_MS + LATE_MS);
      });
      await allAreBuilt();
    },
    2 * PATIENCE_MS,
  );

  it(
    "at the relay's tor is missed by relay, router and edge, which gives another relay what this one had",
    async ({ annotate }) => {
      await whileFrozen("relay-one", async (since) => {
        const held = [await send(), await send()];
        const givenAfter = Date.now() - since;
        const byRouter = await said(rig.router.events, left("relay-one"), since);
        const byRelay = await said(relay.events, disconnected("router"), since);
        const drain = await said(relay.events, disconnected("edge"), since);
        for (const ms of [byRouter, byRelay]) expect(ms).toBeLessThan(WAMP_BOUND_MS + LATE_MS);
        expect(drain).toBeLessThan(DRAIN_BOUND_MS + LATE_MS);
        const other = rig.startRelay("relay-two");
        const freed: number[] = [];
        for (const delivery of held) {
          freed.push(await said(other.events, drained(delivery), since));
          await built(delivery);
        }
        await annotate(JSON.stringify({ givenAfter, byRouter, byRelay, drain, freed }));
        for (const ms of freed) {
          expect(ms).toBeGreaterThan(LEASE_MS - HEARTBEAT_MS - LATE_MS);
          expect(ms).toBeLessThan(givenAfter + LEASE_MS + LATE_MS);
        }
        expect(await other.end("SIGTERM")).toBe(0);
      });
      await allAreBuilt();
    },
    2 * PATIENCE_MS,
  );

  it(
    "in the middle of the drain's circuit is missed by the relay, which dials around it",
    async ({ annotate }) => {
      await whileFrozen(await midwayOfDrain(), async (since) => {
        const delivery = await send();
        const drain = await said(relay.events, disconnected("edge"), since);
        expect(drain).toBeLessThan(DRAIN_BOUND_MS + LATE_MS);
        const back = await said(relay.events, connected("edge"), since + drain);
        await annotate(JSON.stringify({ drain, back }));
        await said(relay.events, drained(delivery), since);
      });
      await allAreBuilt();
    },
    2 * PATIENCE_MS,
  );

  it(
    "at the onion service's tor is missed by relay, builder and router",
    async ({ annotate }) => {
      await whileFrozen("service", async (since) => {
        await send();
        const missed = {
          relay: await said(relay.events, disconnected("router"), since),
          builder: await said(builder.events, disconnected("router"), since),
          routerOfRelay: await said(rig.router.events, left("relay-one"), since),
          routerOfBuilder: await said(rig.router.events, left("builder"), since),
        };
        await annotate(JSON.stringify(missed));
        for (const ms of Object.values(missed)) expect(ms).toBeLessThan(WAMP_BOUND_MS + LATE_MS);
      });
      await allAreBuilt();
    },
    2 * PATIENCE_MS,
  );

  /** A tor on the drain's way, neither the first nor the last, by the word of the relay's own. */
  async function midwayOfDrain(): Promise<string> {
    const { port } = new URL(rig.webhook);
    const control = await connectControl({ path: network.controlOf("relay-one") });
    try {
      const streams = await control.getInfo("stream-status");
      const circuit = new RegExp(`^\\d+ SUCCEEDED (\\d+) .*:${port}$`, "m").exec(streams)?.[1];
      const circuits = (await control.getInfo("circuit-status")).split("\n");
      const [, , path = ""] = circuits.find((line) => line.startsWith(`${circuit} BUILT `))?.split(" ") ?? [];
      const [, midway] = path.split(",");
      const name = midway?.split("~")[1];
      if (name === undefined) throw new Error("the drain has no circuit");
      return name;
    } finally {
      control.close();
      await control.closed;
    }
  }
});
