/** Shutting the builder out of a running pipeline by its name in router.json, and letting it in again. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { dataFolder, type Dev, type Ready, startDev } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { describeWith } from "../helpers/peers.ts";

const PATIENCE_MS = 120_000;

interface CrossbarFile {
  workers: [{ transports: [{ auth: { cryptosign: { principals: Record<string, object> } } }] }];
}

describeWith("tor", "revoking the builder's onion key while all runs", () => {
  const data = dataFolder();
  let dev: Dev;
  let ready: Ready;

  beforeAll(async () => {
    dev = startDev(["--no-sample", "--port", "0", "--data-dir", data.path]);
    ready = await dev.ready();
  });
  afterAll(async () => {
    await dev.stop();
    data.remove();
  });

  const routerLog = () => readFileSync(join(data.path, "logs", "router.log"), "utf8");
  const said = (part: string, event: string) =>
    readFileSync(join(data.path, "logs", `${part}.log`), "utf8").split(`"event":"${event}"`).length - 1;

  async function setClients(change: (clients: Record<string, string>) => Record<string, string>) {
    const file = join(data.path, "router.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as { onion: { clients: Record<string, string> } };
    config.onion.clients = change(config.onion.clients);
    writeFileSync(file, JSON.stringify(config));
    const before = said("router", "clients");
    process.kill(dev.pidOf("router"), "SIGHUP");
    await eventually("the service is published anew", () => said("router", "clients") > before, PATIENCE_MS);
  }

  async function send(): Promise<string> {
    const body = encodeUtf8(JSON.stringify({ ref: "refs/heads/main", after: crypto.randomUUID() }));
    const { status, delivery } = await post(ready.webhook, readSecretFile(ready.secret_file), "push", body);
    expect(status).toBe(202);
    return delivery;
  }

  const done = (delivery: string) =>
    dev.until("done", (event) => event.event === "done" && event["delivery"] === delivery, PATIENCE_MS);

  it("breaks no session, keeps the builder from coming anew, and lets it in again by name", async () => {
    await done(await send());
    const relayBroke = () => said("relay", "disconnected");
    const broken = relayBroke();
    let builderKey = "";
    await setClients(({ builder = "", ...others }) => {
      builderKey = builder;
      return others;
    });
    // Its session is older than that, and lives on: so does the relay's.
    await done(await send());

    process.kill(dev.pidOf("tor:builder-client"), "SIGKILL");
    await dev.until(
      "the builder is told why it is not let in",
      ({ event, part, code }) =>
        event === "error" && part === "builder" && code === "ERR_TOR_CLIENT_AUTH_WRONG",
      PATIENCE_MS,
    );
    const waiting = await send();
    expect(dev.events.some(({ event, delivery }) => event === "opened" && delivery === waiting)).toBe(false);

    await setClients((others) => ({ ...others, builder: builderKey }));
    await done(waiting);
    expect(relayBroke()).toBe(broken);
  }, 600_000);

  it("ends the builder's session at once when its WAMP key is taken out, and nobody else's", async () => {
    const file = join(data.path, "crossbar.json");
    const good = readFileSync(file, "utf8");
    const config = JSON.parse(good) as CrossbarFile;
    config.workers[0].transports[0].auth.cryptosign.principals["builder"] = {
      realm: "onionhook",
      role: "builder",
      authorized_keys: [],
    };
    const revoked = () => routerLog().split('"reason":"revoked"').length - 1;
    const relayBroke = said("relay", "disconnected");
    writeFileSync(file, JSON.stringify(config));
    process.kill(dev.pidOf("router"), "SIGHUP");
    await eventually("the builder's session is ended", () => revoked() === 1, PATIENCE_MS);
    await dev.until(
      "the builder is told why",
      ({ event, part, code }) =>
        event === "error" && part === "builder" && String(code).startsWith("ERR_WAMP"),
      PATIENCE_MS,
    );
    const waiting = await send();
    writeFileSync(file, good);
    process.kill(dev.pidOf("router"), "SIGHUP");
    await done(waiting);
    expect(revoked()).toBe(1);
    expect(said("relay", "disconnected")).toBe(relayBroke);
  }, 300_000);

  it("goes on with what it had when router.json is wrong, and says so", async () => {
    const file = join(data.path, "router.json");
    const good = readFileSync(file, "utf8");
    const published = said("router", "clients");
    writeFileSync(file, good.replace(/"clients":\{[^}]*\}/, '"clients":{}'));
    process.kill(dev.pidOf("router"), "SIGHUP");
    await dev.until(
      "the fault is told",
      ({ event, part, code }) => event === "error" && part === "router" && code === "ERR_CONFIG",
    );
    writeFileSync(file, good);
    await done(await send());
    expect(said("router", "clients")).toBe(published);
  }, 300_000);
});
