/**
 * Somebody who may push to a repository whose webhook is ours: signed, and as bad as JSON lets it be. Nothing of it may
 * become an argument, an option, another variable, a path, or a line of ours.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeFileSync } from "node:fs";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { eventually } from "../helpers/until.ts";
import type { Part } from "../helpers/part.ts";
import { type Rig, startRig } from "../helpers/rig.ts";

/** What a build of ours may have in its environment, whatever is pushed. */
const ALLOWED = ["PATH", "HOME", "LANG", "TZ", "ONIONHOOK_RUN"].concat(
  ["PAYLOAD", "EVENT", "DELIVERY", "STREAM", "SEQ", "REPOSITORY", "REF", "SHA"].map(
    (name) => `ONIONHOOK_${name}`,
  ),
);

const EVIL = "--upload-pack=touch${IFS}x;$(id)`id`|&'\"\\ \n\u001b]0;x\u0007\u001b[2J\u009b2J\u202E%s%n";

interface Dumped {
  argv: string[];
  env: Record<string, string>;
  cwd: string;
  payload: string;
}

let rig: Rig;
let relay: Part;
let builder: Part;

beforeAll(async () => {
  rig = await startRig({ relays: ["relay-one"], builders: ["builder-one"] });
  const script = join(rig.folder, "dump.mjs");
  writeFileSync(
    script,
    `import { readFileSync, writeFileSync } from "node:fs";
     const { env, argv } = process;
     writeFileSync(new URL(env.ONIONHOOK_DELIVERY + ".dump", import.meta.url), JSON.stringify({
       argv: argv.slice(2), env, cwd: process.cwd(), payload: readFileSync(env.ONIONHOOK_PAYLOAD, "base64") }));`,
  );
  const run = [[process.execPath, script, "fixed"]];
  relay = rig.startRelay("relay-one");
  builder = rig.startBuilder("builder-one", {
    rules: [
      { name: "every", event: "push", run },
      { name: "another", event: "push", repository: "owner/name", run: [["false"]] },
      { name: "branch", event: "push", ref: "refs/heads/main", run: [["false"]] },
    ],
  });
});

afterAll(() => rig.stop());

async function dumped(body: string): Promise<Dumped> {
  const delivery = await rig.send("push", encodeUtf8(body));
  const built = () =>
    builder.events.filter((each) => each.event === "built" && each["delivery"] === delivery);
  await eventually("it is built", () => built().length > 0, 60_000);
  expect(built()).toMatchObject([{ rule: "every", exit: 0 }]);
  return JSON.parse(readFileSync(join(rig.folder, `${delivery}.dump`), "utf8")) as Dumped;
}

it.each([
  ["shell, terminal and format characters", { ref: EVIL, after: EVIL, repository: { full_name: EVIL } }],
  [
    "lines that look like variables",
    { ref: "x\nLD_PRELOAD=/x\nNODE_OPTIONS=--require=/x\nGIT_SSH_COMMAND=id", after: "../../../etc/passwd" },
  ],
  [
    "variables of its own",
    { env: { LD_PRELOAD: "/x" }, NODE_OPTIONS: "-r/x", ONIONHOOK_PAYLOAD: "/etc/passwd" },
  ],
  [
    "what no environment takes",
    { ref: "a\0b", after: "x".repeat(200_000), repository: { full_name: "\ud800" } },
  ],
  ["other types", { ref: { toString: "refs/heads/main" }, after: 5, repository: ["owner/name"] }],
])("has %s in its payload, and nowhere else", async (_what, body) => {
  const text = JSON.stringify(body);
  const { argv, env, cwd, payload } = await dumped(text);
  expect(argv).toEqual(["fixed"]);
  expect(Object.keys(env).filter((name) => !ALLOWED.includes(name))).toEqual([]);
  expect(cwd).toBe(rig.folder);
  expect(env["ONIONHOOK_PAYLOAD"]).toMatch(new RegExp(`^${rig.folder}/builder-one-data/builds/\\d+\\.json$`));
  expect(env["ONIONHOOK_EVENT"]).toBe("push");
  if (!text.includes("\\u0000")) expect(Buffer.from(payload, "base64").toString()).toBe(text);
});

it.each([
  [
    "a prototype",
    '{"repository":{"__proto__":{"full_name":"owner/name"}},"__proto__":{"ref":"refs/heads/main"}}',
  ],
  ["a record of ours", '{"_delivery":{"v":1,"id":"x","seq":1,"stream":"other","altered":true},"ref":"x"}'],
  ["a level of 255", `{"a":${"[".repeat(255)}${"]".repeat(255)}}`],
  ["a number of 1,000 digits", `{"a":${"9".repeat(1000)}}`],
])("cannot pass for another repository or branch, by %s", async (_what, text) => {
  const { env, payload } = await dumped(text);
  expect(env["ONIONHOOK_REPOSITORY"]).toBeUndefined();
  expect(env["ONIONHOOK_STREAM"]).toBe("builder");
  expect(Buffer.from(payload, "base64").toString()).toBe(text);
});

it("is in nothing that relay and builder say", () => {
  expect(JSON.stringify([relay.events, builder.events])).not.toMatch(
    /upload-pack|LD_PRELOAD|full_name|etc.passwd/,
  );
});
