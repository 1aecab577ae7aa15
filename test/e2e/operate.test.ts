/** An operator at the relay's host: dead letters, retry, replay, status and health, by the command line. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DevEvent } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { ROOT } from "../helpers/peers.ts";
import type { Part } from "../helpers/part.ts";
import { type Rig, startRig } from "../helpers/rig.ts";

interface Said {
  code: number;
  lines: Record<string, unknown>[];
  stderr: string;
}

describe("operating a relay", () => {
  let rig: Rig;
  let relay: Part;
  let builder: Part;

  beforeAll(async () => {
    rig = await startRig({ relays: ["relay-one"], builders: ["builder-one"] });
    relay = rig.startRelay("relay-one", { canary_seconds: 2 });
  });

  afterAll(() => rig.stop());

  const onionhook = (...args: string[]): Promise<Said> =>
    new Promise((resolve) => {
      const argv = [join(ROOT, "cli/main.ts"), ...args, "--config", rig.configOf("relay-one"), "--json"];
      execFile(process.execPath, argv, (error, stdout, stderr) =>
        resolve({
          code: error ? Number(error.code) : 0,
          lines: stdout
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => JSON.parse(line) as Record<string, unknown>),
          stderr,
        }),
      );
    });
  const of = (part: Part, event: string, delivery: string): DevEvent[] =>
    part.events.filter((each) => each.event === event && each["delivery"] === delivery);

  it("keeps what a builder refuses as a dead letter, and delivers it when it is retried", async () => {
    const wrong = join(rig.folder, "wrong.secret");
    writeFileSync(wrong, "another secret than the webhook's\n", { mode: 0o600 });
    builder = rig.startBuilder("builder-one", { webhook_secret_file: wrong });
    const delivery = await rig.push({});
    await eventually("it is dead", () => of(relay, "dead", delivery).length === 1, 60_000);
    expect(of(relay, "dead", delivery)[0]).toMatchObject({ reason: "ERR_SIGNATURE", seq: 1 });
    const { lines } = await onionhook("list", "--state", "dead");
    expect(lines).toMatchObject([{ delivery, seq: 1, reason: "ERR_SIGNATURE" }]);

    await builder.end("SIGTERM");
    builder = rig.startBuilder("builder-one");
    await eventually("the builder is there", () => builder.events.some(({ event }) => event === "connected"));
    expect((await onionhook("retry", "--state", "dead")).code).toBe(0);
    await eventually("it is built", () => of(builder, "built", delivery).length === 1, 30_000);
    await eventually(
      "and done",
      () =>
        of(relay, "accepted", delivery).length +
          relay.events.filter(({ event, seq }) => event === "accepted" && seq === 1).length >
        0,
    );
    expect((await onionhook("list", "--state", "dead")).lines).toEqual([]);
  }, 120_000);

  it("runs a delivery again when it is told to, and not when only what was missed is sent", async () => {
    const delivery = await rig.push({});
    await eventually("it is built", () => of(builder, "built", delivery).length === 1);
    expect((await onionhook("replay", "--delivery", delivery, "--missed", "--yes")).code).toBe(0);
    await eventually("it came once more", () => of(relay, "published", delivery).length === 2);
    expect((await onionhook("replay", "--delivery", delivery, "--yes")).code).toBe(0);
    await eventually("it is built again", () => of(builder, "built", delivery).length === 2);
    const opened = of(builder, "opened", delivery);
    expect(opened.map(({ redelivery }) => redelivery)).toEqual([false, true]);
  });

  it("is healthy while a canary goes all the way, and is not when the builder takes nothing", async () => {
    await eventually(
      "a canary came back",
      () => relay.events.some(({ event }) => event === "canary"),
      30_000,
    );
    expect((await onionhook("status")).code).toBe(0);
    await builder.end("SIGKILL");
    const { lines } = await onionhook("status");
    expect(lines[0]).toMatchObject({ queue: { counts: { dead: 0 } } });
    expect(
      builder.events.some(({ event, topic }) => event === "opened" && String(topic).includes("canary")),
    ).toBe(false);
  });
});
