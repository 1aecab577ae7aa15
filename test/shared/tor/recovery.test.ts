/**
 * How long a session through an onion service is away when something on its way dies: one whose Tor may be told to
 * forget (`tor_control`), and one whose Tor may not. The figures of docs/tor.md are these.
 */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { parseRouterConfig } from "../../../router/config.ts";
import { startRouter, type Router } from "../../../router/router.ts";
import { connectControl } from "../../../shared/tor/control.ts";
import { clientAuthPublicKey, onionAddress } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService, type OnionService } from "../../../shared/tor/onion-service.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../../shared/tor/private-network.ts";
import { watchTor } from "../../../shared/tor/watch.ts";
import { joinWamp } from "../../../shared/wamp/session.ts";
import { superviseWamp } from "../../../shared/wamp/supervisor.ts";
import { describeWith } from "../../helpers/peers.ts";
import { newKeyPair } from "../../router/raw-client.ts";
import { configJson, PRINCIPALS, TRANSPORT } from "../../router/testbed.ts";
import { makeTorSupervisor } from "./tor-supervisor.ts";

const PORT = 80;
/**
 * Milliseconds. Seconds are usual with `tor_control`; but relays that die in quick succession can take so many
 * introduction points along that Tor replaces them only in its next period, minutes later.
 */
const BOUND_MS = 240_000;
/** Milliseconds that a service stays away, so that its clients try in vain meanwhile. */
const AWAY_MS = 20_000;

/** A session that is kept through a Tor of its own. */
interface Kept {
  readonly reports: { event: string; at: number; fields: Readonly<Record<string, unknown>> }[];
  readonly ended: Promise<unknown>;
}

describeWith("tor", "sessions through an onion service (real tor)", (tor) => {
  const seed = crypto.getRandomValues(new Uint8Array(32));
  const secrets = {
    told: crypto.getRandomValues(new Uint8Array(32)),
    untold: crypto.getRandomValues(new Uint8Array(32)),
  };
  const keys = { relay: newKeyPair(), builder: newKeyPair() };
  const supervisor = makeTorSupervisor();
  const stop = new AbortController();
  const through = new Set<net.Socket>();
  let dir: string;
  let network: PrivateNetwork;
  let router: Router;
  let target: net.Server;
  let targetPort: number;
  let service: OnionService;
  let told: Kept;
  let untold: Kept;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "oh-recovery-"));
    const json = configJson(
      [`${TRANSPORT}.endpoint.port`, 0],
      [`${PRINCIPALS}.relay.authorized_keys`, [keys.relay.publicHex]],
      [`${PRINCIPALS}.builder.authorized_keys`, [keys.builder.publicHex]],
    );
    router = await startRouter({ config: parseRouterConfig(json, "/nowhere"), report: () => {} });
    target = net.createServer(forward);
    await openTarget();
    network = makePrivateNetwork({
      dir,
      tor,
      spawn: supervisor.spawn,
      report: () => {},
      clients: ["told", "untold"],
      clientAuth: (["told", "untold"] as const).map((client) => ({
        onion: onionAddress(seed),
        secret: secrets[client],
        client,
      })),
    });
    await network.start();
    service = publish();
    await service.published;
    told = keep("told", "relay");
    untold = keep("untold", "builder");
    await both("connected", 0);
  });

  // What killed one session may have cut the other as well.
  const bothUp = () => until("both sessions are up", () => [told, untold].every(isUp));
  beforeEach(bothUp, BOUND_MS);

  afterAll(async () => {
    stop.abort();
    await Promise.all([told.ended, untold.ended, service.close()]);
    await network.close();
    dropAll();
    await router.close();
    await new Promise((resolve) => target.close(resolve));
    await rm(dir, { recursive: true });
    expect(supervisor.pids).toEqual([]);
  });

  /** Where the onion service leads to: the router, whose death is this one's. */
  function forward(near: net.Socket): void {
    const [endpoint] = router.endpoints;
    if (endpoint === undefined || !("port" in endpoint)) throw new Error("the router listens on TCP");
    const far = net.connect(endpoint);
    for (const socket of [near, far]) {
      through.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => [near, far].forEach((each) => each.destroy()));
    }
    near.pipe(far).pipe(near);
  }

  function dropAll(): void {
    for (const socket of through) socket.destroy();
    through.clear();
  }

  async function openTarget(): Promise<void> {
    target.listen(targetPort ?? 0, "127.0.0.1");
    await once(target, "listening");
    targetPort = (target.address() as net.AddressInfo).port;
  }

  const publish = () =>
    publishOnionService({
      control: { path: network.serviceControl },
      seed,
      virtualPort: PORT,
      target: { host: "127.0.0.1", port: targetPort },
      access: { clients: Object.values(secrets).map((secret) => clientAuthPublicKey(secret)) },
      introductionGraceMs: 6000,
      report: () => {},
    });

  function keep(client: "told" | "untold", authid: "relay" | "builder"): Kept {
    const reports: Kept["reports"] = [];
    const report = (event: string, fields: Readonly<Record<string, unknown>> = {}) =>
      void reports.push({ event, at: performance.now(), fields });
    const control = client === "told" ? { path: network.controlOf(client) } : undefined;
    const watch = watchTor(control, report, stop.signal);
    const supervised = superviseWamp({
      purpose: authid,
      join: (isolation) =>
        joinWamp({
          url: `ws://${onionAddress(seed)}:${PORT}/`,
          realm: "onionhook",
          authid,
          seed: new Uint8Array(
            Buffer.from(keys[authid].privateKey.export({ format: "jwk" }).d ?? "", "base64url"),
          ),
          tor: { path: network.socksOf(client).unix },
          isolation,
          signal: stop.signal,
        }),
      onSession: async () => {},
      onLost: () => {},
      watch,
      report,
      signal: stop.signal,
    });
    return { reports, ended: Promise.all([supervised, watch.ended]) };
  }

  const isUp = ({ reports }: Kept) =>
    reports.findLast(({ event }) => event === "connected" || event === "disconnected")?.event === "connected";

  const saidSince = ({ reports }: Kept, event: string, since: number) =>
    reports.find((report) => report.event === event && report.at >= since);

  async function until(what: string, isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + BOUND_MS;
    while (!isSo()) {
      if (performance.now() > deadline) throw new Error(`in ${BOUND_MS} ms not: ${what}`);
      await sleep(50);
    }
  }

  const both = (event: string, since: number) =>
    until(`both ${event}`, () => [told, untold].every((kept) => saidSince(kept, event, since) !== undefined));

  /** Milliseconds from `since` until each is back, having been lost. */
  async function awayFor(since: number): Promise<{ told: number; untold: number }> {
    const backAfter = (kept: Kept) => {
      const lost = saidSince(kept, "disconnected", since);
      const back = lost && saidSince(kept, "connected", lost.at);
      return back === undefined ? undefined : Math.round(back.at - since);
    };
    await until("both are back", () => backAfter(told) !== undefined && backAfter(untold) !== undefined);
    return { told: backAfter(told) ?? 0, untold: backAfter(untold) ?? 0 };
  }

  /** The name of a relay that the client's session goes through. */
  async function relayUnder(client: string): Promise<string> {
    const control = await connectControl({ path: network.controlOf(client) });
    try {
      for (;;) {
        const [, , circuit = ""] = (await control.getInfo("stream-status")).split(" ");
        const circuits = (await control.getInfo("circuit-status")).split("\n");
        const [, , path = ""] = circuits.find((line) => line.startsWith(`${circuit} `))?.split(" ") ?? [];
        const relay = /~(relay\d)/.exec(path)?.[1];
        if (relay !== undefined) return relay;
        await sleep(100);
      }
    } finally {
      control.close();
      await control.closed;
    }
  }

  it(
    "are back after the service's tor was killed and came back at once",
    async ({ annotate }) => {
      const since = performance.now();
      await supervisor.kill("service");
      await annotate(JSON.stringify(await awayFor(since)));
    },
    2 * BOUND_MS,
  );

  it(
    "are back after their own tor was killed and came back at once",
    async ({ annotate }) => {
      const since = performance.now();
      await Promise.all([supervisor.kill("told"), supervisor.kill("untold")]);
      await annotate(JSON.stringify(await awayFor(since)));
    },
    2 * BOUND_MS,
  );

  it(
    "are back after a relay on the way was killed and came back at once",
    async ({ annotate }) => {
      const away: Record<string, number> = {};
      for (const client of ["told", "untold"] as const) {
        await bothUp();
        const relay = await relayUnder(client);
        const kept = { told, untold }[client];
        const since = performance.now();
        await supervisor.kill(relay);
        await until(`${client} is lost`, () => saidSince(kept, "disconnected", since) !== undefined);
        await until(`${client} is back`, () => saidSince(kept, "connected", since) !== undefined);
        away[client] = Math.round((saidSince(kept, "connected", since)?.at ?? 0) - since);
      }
      await annotate(JSON.stringify(away));
    },
    2 * BOUND_MS,
  );

  it(
    "are back after the router was away, and its service was published anew",
    async ({ annotate }) => {
      const since = performance.now();
      await service.close();
      await new Promise((resolve) => {
        target.close(resolve);
        dropAll();
      });
      await both("disconnected", since);
      // They find no service, or an old descriptor of one.
      await both("error", since);
      await sleep(AWAY_MS);
      const again = performance.now();
      await openTarget();
      service = publish();
      await service.published;
      await both("connected", again);
      const after = (kept: Kept) => Math.round((saidSince(kept, "connected", again)?.at ?? 0) - again);
      await annotate(JSON.stringify({ told: after(told), untold: after(untold) }));
    },
    2 * BOUND_MS,
  );
});
