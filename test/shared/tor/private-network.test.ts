import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { connectControl } from "../../../shared/tor/control.ts";
import { clientAuthPublicKey, onionAddress, onionKeyBlob } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService, type OnionService } from "../../../shared/tor/onion-service.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../../shared/tor/private-network.ts";
import { dial, parseSocksProxy } from "../../../shared/tor/socks.ts";
import { describeWith } from "../../helpers/peers.ts";
import { makeTorSupervisor } from "./tor-supervisor.ts";

/** Virtual port of the echo server; the next one is closed. */
const PORT = 80;
/**
 * Milliseconds. Seconds are usual; but relays that die in quick succession, as here, can take so many
 * introduction points along that Tor replaces them only in its next period, minutes later.
 */
const RECOVERY_MS = 240_000;
const NOT_YET = /^ERR_TOR_(TIMEOUT|ONION_(NOT_FOUND|DESCRIPTOR|INTRO|RENDEZVOUS|TIMEOUT))$/;

describeWith("tor", "a private Tor network (real tor)", (tor) => {
  const mine = { seed: randomBytes(32), secret: randomBytes(32) };
  const noKey = { seed: randomBytes(32) };
  const wrongKey = { seed: randomBytes(32), secret: randomBytes(32) };
  const supervisor = makeTorSupervisor();
  const reports: { event: string; fields: unknown }[] = [];
  const services: OnionService[] = [];
  let dir: string;
  let network: PrivateNetwork;
  let echo: net.Server;
  let echoPort: number;
  let restarting: Promise<unknown> = Promise.resolve();

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "onionhook tor #"));
    echo = net.createServer((socket) => socket.on("error", () => undefined).pipe(socket));
    echo.listen(0, "127.0.0.1");
    await once(echo, "listening");
    echoPort = (echo.address() as net.AddressInfo).port;
    network = makePrivateNetwork({
      dir,
      tor,
      spawn: supervisor.spawn,
      report: (event, fields) => reports.push({ event, fields }),
      clientAuth: [
        { onion: onionAddress(mine.seed), secret: mine.secret },
        { onion: onionAddress(wrongKey.seed), secret: wrongKey.secret },
      ],
    });
    supervisor.onRestart = (name) => {
      restarting = Promise.all([restarting, network.restarted(name)]);
      // Told of where it is awaited.
      restarting.catch(() => {});
    };
    await network.start();
    for (const { seed } of [mine, noKey, wrongKey]) services.push(publish(seed));
    await Promise.all(services.map((service) => service.published));
  });

  afterAll(async () => {
    await restarting;
    await Promise.all(services.map((service) => service.close()));
    await network.close();
    await new Promise((resolve) => echo.close(resolve));
    await rm(dir, { recursive: true });
    expect(supervisor.pids).toEqual([]);
  });

  function publish(seed: Uint8Array): OnionService {
    return publishOnionService({
      control: { path: network.serviceControl },
      seed,
      virtualPort: PORT,
      target: { host: "127.0.0.1", port: echoPort },
      access: { clients: [clientAuthPublicKey(mine.secret)] },
      introductionGraceMs: 6000,
      report: (event, fields) => reports.push({ event, fields }),
    });
  }

  async function echoed(host: string, port: number, isolation = "test"): Promise<void> {
    const socket = await dial({ path: network.socks.unix }, host, port, { isolation, timeoutMs: 15_000 });
    try {
      const answer = once(socket, "data", { signal: AbortSignal.timeout(5000) });
      socket.write("hello");
      expect(String((await answer)[0])).toBe("hello");
    } finally {
      socket.destroy();
    }
  }

  /** Tries until it answers. Errors that may not be retried end it. */
  async function eventually(host: string, port: number): Promise<void> {
    const deadline = performance.now() + RECOVERY_MS;
    for (;;) {
      try {
        return await echoed(host, port);
      } catch (error) {
        if (performance.now() > deadline || (error instanceof OnionhookError && !error.retryable))
          throw error;
      }
      await sleep(200);
    }
  }

  /** The code of the first failure that is not "not there yet", or too slow. */
  async function refusal(host: string, port: number): Promise<string> {
    for (;;) {
      try {
        await echoed(host, port);
        return "none";
      } catch (error) {
        if (!(error instanceof OnionhookError)) throw error;
        if (!NOT_YET.test(error.code)) return error.code;
      }
      await sleep(200);
    }
  }

  it("tells its progress up to 100 with 5 relays", () => {
    const progress = reports.filter(({ event }) => event === "tor").map(({ fields }) => fields);
    expect(progress.at(-1)).toEqual({ progress: 100, relays: 5 });
  });

  it("carries a stream to an onion service for an authorised client, over TCP and unix", async () => {
    await eventually(onionAddress(mine.seed), PORT);
    const socket = await dial(parseSocksProxy(network.socks.tcp), onionAddress(mine.seed), PORT);
    socket.write("x");
    await once(socket, "data");
    socket.destroy();
  });

  it("names the onion service as tor itself does", async () => {
    const control = await connectControl({ path: network.clientControl });
    const seed = randomBytes(32);
    const [line] = await control.command(
      `ADD_ONION ${onionKeyBlob(seed)} Flags=DiscardPK Port=80,127.0.0.1:1`,
    );
    expect(`${line.text.replace("ServiceID=", "")}.onion`).toBe(onionAddress(seed));
    control.close();
    await control.closed;
  });

  it("tells a missing authorisation from a wrong one, and both from a closed port", async () => {
    expect(await refusal(onionAddress(noKey.seed), PORT)).toBe("ERR_TOR_CLIENT_AUTH_MISSING");
    expect(await refusal(onionAddress(wrongKey.seed), PORT)).toBe("ERR_TOR_CLIENT_AUTH_WRONG");
    expect(await refusal(onionAddress(mine.seed), PORT + 1)).toBe("ERR_TOR_REFUSED");
  });

  it("tells an address that cannot exist from one that nobody publishes", async () => {
    expect(await refusal(`${"a".repeat(56)}.onion`, PORT)).toBe("ERR_TOR_ONION_ADDRESS");
    const nobody = dial({ path: network.socks.unix }, onionAddress(randomBytes(32)), PORT);
    await expect(nobody).rejects.toMatchObject({ code: "ERR_TOR_ONION_NOT_FOUND", retryable: true });
  });

  it("gives each purpose its own circuit, and the same purpose the same", async () => {
    const control = await connectControl({ path: network.clientControl });
    const proxy = { path: network.socks.unix };
    const circuits: string[] = [];
    for (const isolation of ["drain-1", "drain-1", "drain-2"]) {
      const succeeded = control.waitFor("STREAM", (text) => /^\d+ SUCCEEDED /.test(text), {
        timeoutMs: 20_000,
      });
      const [event, socket] = await Promise.all([
        succeeded,
        dial(proxy, "127.0.0.1", echoPort, { isolation }),
      ]);
      circuits.push(event.split(" ")[2] ?? "");
      socket.destroy();
    }
    expect(circuits[0]).toBe(circuits[1]);
    expect(circuits[0]).not.toBe(circuits[2]);
    control.close();
    await control.closed;
  });

  it("leaves the network on loopback, and nowhere else", async () => {
    await eventually("127.0.0.1", echoPort);
    // 192.0.2.0/24 is for documentation (RFC 5737); example.org would need DNS.
    for (const host of ["192.0.2.1", "example.org"]) {
      const outside = dial({ path: network.socks.unix }, host, 443, { timeoutMs: 40_000 });
      await expect(outside).rejects.toBeInstanceOf(OnionhookError);
    }
  });

  it("gives a socket that tls takes", async () => {
    const refusing = net.createServer((socket) => socket.on("error", () => undefined).end("not TLS at all"));
    refusing.listen(0, "127.0.0.1");
    await once(refusing, "listening");
    const { port } = refusing.address() as net.AddressInfo;
    const socket = await dial({ path: network.socks.unix }, "127.0.0.1", port);
    const secure = tls.connect({ socket, servername: "localhost" });
    // The server's bytes reached TLS, which did not like them.
    await expect(once(secure, "secureConnect")).rejects.toMatchObject({
      code: "ERR_SSL_WRONG_VERSION_NUMBER",
    });
    secure.destroy();
    await new Promise((resolve) => refusing.close(resolve));
  });

  it.each(["service", "relay1", "authority", "client"])(
    "recovers by itself when kill -9 hits %s",
    async (name) => {
      await supervisor.kill(name);
      await Promise.all([eventually(onionAddress(mine.seed), PORT), eventually("127.0.0.1", echoPort)]);
      await restarting;
      await eventually(onionAddress(mine.seed), PORT);
    },
    3 * RECOVERY_MS,
  );

  it("says that the onion service was away and is back, and names no address", () => {
    const events = reports.map(({ event }) => event);
    // Once each for the killed service, and perhaps once more for lost introduction points.
    expect(events.filter((event) => event === "unpublished").length).toBeGreaterThanOrEqual(services.length);
    expect(events.filter((event) => event === "published").length).toBeGreaterThanOrEqual(
      2 * services.length,
    );
    expect(JSON.stringify(reports)).not.toMatch(/[a-z2-7]{56}/);
  });

  it("starts warm after everything was killed, and anew when the stored plan is unusable", async () => {
    await restarting;
    await network.close();
    expect(supervisor.pids).toEqual([]);
    const fingerprint = async () =>
      /"fingerprint":"\w+"/.exec(await readFile(join(dir, "net.json"), "utf8"))?.[0];
    const options = { dir, tor, spawn: supervisor.spawn, report: () => undefined };
    const before = await fingerprint();

    const warm = makePrivateNetwork(options);
    await warm.start();
    expect(await fingerprint()).toBe(before);
    await warm.close();

    await writeFile(join(dir, "net.json"), '{"orPorts":{"auth');
    network = makePrivateNetwork(options);
    await network.start();
    expect(await fingerprint()).not.toBe(before);
    await eventually("127.0.0.1", echoPort);
  }, 300_000);
});
