/** A client that solves a proof of work for an onion service, and is let in by it. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { connectControl } from "../../../shared/tor/control.ts";
import { clientAuthPublicKey, onionAddress } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService } from "../../../shared/tor/onion-service.ts";
import { makePrivateNetwork } from "../../../shared/tor/private-network.ts";
import { dial } from "../../../shared/tor/socks.ts";
import { describeWith } from "../../helpers/peers.ts";
import { makeTorSupervisor } from "./tor-supervisor.ts";

const PORT = 80;
const PATIENCE_MS = 60_000;

describeWith("tor", "an onion service with the proof-of-work defence (real tor)", (tor) => {
  /**
   * A service that is not flooded asks for no work, and one that is only after 300 s. But for an introduction point that
   * it could not reach a client's Tor does some unasked (hspow-spec, CLIENT_MIN_RETRY_POW_EFFORT), and so it must fail.
   */
  it("has a client's Tor solve one by itself, and counts it", async () => {
    const dir = await mkdtemp(join(tmpdir(), "oh-pow-"));
    const [seed, secret] = [randomBytes(32), randomBytes(32)];
    const target = { path: join(dir, "target") };
    const server = net.createServer((socket) => socket.on("error", () => undefined).pipe(socket));
    server.listen(target.path);
    await once(server, "listening");
    const supervisor = makeTorSupervisor();
    const network = makePrivateNetwork({
      dir: join(dir, "net"),
      tor,
      spawn: supervisor.spawn,
      report: () => undefined,
      clientAuth: [{ onion: onionAddress(seed), secret }],
    });
    try {
      await network.start();
      const service = publishOnionService({
        control: { path: network.serviceControl },
        seed,
        virtualPort: PORT,
        target,
        access: { clients: [clientAuthPublicKey(secret)] },
        pow: { queueRate: 50, queueBurst: 100 },
        report: () => undefined,
      });
      await service.published;
      const client = await connectControl({ path: network.clientControl });
      const host = await connectControl({ path: network.serviceControl });
      let isToFail = false;
      await client.subscribe("CIRC", (event) => {
        const [circuit = ""] = event.split(" ");
        if (!isToFail || !event.includes("PURPOSE=HS_CLIENT_INTRO")) return;
        isToFail = false;
        // One that has just gone by itself is as good.
        client.command(`CLOSECIRCUIT ${circuit}`).catch(() => undefined);
      });

      let dials = 0;
      const efforts = async () => {
        isToFail = true;
        const isolation = `dial-${(dials += 1)}`;
        const socket = await dial({ path: network.socks.unix }, onionAddress(seed), PORT, { isolation });
        const circuits = await Promise.all([client, host].map((each) => each.getInfo("circuit-status")));
        socket.destroy();
        return circuits.map((text) => /HS_POW=v1,(\d+)/.exec(text)?.[1]);
      };
      const some = expect.stringMatching(/^(8|16|32|64)$/);
      await expect.poll(() => efforts().catch(() => []), { timeout: PATIENCE_MS }).toEqual([some, some]);
      client.close();
      host.close();
      await service.close();
    } finally {
      await network.close();
      await new Promise((resolve) => server.close(resolve));
      await rm(dir, { recursive: true });
    }
    expect(supervisor.pids).toEqual([]);
  }, 180_000);
});
