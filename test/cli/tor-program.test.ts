import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findTor, type Host } from "../../cli/dev/tor-program.ts";

describe("findTor", () => {
  let folder: string;
  let ran: string[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-path-"));
    ran = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const program = (name: string) => {
    writeFileSync(join(folder, name), "#!/bin/sh\n");
    chmodSync(join(folder, name), 0o755);
  };
  /** A machine whose package manager really puts tor into the PATH; `failures` of its commands fail first. */
  const host = (changes: Partial<Host> = {}, failures = 0): Host => ({
    path: folder,
    isRoot: true,
    ask: undefined,
    hasSystemd: false,
    run: (argv) => {
      ran.push(argv.join(" "));
      if (ran.length <= failures) return false;
      if (argv.includes("install")) program("tor");
      return true;
    },
    say: () => {},
    ...changes,
  });

  it("takes the one that is there", async () => {
    program("tor");
    expect(await findTor(host())).toBe(join(folder, "tor"));
    expect(ran).toEqual([]);
  });

  it("installs it as root, after an update if the first try fails", async () => {
    program("apt-get");
    expect(await findTor(host({}, 1))).toBe(join(folder, "tor"));
    const install = "apt-get install --yes --no-install-recommends tor";
    expect(ran).toEqual([install, "apt-get update", install]);
  });

  it("asks anybody else first, and uses sudo", async () => {
    program("apt-get");
    program("sudo");
    const questions: string[] = [];
    const asked = async (question: string) => questions.push(question) > 0;
    await findTor(host({ isRoot: false, ask: asked }));
    expect(questions).toEqual([
      'tor is not installed. Run "sudo apt-get install --yes --no-install-recommends tor"?',
    ]);
    expect(ran).toEqual(["sudo apt-get install --yes --no-install-recommends tor"]);
  });

  it.each<[string, Partial<Host>, string[]]>([
    ["the answer is no", { isRoot: false, ask: async () => false }, ["apt-get", "sudo"]],
    ["there is nobody to ask", { isRoot: false, ask: undefined }, ["apt-get", "sudo"]],
    ["there is no apt-get", {}, []],
    ["installing fails", { run: () => false }, ["apt-get"]],
  ])("names the exact command, and --no-tor, when %s", async (_why, changes, programs) => {
    programs.forEach(program);
    await expect(findTor(host(changes))).rejects.toMatchObject({
      code: "ERR_NO_TOR",
      hint: expect.stringMatching(
        /^install it with: (sudo )?apt-get install .*tor\n.*npm start -- --no-tor$/,
      ),
    });
  });

  it("keeps the package's own service from joining the public network, and says how to undo that", async () => {
    program("apt-get");
    const said: string[] = [];
    await findTor(host({ hasSystemd: true, say: (line) => said.push(line) }));
    expect(ran[0]).toBe("systemctl mask tor.service tor@default.service");
    expect(said.join("\n")).toContain("sudo systemctl unmask tor.service tor@default.service");
  });
});
