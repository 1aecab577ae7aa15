import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
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

  it("never overwrites anything, and leaves alone what it does not write", async () => {
    await writeHiddenServiceDir(join(folder, "hs"), seed, {});
    await mkdir(join(folder, "mine", "authorized_clients"), { recursive: true });
    await writeFile(join(folder, "mine", "authorized_clients", "revoked.auth"), "old");
    await chmod(join(folder, "mine"), 0o755);
    await writeFile(join(folder, "file"), "");
    const before = await everything();
    for (const [name, message] of [
      ["hs", "hs is not empty, and nothing in it is overwritten"],
      ["mine", "mine is not empty, and nothing in it is overwritten"],
      ["file", "file cannot be written (ENOTDIR)"],
      ["file/hs", /cannot be written \((ENOTDIR|EEXIST)\)|is not empty/],
    ] as const) {
      const again = writeHiddenServiceDir(join(folder, name), Buffer.alloc(32, 9), { relay });
      await expect(again, name).rejects.toThrow(message);
      await expect(again).rejects.toMatchObject({
        code: "ERR_KEY_FILE",
        hint: expect.stringContaining("name a"),
      });
    }
    expect(await everything()).toEqual(before);
  });

  it("writes nothing at all when a client's key is one that anybody could use", async () => {
    const clients = { relay, builder: Buffer.alloc(32) };
    await expect(writeHiddenServiceDir(join(folder, "hs"), seed, clients)).rejects.toMatchObject({
      code: "ERR_TOR_CLIENT_KEY",
    });
    expect(await everything()).toEqual([]);
  });

  /** Names, modes and contents. */
  async function everything(): Promise<string[]> {
    const names = (await readdir(folder, { recursive: true })).toSorted((a, b) => a.localeCompare(b));
    return Promise.all(
      names.map(async (name) => {
        const { mode } = await stat(join(folder, name));
        const content = await readFile(join(folder, name), "base64").catch(() => "folder");
        return `${name} ${(mode & 0o777).toString(8)} ${content}`;
      }),
    );
  }
});
