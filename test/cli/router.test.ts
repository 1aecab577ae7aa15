/** SIGHUP, as systemd sends it, to a router in a process of its own. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../cli/key-set.ts";
import { formatKey } from "../../shared/keys.ts";
import { ROOT } from "../helpers/peers.ts";
import { newKeyPair, RawClient } from "../router/raw-client.ts";
import { type Change, configJson, PRINCIPALS, TRANSPORT } from "../router/testbed.ts";

const PATIENCE = { timeout: 15_000 };

describe("onionhook router and SIGHUP", () => {
  const builder = newKeyPair();
  let folder: string;
  let router: ChildProcess;
  let lines: Record<string, unknown>[];
  let crossbar: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-hangup-"));
    crossbar = join(folder, "crossbar.json");
    lines = [];
    makeKey(folder, "router-onion");
  });
  afterEach(async () => {
    if (router.exitCode === null && router.signalCode === null) {
      router.kill();
      await once(router, "exit");
    }
    rmSync(folder, { recursive: true });
  });

  const crossbarText = (...changes: readonly Change[]) =>
    JSON.stringify(
      configJson(
        [`${TRANSPORT}.endpoint`, { type: "unix", path: join(folder, "router.sock") }],
        [`${PRINCIPALS}.builder.authorized_keys`, [builder.publicHex]],
        ...changes,
      ),
    );

  function writeRouterJson(onion?: Record<string, string>): string {
    const path = join(folder, "router.json");
    const rest = { control: `unix:${folder}/nobody`, key_file: "router-onion.key" };
    writeFileSync(path, JSON.stringify({ crossbar, ...(onion && { onion: { ...rest, clients: onion } }) }));
    return path;
  }

  function start(config: string): void {
    router = spawn(process.execPath, [join(ROOT, "cli/main.ts"), "router", "--config", config, "--json"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (router.stdout === null) throw new Error("a pipe was asked for");
    createInterface(router.stdout).on("line", (line) => lines.push(JSON.parse(line)));
  }

  const said = (event: string, code?: string) =>
    lines.filter((line) => line["event"] === event && (code === undefined || line["code"] === code));

  it("does what is asked while it starts when it has started", async () => {
    execFileSync("mkfifo", [crossbar]);
    start(writeRouterJson());
    // Opens when the router reads, and the router then waits for us.
    const pipe = await open(crossbar, "w");
    router.kill("SIGHUP");
    const builders = crossbarText([`${PRINCIPALS}.builder.authorized_keys`, []]);
    writeFileSync(`${crossbar}.new`, builders);
    renameSync(`${crossbar}.new`, crossbar);
    await pipe.writeFile(crossbarText());
    await pipe.close();
    await expect.poll(() => lines.map(({ event }) => event), PATIENCE).toEqual(["listening", "reloaded"]);
    expect(router.signalCode).toBeNull();
  });

  it("changes nothing at all when one of the files is wrong", async () => {
    const key = makeKey(folder, "builder-onion").public["key"] ?? "";
    writeFileSync(crossbar, crossbarText());
    start(writeRouterJson({ builder: key }));
    await expect.poll(() => said("listening"), PATIENCE).toHaveLength(1);
    const client = await RawClient.join({ path: join(folder, "router.sock") }, "builder", builder);

    writeFileSync(crossbar, crossbarText([`${PRINCIPALS}.builder.authorized_keys`, []]));
    writeRouterJson({ builder: formatKey("onion-client", "public", new Uint8Array(32)) });
    router.kill("SIGHUP");
    await expect.poll(() => said("error", "ERR_KEY"), PATIENCE).toHaveLength(1);
    expect(said("error", "ERR_KEY")[0]?.["message"]).toMatch(/^onion\.clients\.builder /);
    expect([said("left"), said("reloaded")]).toEqual([[], []]);
    expect(await client.settled()).toEqual([]);

    writeRouterJson();
    router.kill("SIGHUP");
    await expect.poll(() => said("reloaded"), PATIENCE).toHaveLength(1);
    expect(said("reloaded")[0]).toMatchObject({ restart: ["onion"] });
    await expect.poll(() => said("left"), PATIENCE).toHaveLength(1);
    client.end();
  });
});
