import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { restrictSocket } from "../../router/unix-socket.ts";

/** As the user that Debian's tor runs under, with that user's group and no other, as tor itself has it. */
const TOR_USER = "debian-tor";
/** In perl, which Debian always has where that user may run it. Prints why it did not get through. */
const CONNECT =
  "use IO::Socket::UNIX; IO::Socket::UNIX->new(Peer => shift) or print $!{EACCES} ? 'EACCES' : $!";

async function torUser(): Promise<{ uid: number; gid: number } | undefined> {
  const line = (await readFile("/etc/passwd", "utf8"))
    .split("\n")
    .find((each) => each.startsWith(`${TOR_USER}:`));
  if (line === undefined || process.getuid?.() !== 0) return undefined;
  const [, , uid, gid] = line.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

const tor = await torUser();

describe("restrictSocket", () => {
  let folder: string;
  let server: Server;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "oh-unix-"));
    server = createServer((socket) => socket.end());
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });

  async function listenIn(mode: number): Promise<string> {
    const dir = join(folder, "run");
    await mkdir(dir);
    if (tor !== undefined) await chown(dir, 0, tor.gid);
    await chmod(dir, mode);
    const path = join(dir, "router.sock");
    server.listen(path);
    await once(server, "listening");
    await restrictSocket(path);
    return path;
  }

  it.each([
    ["its owner", 0o700, 0o600],
    ["its owner, also where a group may look into the folder", 0o750, 0o600],
    ["its owner and the folder's group, where the folder is setgid", 0o2750, 0o660],
  ])("leaves a socket to %s", async (_, folderMode, socketMode) => {
    expect((await stat(await listenIn(folderMode))).mode & 0o777).toBe(socketMode);
  });

  it.skipIf(tor === undefined).each([
    ["reaches the socket in a setgid folder of its group", 0o2750, ""],
    ["does not reach one in a folder that is not", 0o750, "EACCES"],
  ])(
    `Debian's tor ${tor === undefined ? `(skipped: needs root and ${TOR_USER})` : ""} %s`,
    async (_, mode, refusal) => {
      await chmod(folder, 0o755);
      const path = await listenIn(mode);
      const { stdout } = await promisify(execFile)("perl", ["-e", CONNECT, path], { ...tor, cwd: "/" });
      expect(stdout.trim()).toBe(refusal);
    },
  );
});
