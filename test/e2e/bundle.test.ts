import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT } from "../helpers/peers.ts";

/** The goal, not Cloudflare's limit (3 MB on the free plan): what starts is parsed first. */
const MAX_GZIP_BYTES = 40 * 1024;

describe("what wrangler deploy would upload", () => {
  const folder = mkdtempSync(join(tmpdir(), "oh-bundle-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("is made by a dry run, has both objects, needs nothing of Node.js and is at most 40 KiB", async () => {
    const wrangler = dirname(createRequire(import.meta.url).resolve("wrangler/package.json"));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [join(wrangler, "bin", "wrangler.js"), "deploy", "--dry-run", "--outdir", folder],
      { cwd: ROOT },
    );
    expect(stdout).toContain("env.OUTBOX (Outbox)");
    expect(stdout).toContain("env.RECONCILER (Reconciler)");
    const bundle = readFileSync(join(folder, "main.js"));
    // The dry run itself does not notice what a Worker lacks.
    const imported = [
      ...bundle.toString().matchAll(/\b(?:from|import|require)\s*\(?\s*["']([\w:@./-]+)["']/g),
    ];
    expect(new Set(imported.map(([, name]) => name))).toEqual(new Set(["cloudflare:workers"]));
    expect(gzipSync(bundle).length).toBeLessThanOrEqual(MAX_GZIP_BYTES);
  });
});
