/**
 * The layer rules are only worth something while they bite: each is shown to fail on a file that
 * breaks it, in a copy of the folders' structure, with the project's own .oxlintrc.json.
 */
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const OXLINT = join(ROOT, "node_modules/.bin/oxlint");
const PARTS = ["worker", "relay", "builder", "router", "cli"];

interface Planted {
  file: string;
  text: string;
}

interface Diagnostic {
  code: string;
  message: string;
  help?: string;
  filename: string;
}

const NODE_FREE = "run everywhere";
const DOWNWARDS = "Imports point downwards";
const SIBLINGS = "No part imports its sibling";
const PARTS_BUT_CLI = ["builder", "router", "relay", "worker"];

const forbidden: { file: string; from: string; says: string }[] = [
  // Files at the root of shared/ run in workerd, too.
  ...["node:fs", "node:fs/promises", "node:crypto", "cloudflare:workers", "cloudflare:sockets"].map(
    (from) => ({
      file: "shared/planted.ts",
      from,
      says: NODE_FREE,
    }),
  ),
  ...["wamp", "tor", "host"].map((folder) => ({
    file: "shared/planted.ts",
    from: `./${folder}/session.ts`,
    says: DOWNWARDS,
  })),
  ...PARTS.flatMap((part) => [
    { file: "shared/planted.ts", from: `../${part}/main.ts`, says: DOWNWARDS },
    { file: "shared/tor/planted.ts", from: `../../${part}/main.ts`, says: DOWNWARDS },
    { file: "shared/wamp/deep/planted.ts", from: `../../../${part}/main.ts`, says: DOWNWARDS },
  ]),
  // The edge.
  ...["node:buffer", "node:crypto", "node:stream/web"].map((from) => ({
    file: "worker/planted.ts",
    from,
    says: "no Node.js built-ins",
  })),
  ...["wamp", "tor", "host"].map((folder) => ({
    file: "worker/planted.ts",
    from: `../shared/${folder}/session.ts`,
    says: "root of shared/ only",
  })),
  { file: "worker/deep/planted.ts", from: "../../shared/tor/socks.ts", says: "root of shared/ only" },
  // No part imports another, from wherever in its folder.
  ...PARTS_BUT_CLI.flatMap((part) =>
    PARTS.filter((other) => other !== part).flatMap((other) => [
      { file: `${part}/planted.ts`, from: `../${other}/main.ts`, says: SIBLINGS },
      { file: `${part}/deep/planted.ts`, from: `../../${other}/deep/main.ts`, says: SIBLINGS },
    ]),
  ),
];

const allowed: { file: string; from: string }[] = [
  { file: "shared/planted.ts", from: "./errors.ts" },
  { file: "shared/planted.ts", from: "valibot" },
  { file: "shared/tor/planted.ts", from: "../errors.ts" },
  { file: "shared/tor/planted.ts", from: "node:net" },
  { file: "shared/wamp/planted.ts", from: "../tor/socks.ts" },
  { file: "worker/planted.ts", from: "../shared/errors.ts" },
  { file: "worker/deep/planted.ts", from: "../../shared/errors.ts" },
  { file: "worker/planted.ts", from: "./outbox.ts" },
  { file: "worker/planted.ts", from: "cloudflare:workers" },
  { file: "worker/planted.ts", from: "hono" },
  ...["relay", "builder", "router"].flatMap((part) => [
    { file: `${part}/planted.ts`, from: "../shared/tor/socks.ts" },
    { file: `${part}/planted.ts`, from: "../shared/errors.ts" },
    { file: `${part}/planted.ts`, from: "node:fs" },
    { file: `${part}/planted.ts`, from: "./main.ts" },
  ]),
  ...PARTS.map((part) => ({ file: "cli/planted.ts", from: `../${part}/main.ts` })),
];

const importing = (file: string, from: string): Planted => ({
  file,
  text: `import { thing } from "${from}";\nexport const used: unknown = thing;\n`,
});
const exporting = (file: string, from: string): Planted => ({
  file,
  text: `export { thing } from "${from}";\n`,
});
const typing = (file: string, from: string): Planted => ({
  file,
  text: `export type { Thing } from "${from}";\n`,
});

describe("the layer rules", () => {
  // Types tie two parts together just as much as code does.
  const forms = { importing, exporting, typing };
  const violations = forbidden.flatMap(({ file, from, says }) =>
    Object.entries(forms).map(([form, plant]) => ({ form, from, says, ...numbered(plant(file, from)) })),
  );
  const clean = allowed.map(({ file, from }) => ({ from, ...numbered(importing(file, from)) }));
  let violationsFound: Linted;
  let cleanFound: Linted;

  beforeAll(async () => {
    [violationsFound, cleanFound] = await Promise.all([lint(violations), lint(clean)]);
  });

  test.for(violations)("fail $file for $form $from", ({ file, says }) => {
    expect(violationsFound.of(file)).toEqual([
      expect.objectContaining({ code: "eslint(no-restricted-imports)", help: expect.stringContaining(says) }),
    ]);
    expect(violationsFound.failed).toBe(true);
  });

  test.for(clean)("let $file import $from", ({ file }) => {
    expect(cleanFound.of(file)).toEqual([]);
    expect([cleanFound.failed, cleanFound.files]).toEqual([false, clean.length]);
  });

  it("cannot be gone round by a built-in's name without node:", async () => {
    for (const name of ["fs", "fs/promises", "crypto", "buffer"]) {
      const { failed, of } = await lint([importing("worker/planted.ts", name)]);
      expect([failed, of("worker/planted.ts")]).toEqual([
        true,
        [expect.objectContaining({ code: "unicorn(prefer-node-protocol)" })],
      ]);
    }
  });
});

describe("the rule that only the command line prints", () => {
  const printing = (file: string): Planted => ({
    file,
    text: 'console.log("hello");\nexport const used = 1;\n',
  });
  const silent = ["shared", "shared/tor", "shared/wamp", "worker", "relay", "builder", "router"];

  it("fails any other part for console.log", async () => {
    const files = silent.map((folder) => `${folder}/planted.ts`);
    const { of } = await lint(files.map(printing));
    for (const file of files) {
      expect(of(file), file).toEqual([expect.objectContaining({ code: "eslint(no-console)" })]);
    }
  });

  it("lets those print whose purpose it is", async () => {
    const files = [
      "cli/planted.ts",
      "cli/deep/planted.ts",
      "worker/print-report.ts",
      "bench/planted.ts",
      "setup.mjs",
    ];
    const { failed, files: count } = await lint(files.map(printing));
    expect([failed, count]).toEqual([false, files.length]);
  });
});

interface Linted {
  failed: boolean;
  /** How many files were looked at. */
  files: number;
  of(file: string): Diagnostic[];
}

let plantedFiles = 0;

/** Two violations in one folder need two names. */
function numbered({ file, text }: Planted): Planted {
  plantedFiles += 1;
  return { file: file.replace("planted", `planted-${plantedFiles}`), text };
}

/** Lints the planted files, and nothing else, under the project's own configuration. */
async function lint(planted: readonly Planted[]): Promise<Linted> {
  const copy = await mkdtemp(join(tmpdir(), "onionhook-layers-"));
  try {
    await copyFile(join(ROOT, ".oxlintrc.json"), join(copy, ".oxlintrc.json"));
    for (const { file, text } of planted) {
      await mkdir(dirname(join(copy, file)), { recursive: true });
      await writeFile(join(copy, file), text);
    }
    const { failed, output } = await oxlint(copy);
    const report: { diagnostics: Diagnostic[]; number_of_files: number } = JSON.parse(output);
    return {
      failed,
      files: report.number_of_files,
      of: (file) => report.diagnostics.filter(({ filename }) => filename === file),
    };
  } finally {
    await rm(copy, { recursive: true });
  }
}

function oxlint(cwd: string): Promise<{ failed: boolean; output: string }> {
  return new Promise((resolve) => {
    const limits = { cwd, maxBuffer: 16 * 1024 * 1024 };
    execFile(OXLINT, ["--format=json"], limits, (error, stdout) => {
      resolve({ failed: error !== null, output: stdout });
    });
  });
}
