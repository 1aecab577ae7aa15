import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openQueue } from "../../../relay/queue/open.ts";
import { describeWith } from "../../helpers/peers.ts";
import { endProcess } from "../../helpers/server-process.ts";
import { until } from "../../helpers/until.ts";
import { queueContract } from "./queue.contract.ts";
import { addAll, closeAll, event, put, range, receive, watch, type Place } from "./watch.ts";

let root = "";
let places = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "onionhook-local-"));
});
afterAll(() => rmSync(root, { recursive: true }));

async function newPlace(): Promise<Place> {
  return { url: "local-redis", dataDir: join(root, `place-${(places += 1)}`) };
}

/** The process id of the place's server. */
function serverOf({ dataDir }: Place): number {
  return Number(readFileSync(join(dataDir, "redis", "pid"), "utf8").split(" ")[0]);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describeWith("redis", "the queue on a Redis of the relay's own", () => {
  queueContract(newPlace);

  test("nobody else can reach it, and it ends with the queue", async () => {
    const place = await newPlace();
    await watch(place, 1, receive);
    const folder = join(place.dataDir, "redis");
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "socket")).mode & 0o777).toBe(0o600);
    const server = serverOf(place);
    const command = readFileSync(`/proc/${server}/cmdline`, "latin1");
    expect(command).toContain("unixsocket:");
    expect(command, "no port").not.toContain("*:");
    await closeAll();
    await until(() => expect(isRunning(server)).toBe(false));
    expect(readdirSync(folder)).not.toContain("pid");
  });

  test("it ends with a relay that is killed, whose events the next one starts in order", async () => {
    const place = await newPlace();
    const program = join(import.meta.dirname, "holder.ts");
    const holder = spawn(process.execPath, [program, place.url, place.dataDir], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const server = serverOf(place);
    await endProcess(holder, "SIGKILL");
    await until(() => expect(isRunning(server)).toBe(false));
    const { queue, started, reports } = await watch(place, 1, receive);
    await queue.resume();
    await until(() => expect(started.toSorted((a, b) => a - b)).toEqual(range(1, 6)));
    expect(reports).toEqual([]);
  }, 30_000);

  test("one that a relay left behind is ended by the next, and what it holds is kept", async () => {
    const place = await newPlace();
    const { queue } = await watch(place, 1, receive);
    await addAll(queue, 1, 3);
    await closeAll();
    const folder = join(place.dataDir, "redis");
    const settings = {
      port: "0",
      unixsocket: join(folder, "socket"),
      dir: folder,
      appendonly: "yes",
      save: "",
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const left = spawn("redis-server", args, { stdio: "ignore" });
    await until(() => expect(readdirSync(folder)).toContain("socket"));
    const ended = once(left, "exit");
    const next = await watch(place, 1, receive);
    await ended;
    await next.queue.resume();
    await until(() => expect(next.started).toEqual([1, 2, 3]));
  });

  test("when it dies it is started again, this is told, and the events go on", async () => {
    const place = await newPlace();
    const { queue, received, reports } = await watch(place, 1, receive);
    await addAll(queue, 1, 3);
    process.kill(serverOf(place), "SIGKILL");
    await until(() =>
      expect(reports.map(([, fields]) => fields?.["code"])).toContain("ERR_QUEUE_LOCAL_REDIS"),
    );
    await queue.resume();
    await until(() => expect(received).toHaveLength(3));
    await until(async () => expect(await put(queue, event(4))).toEqual({ state: "added" }));
    await until(() => expect(received).toHaveLength(4));
  }, 40_000);

  test("a folder whose path is too long for a socket is a clear error", async () => {
    const dataDir = join(root, "x".repeat(100));
    mkdirSync(dataDir);
    const opening = openQueue({ url: "local-redis", dataDir, concurrency: 1, report: () => {} });
    await expect(opening).rejects.toMatchObject({
      code: "ERR_QUEUE_LOCAL_REDIS",
      hint: expect.stringContaining("data_dir"),
    });
  });

  test("a second relay on the same folder is refused while the first is open", async () => {
    const place = await newPlace();
    await watch(place, 1, receive);
    await expect(watch(place, 1, receive)).rejects.toMatchObject({ code: "ERR_QUEUE_LOCKED" });
  });
});
