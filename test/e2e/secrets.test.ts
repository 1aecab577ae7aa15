/** What must not be where: payloads and secret keys in stores, logs, arguments; anything but 0600 on keys. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { dataFolder, type Dev, type Ready, startDev } from "../helpers/dev.ts";

const CANARY = "canary-7f3a9c51e2d84b60";

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describe("secrets", () => {
  const data = dataFolder();
  let dev: Dev;
  let ready: Ready;
  /** Each secret as it stands in its file, without its prefix, and in hex. */
  let secrets: { name: string; forms: Buffer[] }[];
  let argv: string[];
  /** The delivery that no builder has opened. */
  let waiting: string;

  beforeAll(async () => {
    dev = startDev(["--no-tor", "--no-sample", "--port", "0", "--data-dir", data.path]);
    ready = await dev.ready();
    secrets = readdirSync(ready.keys_dir).map((name) => {
      const text = readFileSync(join(ready.keys_dir, name), "utf8").trim();
      const base64 = text.includes(":") ? text.slice(text.indexOf(":") + 1) : text;
      return {
        name,
        forms: [
          Buffer.from(base64),
          Buffer.from(Buffer.from(base64, "base64").toString("hex")),
          Buffer.from(base64, "base64"),
        ],
      };
    });
    const secret = readSecretFile(ready.secret_file);
    const body = (ref: string) =>
      encodeUtf8(JSON.stringify({ ref, message: CANARY, repository: { full_name: CANARY } }));
    // One goes all the way; one waits in every store, since the builder is stopped when it is killed below.
    const through = await post(ready.webhook, secret, "push", body("refs/heads/main"));
    expect(through.status).toBe(202);
    await dev.until("done", (event) => event.event === "done" && event["delivery"] === through.delivery);
    process.kill(dev.pidOf("builder"), "SIGSTOP");
    const second = await post(ready.webhook, secret, "issues", body("refs/heads/other"));
    await dev.until(
      "published",
      (event) => event.event === "published" && event["delivery"] === second.delivery,
    );
    waiting = second.delivery;
    argv = readdirSync("/proc").flatMap((pid) => {
      try {
        return /^\d+$/.test(pid) ? [readFileSync(`/proc/${pid}/cmdline`, "latin1")] : [];
      } catch {
        return [];
      }
    });
  });

  afterAll(async () => {
    process.kill(dev.pidOf("builder"), "SIGCONT");
    await dev.stop();
    data.remove();
  });

  it("leave the payload out of edge, relay, queue and router stores, and out of every log", () => {
    const folders = ["edge", "relay", "logs", "tor"].map((name) => join(data.path, name));
    const searched = folders.flatMap(filesUnder);
    expect(searched.some((file) => file.includes("relay/queue"))).toBe(true);
    expect(searched.some((file) => file.includes("edge/outbox"))).toBe(true);
    expect(searched.some((file) => file.endsWith("relay.log"))).toBe(true);
    // What may be there is found there: this search would find the canary too.
    expect(
      searched.some((file) => file.includes("edge/outbox") && readFileSync(file).includes(waiting)),
    ).toBe(true);
    expect(searched.filter((file) => readFileSync(file).includes(CANARY))).toEqual([]);
  });

  it("leave every secret key in its own file only", () => {
    const elsewhere = filesUnder(data.path).filter((file) => !file.startsWith(ready.keys_dir));
    expect(secrets).toHaveLength(10);
    for (const file of elsewhere) {
      const content = readFileSync(file);
      for (const { name, forms } of secrets) {
        for (const form of forms) expect(content.includes(form), `${name} in ${file}`).toBe(false);
      }
    }
  });

  it("are in no process's arguments", () => {
    const all = argv.join("\n");
    expect(all).toContain("cli/main.ts");
    expect(all).not.toContain(CANARY);
    for (const { name, forms } of secrets) {
      for (const form of forms.slice(0, 2)) expect(all.includes(form.toString("latin1")), name).toBe(false);
    }
  });

  it("are in none of the events and messages", () => {
    const said = JSON.stringify(dev.events) + dev.stderr();
    expect(said).not.toContain(CANARY);
    for (const { name, forms } of secrets) {
      for (const form of forms.slice(0, 2)) expect(said.includes(form.toString("latin1")), name).toBe(false);
    }
  });

  it("stand in files that only their owner may read", () => {
    expect(statSync(data.path).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(ready.keys_dir)) {
      expect(statSync(join(ready.keys_dir, name)).mode & 0o777, name).toBe(0o600);
    }
    for (const name of [
      "relay.json",
      "builder.json",
      "router.json",
      "crossbar.json",
      "builder/journal.sqlite",
    ]) {
      expect(statSync(join(data.path, name)).mode & 0o077, name).toBe(0);
    }
  });
});
