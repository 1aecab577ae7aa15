import { mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeHiddenServiceDir } from "../../../shared/tor/hidden-service-dir.ts";
import { clientAuthLine, clientAuthPublicKey, onionAddress } from "../../../shared/tor/onion-keys.ts";

const seed = Buffer.alloc(32, 1);
const relay = clientAuthPublicKey(Buffer.alloc(32, 2));
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hs-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("writeHiddenServiceDir", () => {
  it("writes key, address and clients, for nobody else to read", async () => {
    const dir = join(folder, "hs");
    await mkdir(dir, { mode: 0o755 });
    await writeHiddenServiceDir(dir, seed, { relay });
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dir, "authorized_clients"))).mode & 0o777).toBe(0o700);
    const files = (await readdir(dir, { recursive: true })).filter((name) => name !== "authorized_clients");
    expect(files.toSorted((a, b) => a.localeCompare(b))).toEqual([
      "authorized_clients/relay.auth",
      "hostname",
      "hs_ed25519_public_key",
      "hs_ed25519_secret_key",
    ]);
    for (const file of files) expect((await stat(join(dir, file))).mode & 0o777, file).toBe(0o600);
    expect(await readFile(join(dir, "hostname"), "utf8")).toBe(`${onionAddress(seed)}\n`);
    expect(await readFile(join(dir, "authorized_clients", "relay.auth"), "utf8")).toBe(
      `${clientAuthLine(relay)}\n`,
    );
    expect((await stat(join(dir, "hs_ed25519_secret_key"))).size).toBe(96);
    expect((await stat(join(dir, "hs_ed25519_public_key"))).size).toBe(64);
  });

  it("never overwrites a key", async () => {
    await writeHiddenServiceDir(folder, seed, {});
    const before = await readFile(join(folder, "hs_ed25519_secret_key"));
    const again = writeHiddenServiceDir(folder, Buffer.alloc(32, 9), {});
    await expect(again).rejects.toMatchObject({ code: "EEXIST" });
    expect(await readFile(join(folder, "hs_ed25519_secret_key"))).toEqual(before);
  });
});
