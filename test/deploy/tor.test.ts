/** deploy/tor: what we tell people to put into their torrc, as tor itself reads it. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { describeWith, ROOT } from "../helpers/peers.ts";

describeWith("tor", "deploy/tor", (tor) => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "oh-torrc-"));
    await mkdir(join(folder, "var", "lib", "tor", "onion-auth"), { recursive: true, mode: 0o700 });
    await mkdir(join(folder, "run", "tor"), { recursive: true, mode: 0o700 });
  });
  afterEach(() => rm(folder, { recursive: true }));

  const read = (name: string) => readFile(join(ROOT, "deploy", "tor", name), "utf8");

  /** What tor says of it, with the host's folders replaced by ours. */
  async function verify(text: string): Promise<string> {
    const torrc = join(folder, "torrc");
    const here = text
      .replaceAll("/var/lib/tor", `${folder}/var/lib/tor`)
      .replaceAll("/run/", `${folder}/run/`);
    await writeFile(torrc, `DataDirectory ${folder}/data\n${here}`);
    await writeFile(join(folder, "defaults"), "");
    const args = ["--verify-config", "-f", torrc, "--defaults-torrc", join(folder, "defaults")];
    const { stdout } = await promisify(execFile)(tor, args).catch(
      (error: unknown) => error as { stdout: string },
    );
    // As root, which tests may run as, tor says that too.
    return stdout.replace(/^.*You are running Tor as root.*$/m, "");
  }

  it.each(["onion-service.torrc", "client.torrc"])("%s is taken by tor, without a warning", async (name) => {
    const said = await verify(await read(name));
    expect(said).toContain("Configuration was valid");
    expect(said).not.toMatch(/\[(warn|err)\]/);
  });

  it("onion-service.torrc's rate at the introduction points is taken by tor when it is switched on", async () => {
    const text = (await read("onion-service.torrc")).replace(/^#(HiddenService)/gm, "$1");
    expect(text).toMatch(/^HiddenServiceEnableIntroDoSDefense 1$/m);
    expect(await verify(text)).toContain("Configuration was valid");
  });

  it("client.torrc's port is taken by tor when it is switched on", async () => {
    const text = (await read("client.torrc")).replace(/^#(SocksPort)/gm, "$1");
    expect(text).toMatch(/^SocksPort 127\.0\.0\.1:9050 /m);
    const said = await verify(text);
    expect(said).toContain("Configuration was valid");
    expect(said).not.toMatch(/\[(warn|err)\]/);
  });

  it("would tell a mistake in them", async () => {
    expect(await verify("HiddenServicePort 80 unix:/run/x\n")).not.toContain("Configuration was valid");
  });
});
