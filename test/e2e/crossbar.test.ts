/**
 * docs/crossbar.md, followed: the deployed configuration with keys put in, on the real Crossbar.io, its socket behind a
 * HiddenServiceDir with client authorisation on a private Tor network; relay and builder come through the onion.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeKey } from "../../cli/key-set.ts";
import { writeHiddenServiceDir } from "../../shared/tor/hidden-service-dir.ts";
import { clientAuthPublicKey, onionAddress } from "../../shared/tor/onion-keys.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../shared/tor/private-network.ts";
import { dial } from "../../shared/tor/socks.ts";
import { type Crossbar, startCrossbar } from "../helpers/crossbar.ts";
import { eventually } from "../helpers/until.ts";
import type { Part } from "../helpers/part.ts";
import { describeWith, ROOT } from "../helpers/peers.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import { makeTorSupervisor } from "../shared/tor/tor-supervisor.ts";

const PORT = 80;
/** Milliseconds. Seconds are usual; the machine may be busy. */
const PATIENCE_MS = 240_000;

describeWith("tor", "Crossbar.io behind an onion service", (tor) => {
  describeWith("crossbar", "with client authorisation", () => {
    const seed = randomBytes(32);
    const secrets = { relay: randomBytes(32), builder: randomBytes(32) };
    const onion = onionAddress(seed);
    const supervisor = makeTorSupervisor();
    let dir: string;
    let rig: Rig;
    let crossbar: Crossbar;
    let network: PrivateNetwork;
    let relay: Part;
    let builder: Part;

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), "oh-onion-crossbar-"));
      // Its own router is not used: only the edge, and the keys.
      rig = await startRig({ relays: ["relay"], builders: ["builder"] });
      for (const folder of ["onion", "local"]) mkdirSync(join(dir, "run", folder), { recursive: true });
      crossbar = await startCrossbar(deployed(join(dir, "run"), rig));
      await writeHiddenServiceDir(join(dir, "hs"), seed, {
        relay: clientAuthPublicKey(secrets.relay),
        builder: clientAuthPublicKey(secrets.builder),
      });
      network = makePrivateNetwork({
        dir: join(dir, "net"),
        tor,
        spawn: supervisor.spawn,
        report: () => undefined,
        clients: ["relay", "builder", "stranger"],
        clientAuth: (["relay", "builder"] as const).map((client) => ({
          onion,
          secret: secrets[client],
          client,
        })),
        onions: [{ dir: join(dir, "hs"), port: PORT, target: { path: join(dir, "run/onion/router.sock") } }],
      });
      supervisor.onRestart = (name) => void network.restarted(name).catch(() => {});
      await network.start();
    }, PATIENCE_MS);

    afterAll(async () => {
      await rig.stop();
      await network.close();
      await crossbar.stop();
      rmSync(dir, { recursive: true });
      expect(supervisor.pids).toEqual([]);
    }, 60_000);

    const through = (name: "relay" | "builder") => ({
      tor: `unix:${network.socksOf(name).unix}`,
      router: {
        url: `ws://${onion}/`,
        realm: "onionhook",
        authid: name,
        key_file: makeKey(join(rig.folder, "keys", name), `${name}-wamp`).file,
      },
    });
    const has = (part: Part, event: string, delivery: string) =>
      part.events.some((each) => each.event === event && each["delivery"] === delivery);

    it(
      "brings an event from the edge to the builder, and its receipt back",
      { timeout: PATIENCE_MS },
      async () => {
        builder = rig.startBuilder("builder", through("builder"));
        relay = rig.startRelay("relay", through("relay"));
        const delivery = await rig.push({});
        await eventually("it is built", () => has(builder, "built", delivery), PATIENCE_MS);
        const isAccepted = () => relay.events.some(({ event, seq }) => event === "accepted" && seq === 1);
        await eventually("the edge has its receipt", isAccepted, PATIENCE_MS);
        expect(builder.events.find(({ event }) => event === "opened")?.["signature"]).toBe("verified");
      },
    );

    it("brings the next one when Crossbar.io was killed in between", { timeout: PATIENCE_MS }, async () => {
      await crossbar.kill();
      const delivery = await rig.push({});
      await crossbar.restart();
      await eventually("it is opened", () => has(builder, "opened", delivery), PATIENCE_MS);
    });

    it("lets nobody near who has no key for the onion", async () => {
      const proxy = { path: network.socksOf("stranger").unix };
      const attempt = dial(proxy, onion, PORT, { isolation: "stranger", timeoutMs: 60_000 });
      await expect(attempt).rejects.toMatchObject({ code: "ERR_TOR_CLIENT_AUTH_MISSING" });
    }, 90_000);
  });
});

/** deploy/crossbar.json with relay's and builder's keys in its transport `onion`, and its sockets elsewhere. */
function deployed(run: string, { folder }: Rig): object {
  const text = readFileSync(join(ROOT, "deploy/crossbar.json"), "utf8");
  const config = JSON.parse(text.replaceAll("/run/onionhook-crossbar", run)) as {
    workers: [{ transports: [{ auth: { cryptosign: { principals: Record<string, Principal> } } }] }];
  };
  const { principals } = config.workers[0].transports[0].auth.cryptosign;
  for (const name of ["relay", "builder"] as const) {
    const key = makeKey(join(folder, "keys", name), `${name}-wamp`).public["crossbar"];
    principals[name]?.authorized_keys.push(key ?? "");
  }
  return config;
}

interface Principal {
  authorized_keys: string[];
}
