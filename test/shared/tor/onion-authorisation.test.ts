/** Who gets to an onion service with several clients, published either way, and what revoking one does. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rm, stat, unlink } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { connectControl, type Control } from "../../../shared/tor/control.ts";
import { writeHiddenServiceDir } from "../../../shared/tor/hidden-service-dir.ts";
import { clientAuthPublicKey, onionAddress } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService, type OnionService } from "../../../shared/tor/onion-service.ts";
import { makePrivateNetwork, type PrivateNetwork } from "../../../shared/tor/private-network.ts";
import { dial } from "../../../shared/tor/socks.ts";
import { eventually } from "../../helpers/until.ts";
import { describeWith } from "../../helpers/peers.ts";
import { makeTorSupervisor } from "./tor-supervisor.ts";

const PORT = 80;
/** Milliseconds. Seconds are usual; the machine may be busy, and Tor may have to find other introduction points. */
const PATIENCE_MS = 120_000;

describeWith("tor", "an onion service for relay and builder (real tor)", (tor) => {
  const secrets = { relay: randomBytes(32), builder: randomBytes(32) };
  const keys = {
    relay: clientAuthPublicKey(secrets.relay),
    builder: clientAuthPublicKey(secrets.builder),
  };
  type Client = keyof typeof secrets | "stranger";
  const seeds = {
    addOnion: randomBytes(32),
    torrc: randomBytes(32),
    guarded: randomBytes(32),
    many: randomBytes(32),
  };
  const supervisor = makeTorSupervisor();
  const reports: string[] = [];
  const report = (event: string, fields: unknown) => reports.push(`${event} ${JSON.stringify(fields)}`);
  const sessions: net.Socket[] = [];
  let dir: string;
  let hiddenServiceDir: string;
  let target: { path: string };
  let echo: net.Server;
  let network: PrivateNetwork;
  let service: OnionService;
  let torControl: Control;
  let restarting: Promise<unknown> = Promise.resolve();
  let purposes = 0;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "oh-auth-"));
    target = { path: join(dir, "router.sock") };
    echo = net.createServer((socket) => socket.on("error", () => undefined).pipe(socket));
    echo.listen(target.path);
    await once(echo, "listening");
    await chmod(target.path, 0o600);
    hiddenServiceDir = join(dir, "hs with space");
    await writeHiddenServiceDir(hiddenServiceDir, seeds.torrc, keys);
    const guardedDir = join(dir, "guarded");
    await writeHiddenServiceDir(guardedDir, seeds.guarded, keys);
    network = makePrivateNetwork({
      dir: join(dir, "net"),
      tor,
      spawn: supervisor.spawn,
      report: () => undefined,
      clients: ["relay", "builder", "stranger"],
      clientAuth: Object.values(seeds).flatMap((seed) =>
        (["relay", "builder"] as const).map((client) => ({
          onion: onionAddress(seed),
          secret: secrets[client],
          client,
        })),
      ),
      onions: [
        { dir: hiddenServiceDir, port: PORT, target },
        {
          dir: guardedDir,
          port: PORT,
          target,
          options: [
            "HiddenServiceEnableIntroDoSDefense 1",
            "HiddenServiceEnableIntroDoSRatePerSec 1",
            "HiddenServiceEnableIntroDoSBurstPerSec 2",
          ],
        },
      ],
    });
    supervisor.onRestart = (name) => {
      restarting = Promise.all([restarting, network.restarted(name)]);
      // Told of where it is awaited.
      restarting.catch(() => {});
    };
    await network.start();
    service = publish(seeds.addOnion);
    await service.published;
    torControl = await connectControl({ path: network.serviceControl });
  }, PATIENCE_MS);

  afterAll(async () => {
    await restarting;
    for (const socket of sessions) socket.destroy();
    torControl.close();
    await service.close();
    await network.close();
    await new Promise((resolve) => echo.close(resolve));
    await rm(dir, { recursive: true });
    expect(supervisor.pids).toEqual([]);
  });

  function publish(
    seed: Uint8Array,
    options: { pow?: { queueRate: number; queueBurst: number }; maxStreams?: number } = {},
  ) {
    return publishOnionService({
      control: { path: network.serviceControl },
      seed,
      virtualPort: PORT,
      target,
      access: { clients: [keys.relay, keys.builder] },
      introductionGraceMs: 6000,
      report,
      ...options,
    });
  }

  /** A purpose of its own is a circuit of its own. */
  const freshCircuit = () => `purpose-${(purposes += 1)}`;

  async function open(client: Client, seed: Uint8Array, isolation = freshCircuit()): Promise<net.Socket> {
    const proxy = { path: network.socksOf(client).unix };
    const socket = await dial(proxy, onionAddress(seed), PORT, { isolation, timeoutMs: 15_000 });
    socket.on("error", () => undefined);
    sessions.push(socket);
    await answers(socket);
    return socket;
  }

  async function answers(socket: net.Socket): Promise<void> {
    const answer = once(socket, "data", { signal: AbortSignal.timeout(15_000) });
    socket.write("hello");
    expect(String((await answer)[0])).toBe("hello");
  }

  /** However it ends: a reset is an end, too. */
  const untilClosed = (socket: net.Socket) =>
    eventually("the connection ends", () => socket.closed, PATIENCE_MS);

  /** Tries until it is let in. */
  async function letIn(client: Client, seed: Uint8Array, isolation?: string): Promise<net.Socket> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await open(client, seed, isolation);
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
      await sleep(200);
    }
  }

  /** The codes of three dials in a row, each on a circuit of its own; `none` for one that got through. */
  async function refusals(client: Client, seed: Uint8Array): Promise<string[]> {
    const codes: string[] = [];
    while (codes.length < 3) {
      const code = await open(client, seed).then(
        () => "none",
        (error: unknown) => (error instanceof OnionhookError ? error.code : String(error)),
      );
      codes.push(code);
    }
    return codes;
  }

  /** The code with which a client without a key, or with one that is not let in, ends up. */
  async function turnedAway(client: Client, seed: Uint8Array): Promise<string> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const codes = await refusals(client, seed);
      expect(codes).not.toContain("none");
      const code = codes.find((each) => each.startsWith("ERR_TOR_CLIENT_AUTH"));
      if (code !== undefined || performance.now() > deadline) return code ?? codes.join();
    }
  }

  async function forget(client: Client): Promise<void> {
    const control = await connectControl({ path: network.controlOf(client) });
    await control.command("SIGNAL NEWNYM");
    control.close();
  }

  /** Tor takes one NEWNYM in 10 s, and the service needs some for its next descriptor. */
  async function cameAnewInVain(client: Client, seed: Uint8Array): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      await forget(client);
      const codes = await refusals(client, seed);
      if (codes.every((code) => code === "ERR_TOR_CLIENT_AUTH_WRONG")) return;
      if (performance.now() > deadline) throw new Error(`${client} still gets ${codes.join()}`);
      await sleep(1000);
    }
  }

  describe.each([
    ["ADD_ONION", seeds.addOnion],
    ["HiddenServiceDir", seeds.torrc],
  ])("%s", (_, seed) => {
    it("lets in each client with its own key, through its own Tor, and nobody without one", async () => {
      await letIn("relay", seed);
      await letIn("builder", seed);
      expect(await turnedAway("stranger", seed)).toBe("ERR_TOR_CLIENT_AUTH_MISSING");
    }, 300_000);

    it("has the same address after its tor was killed and came back", async () => {
      await supervisor.kill("service");
      await letIn("relay", seed);
      await letIn("builder", seed);
    }, 300_000);
  });

  it("has the same address when the publisher comes back", async () => {
    const { address } = service;
    await service.close();
    service = publish(seeds.addOnion);
    await service.published;
    expect(service.address).toBe(address);
    await letIn("relay", seeds.addOnion);
  }, 300_000);

  it("leaves every key and socket to its owner", async () => {
    const modes = async (...paths: string[]) =>
      Promise.all(paths.map(async (path) => ((await stat(path)).mode & 0o777).toString(8)));
    const authDirs = ["relay", "builder", "stranger"].map((name) => join(dir, "net", name, "onion-auth"));
    expect(await modes(hiddenServiceDir, join(hiddenServiceDir, "authorized_clients"), ...authDirs)).toEqual(
      Array<string>(5).fill("700"),
    );
    const secretFiles = (await Promise.all(authDirs.map((path) => readdir(path)))).flatMap((names, index) =>
      names.map((name) => join(authDirs[index] ?? "", name)),
    );
    expect(secretFiles).toHaveLength(8);
    expect(await modes(target.path, join(hiddenServiceDir, "hs_ed25519_secret_key"), ...secretFiles)).toEqual(
      Array<string>(10).fill("600"),
    );
  });

  describe("revoking the builder, published with ADD_ONION", () => {
    let relay: net.Socket;
    let builder: net.Socket;

    it("does not touch the relay's connection, and lets it dial anew", async () => {
      await restarting;
      relay = await letIn("relay", seeds.addOnion, "session");
      builder = await letIn("builder", seeds.addOnion, "session");
      service.update({ clients: [keys.relay] });
      await service.published;
      expect(reports.at(-1)).toBe('clients {"allowed":1}');
      await answers(relay);
      await letIn("relay", seeds.addOnion);
      await answers(relay);
    }, 300_000);

    it("keeps the builder from dialling anew, with the descriptor that it has and without", async () => {
      expect(await turnedAway("builder", seeds.addOnion)).toBe("ERR_TOR_CLIENT_AUTH_WRONG");
      await forget("builder");
      expect(await turnedAway("builder", seeds.addOnion)).toBe("ERR_TOR_CLIENT_AUTH_WRONG");
    }, 300_000);

    it("leaves the builder's circuits, until its router ends its session or its tor is started again", async () => {
      await answers(builder);
      const before = performance.now();
      await supervisor.kill("service");
      await untilClosed(builder);
      await letIn("relay", seeds.addOnion);
      expect(performance.now() - before).toBeLessThan(PATIENCE_MS);
      expect(await turnedAway("builder", seeds.addOnion)).toBe("ERR_TOR_CLIENT_AUTH_WRONG");
    }, 300_000);

    it("is undone as it was done", async () => {
      await restarting;
      relay = await letIn("relay", seeds.addOnion, "session-2");
      service.update({ clients: [keys.builder, keys.relay] });
      await service.published;
      await letIn("builder", seeds.addOnion);
      await answers(relay);
    }, 300_000);

    it("does nothing when it is said twice, and never opens the service by mistake", async () => {
      const said = reports.length;
      service.update({ clients: [keys.relay, keys.builder] });
      await service.published;
      expect(() => service.update({ clients: [] })).toThrow(
        expect.objectContaining({ code: "ERR_TOR_ONION_OPEN" }),
      );
      expect(reports.slice(said)).toEqual([]);
      expect(await turnedAway("stranger", seeds.addOnion)).toBe("ERR_TOR_CLIENT_AUTH_MISSING");
    }, 300_000);
  });

  describe("revoking the builder, published with HiddenServiceDir", () => {
    let relay: net.Socket;

    it("turns away whoever comes anew once its file is gone and tor reloaded, and does not touch the relay's connection", async () => {
      await restarting;
      torControl.close();
      torControl = await connectControl({ path: network.serviceControl });
      relay = await letIn("relay", seeds.torrc, "session");
      await letIn("builder", seeds.torrc);
      await unlink(join(hiddenServiceDir, "authorized_clients", "builder.auth"));
      await torControl.command("SIGNAL RELOAD");
      await cameAnewInVain("builder", seeds.torrc);
      await answers(relay);
    }, 300_000);

    it("ends what a builder still has when tor is started again, and the relay is back", async () => {
      await supervisor.kill("service");
      await untilClosed(relay);
      await letIn("relay", seeds.torrc);
      expect(await turnedAway("builder", seeds.torrc)).toBe("ERR_TOR_CLIENT_AUTH_WRONG");
      await restarting;
    }, 300_000);
  });

  describe("its defences", () => {
    it("queues introductions by their proof of work, and closes a circuit with too many streams", async () => {
      const control = await connectControl({ path: network.serviceControl });
      const guarded = publish(seeds.many, { pow: { queueRate: 50, queueBurst: 100 }, maxStreams: 2 });
      try {
        const queued = control.waitFor("INFO", (text) => text.includes("introduction request to pqueue"), {
          timeoutMs: PATIENCE_MS,
        });
        await guarded.published;
        await Promise.all([queued, letIn("relay", seeds.many)]);
        const first = await letIn("builder", seeds.many, "one circuit");
        await open("builder", seeds.many, "one circuit");
        // A third on the same circuit is one too many.
        await open("builder", seeds.many, "one circuit").catch(() => undefined);
        await untilClosed(first);
        await letIn("builder", seeds.many);
      } finally {
        control.close();
        await guarded.close();
      }
    }, 300_000);

    it("has the introduction points turn away more than their rate", async () => {
      await letIn("relay", seeds.addOnion);
      await letIn("relay", seeds.guarded);
      const crowd = (seed: Uint8Array) =>
        Promise.all(
          Array.from({ length: 24 }, () =>
            open("relay", seed).then(
              () => "none",
              (error: unknown) => (error instanceof OnionhookError ? error.code : String(error)),
            ),
          ),
        );
      expect(await crowd(seeds.addOnion)).not.toContain("ERR_TOR_ONION_INTRO");
      expect(await crowd(seeds.guarded)).toContain("ERR_TOR_ONION_INTRO");
      await forget("relay");
      await letIn("relay", seeds.guarded);
    }, 300_000);
  });

  it("reports no address and no key", () => {
    const forms = [...Object.values(secrets), ...Object.values(seeds)].flatMap((secret) => [
      secret.toString("base64"),
      secret.toString("hex"),
    ]);
    const said = reports.join("\n");
    expect(said).not.toMatch(/[a-z2-7]{56}/);
    for (const form of forms) expect(said).not.toContain(form);
  });
});
