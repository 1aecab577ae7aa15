/**
 * No leaks: relay and builder as `onionhook dev` starts them, in a network namespace; all else, Tor too, is outside of it. A
 * unix socket crosses namespaces by the file system, and so Tor's is the only door, until others are opened and watched.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { onionAddress } from "../../shared/tor/onion-keys.ts";
import {
  dataFolder,
  type Dev,
  type DevEvent,
  processesNaming,
  type Ready,
  startDev,
} from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import {
  describeInNamespaces,
  FAR_AWAY,
  makeNamespace,
  type Namespace,
  wire,
} from "../helpers/namespaces.ts";
import { describeWith, ROOT } from "../helpers/peers.ts";
import { type LeakWatch, PLANTED, watchLeaks } from "./leak-watch.ts";

/** For what goes over circuits that may have to be made first, on a machine with much to do. */
const PATIENCE_MS = 180_000;
/** Long enough for several tries: pauses between them end at 5 s. */
const WITHOUT_TOR_MS = 15_000;
/** For a few tries more than the first, which alone is told. */
const TRYING_MS = 5000;
describeInNamespaces("relay and builder leak nothing", () => {
  describeWith("tor", "in a network namespace", () => {
    const data = dataFolder();
    let inside: Namespace;
    let there: Namespace;
    let watch: LeakWatch;
    let dev: Dev;
    let ready: Ready;
    let astrays = 0;

    beforeAll(async () => {
      [inside, there] = await Promise.all([makeNamespace(), makeNamespace()]);
      writeFileSync(join(data.path, "rules.json"), "[]");
      dev = startDev(["--no-sample", "--port", "0", "--data-dir", data.path], inside.env);
      ready = await dev.ready();
    });

    afterAll(async () => {
      await dev?.stop();
      // With the holders gone the kernel removes namespaces, interfaces and mounts.
      await Promise.all([watch?.end(), inside?.end(), there?.end()]);
      expect(processesNaming(data.path)).toEqual([]);
      data.remove();
    });

    const push = async (): Promise<string> => {
      const body = encodeUtf8(JSON.stringify({ ref: "refs/heads/main", at: crypto.randomUUID() }));
      const { status, delivery } = await post(ready.webhook, readSecretFile(ready.secret_file), "push", body);
      expect(status).toBe(202);
      return delivery;
    };
    /** The builder has it, and the edge has the builder's receipt. */
    const untilDone = (delivery: string): Promise<DevEvent> =>
      dev.until("done", (event) => event.event === "done" && event["delivery"] === delivery, PATIENCE_MS);

    it("works where Tor's socket is the only door", async () => {
      for (const part of ["relay", "builder"]) {
        const proc = `/proc/${dev.pidOf(part)}`;
        expect(readlinkSync(`${proc}/ns/net`)).not.toBe(readlinkSync("/proc/self/ns/net"));
        const interfaces = readFileSync(`${proc}/net/dev`, "utf8").match(/^ *\w+(?=:)/gm);
        expect(interfaces?.map((name) => name.trim())).toEqual(["lo"]);
        expect(readFileSync(`${proc}/net/route`, "utf8").trim().split("\n")).toHaveLength(1);
      }
      for (const delivery of [await push(), await push(), await push()]) await untilDone(delivery);
    }, 300_000);

    describe("where there are other doors", () => {
      beforeAll(async () => {
        wire(inside, there, join(data.path, "resolv.conf"));
        watch = await watchLeaks(inside, there);
      });

      it("they use none while they start", async () => {
        await watch.nothingSeen(async () => {
          for (const part of ["relay", "builder"]) process.kill(dev.pidOf(part), "SIGKILL");
          for (const part of ["relay", "builder"]) {
            await dev.until(
              `${part} again`,
              (event) => event.event === "started" && event["part"] === part && event["restarts"] === 1,
            );
          }
          await untilDone(await push());
        });
      }, 300_000);

      it("they use none while events come", async () => {
        await watch.nothingSeen(async () => {
          const deliveries = await Promise.all(Array.from({ length: 20 }, push));
          await Promise.all(deliveries.map(untilDone));
        });
      }, 300_000);

      it("they use none while Tor is away, and deliver when it is back", async () => {
        await watch.nothingSeen(async () => {
          const killedAt = Date.now();
          // `dev` would start them again at once.
          process.kill(dev.process.pid ?? 0, "SIGSTOP");
          try {
            for (const tor of torsOf(data.path)) process.kill(dev.pidOf(tor), "SIGKILL");
            await sleep(WITHOUT_TOR_MS);
          } finally {
            process.kill(dev.process.pid ?? 0, "SIGCONT");
          }
          await untilDone(await push());
          for (const part of ["relay", "builder"]) {
            const inVain = linesOf(join(data.path, "logs", `${part}.log`)).filter(
              ({ at, code }) => at > killedAt && code === "ERR_TOR_UNREACHABLE",
            );
            // Told when it began; that it is tried all the while is keep-trying.test.ts's.
            expect(inVain.length, part).toBeGreaterThan(0);
          }
        });
      }, 300_000);

      it("they use none for names and addresses that Tor does not reach", async () => {
        const unknown = `ws://${onionAddress(randomBytes(32))}/`;
        const [far, far6] = FAR_AWAY;
        await watch.nothingSeen(async () => {
          const all = [
            startAstray("relay", { edge: "wss://edge.example/drain", router: "wss://router.example/" }),
            startAstray("relay", { edge: `ws://localhost:${PLANTED.port}/drain`, router: unknown }),
            startAstray("relay", { edge: `wss://${far}/drain`, router: `wss://[${far6}]/` }),
            startAstray("builder", { router: "wss://router.local/" }),
          ];
          await Promise.all(all.map((astray) => astray.untilTried()));
          expect(await Promise.all(all.map((astray) => astray.end()))).toEqual(all.map(() => 0));
        });
      }, 300_000);

      it.each([
        ["look up no name of Tor's own socket", "tor.example:9050", "ERR_TOR_ADDRESS"],
        ["dial nobody without Tor", "none", "ERR_NOT_LOOPBACK"],
      ])(
        "they %s, and do not start",
        async (_, tor, code) => {
          await watch.nothingSeen(async () => {
            const astray = startAstray("builder", { router: "wss://router.example/", tor });
            expect(await astray.exited).toBe(1);
            expect(astray.codes()).toContain(code);
          });
        },
        300_000,
      );

      it("they use none while they end", async () => {
        await watch.nothingSeen(() => dev.stop());
        const codes = ["relay", "builder"].map(
          (part) =>
            dev.events.findLast((event) => event.event === "exited" && event["part"] === part)?.["code"],
        );
        expect(codes).toEqual([0, 0]);
      }, 300_000);
    });

    /** Starts a part of its own whose edge, router or Tor is somewhere else than `dev` wired it. */
    function startAstray(kind: "relay" | "builder", to: { edge?: string; router: string; tor?: string }) {
      const name = `astray-${(astrays += 1)}`;
      const config = JSON.parse(readFileSync(join(data.path, `${kind}.json`), "utf8"));
      config.data_dir = name;
      config.router.url = to.router;
      if (to.edge !== undefined) config.edge.url = to.edge;
      // The control port is another Tor's then.
      if (to.tor !== undefined) Object.assign(config, { tor: to.tor, tor_control: undefined });
      const path = join(data.path, `${name}.json`);
      writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
      const [nsenter, ...enter] = inside.enter;
      const program = [process.execPath, join(ROOT, "cli/main.ts"), kind, "--config", path, "--json"];
      const child = spawn(nsenter, [...enter, ...program], { stdio: ["ignore", "pipe", "ignore"] });
      const events: DevEvent[] = [];
      createInterface({ input: child.stdout }).on("line", (line) =>
        events.push(JSON.parse(line) as DevEvent),
      );
      const exited = once(child, "close").then(([code]) => code as number | null);
      onTestFinished(() => void child.kill("SIGKILL"));
      const errors = () => events.filter(({ event }) => event === "error");
      // A relay's errors say which of the two they are about.
      const hasTried = (way: string) => errors().some((error) => kind === "builder" || error["to"] === way);
      const ways = Object.keys(to).filter((key) => key === "edge" || key === "router");
      return {
        exited,
        codes: () => errors().map(({ code }) => code),
        async untilTried() {
          await eventually(`${name} has tried`, () => ways.every(hasTried), PATIENCE_MS);
          await sleep(TRYING_MS);
        },
        end() {
          child.kill("SIGTERM");
          return exited;
        },
      };
    }
  });
});

/** The tors that relay and builder are configured for, as parts of the run: a folder each. */
function torsOf(folder: string): Set<string> {
  const socks = ["relay", "builder"].map((part): string => {
    return JSON.parse(readFileSync(join(folder, `${part}.json`), "utf8")).tor;
  });
  return new Set(socks.map((path) => `tor:${basename(dirname(path))}`));
}

function linesOf(log: string): DevEvent[] {
  return readFileSync(log, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as DevEvent);
}
