/** The whole pipeline through real onion services on a private Tor network: one run for all tests here. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeKeyring } from "../../shared/keyring.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { parseConfig } from "../../builder/config.ts";
import { openEvent } from "../../builder/opener.ts";
import { post } from "../../cli/send.ts";
import { encodeUtf8 } from "../../shared/bytes.ts";
import type { OpenedEvent } from "../../shared/event.ts";
import { readConfigFile } from "../../shared/host/config-file.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { parseSocksProxy } from "../../shared/tor/socks.ts";
import { TOPIC_PREFIX } from "../../shared/topic.ts";
import { joinWamp, type WampSession } from "../../shared/wamp/session.ts";
import { serializers } from "../../shared/wamp/serializers.ts";
import { startAutobahn } from "../helpers/autobahn.ts";
import { type Body, examples, paddedPush } from "../helpers/bodies.ts";
import { dataFolder, type Dev, processesNaming, type Ready, startDev } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { describeWith } from "../helpers/peers.ts";

interface Example {
  event: string;
  delivery: string;
  body: Uint8Array;
}

const example = ({ event, bytes }: Body): Example => ({ event, delivery: crypto.randomUUID(), body: bytes });

describeWith("tor", "the pipeline through an onion service", () => {
  const data = dataFolder();
  const stop = new AbortController();
  let dev: Dev;
  let ready: Ready;
  let secret: string;
  let startedAt: number;

  beforeAll(async () => {
    startedAt = performance.now();
    dev = startDev(["--no-sample", "--port", "0", "--data-dir", data.path]);
    ready = await dev.ready();
    secret = readSecretFile(ready.secret_file);
  });

  afterAll(async () => {
    stop.abort();
    await dev.stop();
    expect(processesNaming(data.path)).toEqual([]);
    data.remove();
  });

  const sendAll = async (all: readonly Example[]) => {
    const queue = [...all];
    const sender = async () => {
      for (let next = queue.pop(); next; next = queue.pop()) {
        const { status } = await post(ready.webhook, secret, next.event, next.body, next.delivery);
        expect(status).toBe(202);
      }
    };
    await Promise.all([sender(), sender(), sender(), sender()]);
  };

  const joinAsBuilder = (url: string, tor: string): Promise<WampSession> => {
    const { json, folder } = readConfigFile(join(data.path, "builder.json"));
    const { router } = parseConfig(json, folder);
    return joinWamp({
      ...router,
      url,
      tor: tor === "none" ? "none" : parseSocksProxy(tor),
      isolation: "test",
      signal: stop.signal,
    });
  };

  it("is up through Tor within 40 s of a cold start", () => {
    expect(ready.router.onion).toMatch(/^ws:\/\/[a-z2-7]{56}\.onion:80\/$/);
    expect(performance.now() - startedAt).toBeLessThan(40_000);
    const parts = dev.events.filter(({ event }) => event === "started").map((event) => String(event["part"]));
    expect(parts.toSorted((a, b) => a.localeCompare(b))).toEqual([
      "builder",
      "relay",
      "router",
      "tor:authority",
      "tor:builder-client",
      "tor:relay-client",
      "tor:relay1",
      "tor:relay2",
      "tor:relay3",
      "tor:relay4",
      "tor:service",
      "worker",
    ]);
  });

  it("brings all example payloads, and large ones, to the builder and to Autobahn|Python on every serializer", async () => {
    expect(examples).toHaveLength(324);
    // Sizes at which something changes: a row's chunk, and what people asked about.
    const large = [96 * 1024, 128 * 1024, 156_484, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1];
    const all = [...examples, ...large.map(paddedPush)].map(example);
    const peers = await Promise.all(
      serializers.map(({ id }) => startAutobahn(join(data.path, "builder.json"), ready.router.local, id)),
    );
    const { json, folder } = readConfigFile(join(data.path, "builder.json"));
    const config = parseConfig(json, folder);
    const shared = sharedKey(config.edgeBoxPublic, config.boxSecrets[0]);
    const keyring = makeKeyring([{ uri: TOPIC_PREFIX, match: "prefix", responder: [shared] }]);
    const arrived = new Map<string, OpenedEvent>();
    const session = await joinAsBuilder(ready.router.onion ?? "", ready.router.socks ?? "");
    await session.subscribe(TOPIC_PREFIX, "prefix", ({ topic, passthru }) => {
      const opened = openEvent(topic, passthru, keyring, secret, false);
      arrived.set(opened.delivery.id, opened);
    });
    try {
      await sendAll(all);
      const ids = new Set(all.map(({ delivery }) => delivery));
      const opened = () =>
        dev.events.filter((event) => event.event === "opened" && ids.has(String(event["delivery"])));
      await eventually("all are opened", () => opened().length >= all.length, 240_000);
      // The builder checked GitHub's HMAC over the recovered bytes: they are GitHub's, every one.
      expect(opened().every((event) => event["signature"] === "verified")).toBe(true);
      await eventually("all came through the onion", () => arrived.size >= all.length, 30_000);
      for (const peer of peers) {
        await eventually(`all came to Autobahn|Python`, () => peer.received.size >= all.length, 60_000);
      }
      for (const { event, delivery, body } of all) {
        const parsed: unknown = JSON.parse(Buffer.from(body).toString("utf8"));
        const mine = arrived.get(delivery);
        expect(mine?.topic).toBe(`webhook.github.${event}`);
        expect(Buffer.from(mine?.rawBody ?? []).equals(body), event).toBe(true);
        for (const { received } of peers) {
          const { topic, kwargs } = received.get(delivery) ?? {};
          expect(topic).toBe(`webhook.github.${event}`);
          const { _delivery, ...rest } = kwargs ?? {};
          expect(rest).toEqual(parsed);
          expect(_delivery).toEqual(mine?.delivery);
        }
      }
    } finally {
      await session.close();
      await Promise.all(peers.map((peer) => peer.stop()));
    }
  });

  it("loses nothing while worker, relay, router, builder and their tors are killed and deliveries come in", async () => {
    const sent: string[] = [];
    const sending = new AbortController();
    /** As GitHub's redelivery would: the same delivery again until it was taken. */
    const deliver = async (delivery: string) => {
      const push = encodeUtf8(JSON.stringify({ ref: "refs/heads/chaos", after: delivery }));
      for (;;) {
        const answer = await post(ready.webhook, secret, "push", push, delivery).catch(() => undefined);
        if (answer?.status === 202) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    const sender = (async () => {
      while (!sending.signal.aborted) {
        const delivery = crypto.randomUUID();
        await deliver(delivery);
        sent.push(delivery);
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
    })();
    const opened = (delivery: string) =>
      dev.events.filter((event) => event.event === "opened" && event["delivery"] === delivery).length;
    for (const part of [
      "worker",
      "relay",
      "router",
      "builder",
      "tor:relay-client",
      "tor:builder-client",
      "tor:service",
      "tor:relay2",
    ]) {
      const before = sent.length;
      const pid = dev.pidOf(part);
      process.kill(pid, "SIGKILL");
      await dev.until(
        `${part} again`,
        (event) => event.event === "started" && event["part"] === part && event["restarts"] === 1,
      );
      await eventually(`deliveries go on after ${part} died`, () => sent.length > before + 5, 60_000);
      const last = sent.at(-1) ?? "";
      await eventually(`what came after ${part} died is opened`, () => opened(last) > 0, 240_000);
    }
    sending.abort();
    await sender;
    expect(sent.length).toBeGreaterThan(50);
    const missing = () => sent.filter((delivery) => opened(delivery) === 0);
    await eventually("every delivery is opened", () => missing().length === 0, 180_000).catch(
      (error: unknown) => {
        const ways = dev.events.filter((event) => missing().includes(String(event["delivery"])));
        throw new Error(`${String(error)}\n${ways.map((event) => JSON.stringify(event)).join("\n")}`);
      },
    );
    // Twice only as what GitHub calls a redelivery: the answer to the first POST died with the worker.
    const events = dev.events.filter((event) => event.event === "opened");
    const firstWith = (key: string, value: unknown) => events.find((event) => event[key] === value);
    const twice = events.filter(
      (event) =>
        firstWith("seq", event["seq"]) !== event ||
        (event["redelivery"] === false && firstWith("delivery", event["delivery"]) !== event),
    );
    // A builder that dies between saying `opened` and noting that it did says it once more when it is back.
    const back = dev.events.findIndex(
      ({ event, part, restarts }) => event === "started" && part === "builder" && restarts === 1,
    );
    const isSaidAgain = (event: (typeof events)[number]) => {
      const said = firstWith("seq", event["seq"]) ?? event;
      return dev.events.indexOf(said) < back && dev.events.indexOf(event) > back;
    };
    expect(twice.filter((event) => !isSaidAgain(event))).toEqual([]);
    expect(twice.filter(isSaidAgain).length).toBeLessThanOrEqual(1);
    // What it says may come twice; what it keeps, and builds from, may not.
    const journal = new DatabaseSync(join(data.path, "builder", "journal.sqlite"), { readOnly: true });
    const kept = journal.prepare("SELECT count(*) AS rows, count(DISTINCT seq) AS seqs FROM events").get();
    journal.close();
    expect(Number(kept?.["rows"])).toBeGreaterThanOrEqual(sent.length);
    expect(kept?.["rows"]).toBe(kept?.["seqs"]);
    const done = new Set(
      dev.events.filter(({ event }) => event === "done").map((event) => event["delivery"]),
    );
    await eventually(
      "the edge has every receipt",
      () => {
        for (const event of dev.events) if (event.event === "done") done.add(event["delivery"]);
        return sent.every((delivery) => done.has(delivery));
      },
      60_000,
    );
  }, 900_000);
});
