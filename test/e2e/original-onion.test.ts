/**
 * The original's builder through Tor: `tor:` endpoints, client authorisation, a private network. Our router is published
 * by ADD_ONION, Crossbar.io stands behind a HiddenServiceDir.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { ONION_PORT } from "../../cli/router.ts";
import { formatKey } from "../../shared/keys.ts";
import { writeHiddenServiceDir } from "../../shared/tor/hidden-service-dir.ts";
import { clientAuthPublicKey, onionAddress } from "../../shared/tor/onion-keys.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../shared/tor/private-network.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { describeWith } from "../helpers/peers.ts";
import { type Rig, startRig } from "../helpers/rig.ts";
import { makeTorSupervisor } from "../shared/tor/tor-supervisor.ts";
import { describeOriginal, PARTIES } from "./original.contract.ts";

describeWith("crossbar", "a builder as the original's, through Tor", () => {
  describeWith("tor", "and real onion services", (tor) => {
    const dir = mkdtempSync(join(tmpdir(), "oh-"));
    const client = randomBytes(32);
    const seeds = { ours: randomBytes(32), crossbar: randomBytes(32) };
    const supervisor = makeTorSupervisor();
    let network: PrivateNetwork;
    let rigs: { ours: Rig; crossbar: Rig };

    beforeAll(async () => {
      const crossbar = await startRig({ ...PARTIES, kind: "crossbar" });
      const service = join(dir, "crossbar");
      await writeHiddenServiceDir(service, seeds.crossbar, { builder: clientAuthPublicKey(client) });
      network = makePrivateNetwork({
        dir: join(dir, "tor"),
        tor,
        spawn: supervisor.spawn,
        report: () => {},
        clientAuth: Object.values(seeds).map((seed) => ({ onion: onionAddress(seed), secret: client })),
        onions: [{ dir: service, port: ONION_PORT, target: { path: crossbar.router.socket } }],
      });
      const keyFile = join(dir, "onion.key");
      writeSecretFile(keyFile, formatKey("onion-service", "secret", seeds.ours));
      const ours = await startRig({
        ...PARTIES,
        kind: "ours",
        onion: {
          control: `unix:${network.serviceControl}`,
          key_file: keyFile,
          clients: { builder: formatKey("onion-client", "public", clientAuthPublicKey(client)) },
        },
      });
      rigs = { ours, crossbar };
      await network.start();
    }, 240_000);

    afterAll(async () => {
      await Promise.all([rigs?.ours.stop(), rigs?.crossbar.stop(), network?.close()]);
      rmSync(dir, { recursive: true, force: true });
    });

    describe.each([
      { title: "our router, by ADD_ONION", kind: "ours" },
      { title: "Crossbar.io, by HiddenServiceDir", kind: "crossbar" },
    ] as const)("of $title", ({ kind }) => {
      describeOriginal(async () => {
        const [host, port] = network.socks.tcp.split(":");
        const where = `tor:${onionAddress(seeds[kind])}:${ONION_PORT}:socksHostname=${host}:socksPort=${port}`;
        return { rig: rigs[kind], where };
      });
    });
  });
});
