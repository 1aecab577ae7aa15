import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { once } from "node:events";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  checkDir,
  loadPlan,
  makePlan,
  makeTors,
  torPaths,
} from "../../../shared/tor/private-network-plan.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const tors = makeTors(["client", "other"]);
let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "plan-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function storeConsensus(until: string): Promise<void> {
  await writeFile(join(torPaths(dir, "authority").dir, "cached-consensus"), `x\nvalid-until ${until}\ny\n`);
}

describe("the plan of a private network", () => {
  it("is loaded as it was made, once there is a consensus", async () => {
    const plan = await makePlan(dir, NOW, tors);
    const ports = [...Object.values(plan.orPorts), plan.dirPort, ...Object.values(plan.socksPorts)];
    expect(new Set(ports).size).toBe(8);
    expect(Object.keys(plan.socksPorts)).toEqual(["client", "other"]);
    expect(await loadPlan(dir, NOW, tors)).toBeUndefined();
    await storeConsensus("2026-11-21 13:00:00");
    expect(await loadPlan(dir, NOW, tors)).toEqual(plan);
  });

  it("keeps the authority's keys to their owner", async () => {
    await makePlan(dir, NOW, tors);
    const { keys } = torPaths(dir, "authority");
    for (const file of ["authority_identity_key", "authority_signing_key", "secret_id_key"]) {
      expect((await stat(join(keys, file))).mode & 0o777).toBe(0o600);
    }
    expect((await stat(torPaths(dir, "client").dir)).mode & 0o777).toBe(0o700);
  });

  it("is not used for a network with another client", async () => {
    await makePlan(dir, NOW, tors);
    await storeConsensus("2026-11-21 13:00:00");
    expect(await loadPlan(dir, NOW, makeTors(["client", "third"]))).toBeUndefined();
  });

  it("is not used when its consensus ends soon", async () => {
    await makePlan(dir, NOW, tors);
    await storeConsensus("2026-11-21 12:05:00");
    expect(await loadPlan(dir, NOW, tors)).toBeUndefined();
  });

  it("is not used when one of its ports is taken", async () => {
    const plan = await makePlan(dir, NOW, tors);
    await storeConsensus("2026-11-21 13:00:00");
    const other = net.createServer().listen(plan.orPorts["relay3"], "127.0.0.1");
    await once(other, "listening");
    expect(await loadPlan(dir, NOW, tors)).toBeUndefined();
    await new Promise((resolve) => other.close(resolve));
    expect(await loadPlan(dir, NOW, tors)).toEqual(plan);
  });

  it.each(["", "{", "null", "[]", '{"orPorts":{}}', '{"orPorts":{"authority":70000}}'])(
    "is not used when net.json holds %j",
    async (text) => {
      await makePlan(dir, NOW, tors);
      await storeConsensus("2026-11-21 13:00:00");
      await writeFile(join(dir, "net.json"), text);
      expect(await loadPlan(dir, NOW, tors)).toBeUndefined();
    },
  );

  it("begins anew without what an earlier network left, and touches nothing else", async () => {
    await makePlan(dir, NOW, tors);
    await storeConsensus("2026-11-21 13:00:00");
    await mkdir(join(dir, "mine"));
    await writeFile(join(dir, "mine", "file"), "mine");
    await makePlan(dir, NOW, tors);
    expect(await loadPlan(dir, NOW, tors)).toBeUndefined();
    expect(await readFile(join(dir, "mine", "file"), "utf8")).toBe("mine");
  });
});

describe("checkDir", () => {
  it("refuses a folder whose path leaves no room for a unix socket's, and says how long it may be", () => {
    checkDir(`/${"x".repeat(84)}`, tors);
    expect(() => checkDir(`/${"x".repeat(85)}`, tors)).toThrow(
      expect.objectContaining({
        code: "ERR_TOR_PATH_TOO_LONG",
        message: "the folder of the private Tor network has a path of 86 bytes; unix sockets allow 85",
      }),
    );
  });
});
