/** docs/onion.md, followed: the Crossbar config that it makes for our router. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { startRouter } from "../../router/router.ts";
import { ROOT } from "../helpers/peers.ts";

const RUNTIME = "/run/onionhook-router";
const page = readFileSync(join(ROOT, "docs/onion.md"), "utf8");
const unit = readFileSync(join(ROOT, "deploy/systemd/onionhook-router.service"), "utf8");

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "oh-deploy-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

it("listens in the folder that its unit makes, and nowhere else", async () => {
  expect(unit).toMatch(new RegExp(`^ExecStartPre=.* ${RUNTIME}$`, "m"));
  const [, command = ""] = /^```sh\n(node -p [^`]*crossbar\.json)\n```$/m.exec(page) ?? [];
  const made = join(folder, "crossbar.json");
  execFileSync("sh", ["-c", command.replaceAll("/etc/onionhook", folder)], { cwd: ROOT });
  const text = readFileSync(made, "utf8");
  const { transports } = parseRouterConfig(JSON.parse(text), "/");
  expect(transports.map(({ endpoint }) => endpoint)).toEqual([
    { type: "unix", path: `${RUNTIME}/router.sock` },
  ]);

  const here = join(folder, "run");
  mkdirSync(here, { mode: 0o750 });
  const config = parseRouterConfig(JSON.parse(text.replaceAll(RUNTIME, here)), "/");
  const router = await startRouter({ config, report: () => undefined });
  expect(router.endpoints).toEqual([{ path: join(here, "router.sock") }]);
  await router.close();
});
