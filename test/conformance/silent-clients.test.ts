import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../helpers/until.ts";
import { RawClient } from "../router/raw-client.ts";
import { startHealthyPair } from "./healthy-pair.ts";
import { encode, TEXT, upgradeRequest, writeFrame } from "./raw-socket.ts";
import { openHandles } from "./router-process.ts";
import { KEYS, startOurs, type OurRouter } from "./routers.ts";

/** Milliseconds from connecting to joining, and some for a loaded machine. */
const DEADLINE = 10_000;
const SLACK = 6_000;
/** Milliseconds from one byte to the next of who sends them one by one: what they say takes minutes. */
const DRIP = 400;

const HELLO = writeFrame({
  opcode: TEXT,
  payload: encode("json", [
    1,
    "onionhook",
    {
      roles: { subscriber: {} },
      authmethods: ["cryptosign"],
      authid: "mallory",
      authextra: { pubkey: KEYS.mallory.publicHex },
    },
  ]),
});

/** What a client sends, and what of it one byte after the other. */
const SILENT: Readonly<
  Record<string, { readonly says?: string | Buffer; readonly drips?: string | Buffer }>
> = {
  "connects and says nothing": {},
  "sends half an upgrade": { says: upgradeRequest("json").slice(0, 80) },
  "sends the upgrade byte by byte": { drips: upgradeRequest("json") },
  "sends headers without end": {
    says: "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    drips: "X-Padding: x\r\n".repeat(50),
  },
  "upgrades and says nothing": { says: upgradeRequest("json") },
  "upgrades and only pings": {
    says: upgradeRequest("json"),
    drips: Buffer.concat(Array.from({ length: 20 }, () => writeFrame({ opcode: 9 }))),
  },
  "never finishes a frame": {
    says: Buffer.concat([Buffer.from(upgradeRequest("json")), HELLO.subarray(0, 40)]),
  },
  "sends HELLO byte by byte": { says: upgradeRequest("json"), drips: HELLO },
  "never finishes a message": {
    says: Buffer.concat([
      Buffer.from(upgradeRequest("json")),
      writeFrame({ opcode: TEXT, payload: Buffer.from("[1,"), final: false }),
    ]),
    drips: Buffer.concat(
      Array.from({ length: 20 }, () => writeFrame({ opcode: 0, payload: Buffer.from(" "), final: false })),
    ),
  },
  "says HELLO and does not authenticate": {
    says: Buffer.concat([Buffer.from(upgradeRequest("json")), HELLO]),
  },
  "asks over HTTP and keeps the connection": { says: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" },
};

describe("clients that do not join", () => {
  let router: OurRouter;
  beforeAll(async () => {
    router = await startOurs();
  });
  afterAll(() => router.stop());

  it("are ended within 10 s, on TCP and on the unix socket, and leave nothing behind", async () => {
    const pair = await startHealthyPair(router);
    const handles = openHandles(router.pid);
    const cases = Object.entries(SILENT).flatMap(([what, how]) =>
      (["tcp", "unix"] as const).map((kind) => ({ what: `${what} (${kind})`, kind, ...how })),
    );
    const lived = await Promise.all(
      cases.map(async ({ what, kind, says, drips }) => {
        const socket = kind === "tcp" ? connect(router.port, "127.0.0.1") : connect(router.unixPath);
        return [what, await lifetime(socket, says, drips)] as const;
      }),
    );
    const late = lived.filter(([, ms]) => ms > DEADLINE + SLACK);
    expect(late).toEqual([]);
    await eventually("all handles are released", () => openHandles(router.pid) <= handles, 20_000);
    await pair.stop();
    expect(pair.exchanges()).toBeGreaterThan(20);
  });
});

describe("clients that have joined and answer no ping", () => {
  let router: OurRouter;
  beforeAll(async () => {
    router = await startOurs({ auto_ping_interval: 1000, auto_ping_timeout: 1000 });
  });
  afterAll(() => router.stop());

  it("are ended, and who answers stays", async () => {
    const join = () => RawClient.join(router, "carol", KEYS.carol, "json");
    const [idle, ...dead] = await Promise.all([join(), join(), join(), join()]);
    for (const client of dead) client.ws.pause();
    const silent = () =>
      router.reports.filter(({ event, reason }) => event === "left" && reason === "silent").length;
    await eventually("the silent ones are ended", () => silent() === dead.length, DEADLINE + SLACK);
    // Four pings more.
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(silent()).toBe(dead.length);
    expect((await idle.ask([32, 1, {}, "topic"])).slice(0, 2)).toEqual([33, 1]);
    for (const client of [idle, ...dead]) client.end();
  });
});

/** Milliseconds from connecting until the router ends it. */
async function lifetime(
  socket: Socket,
  says: string | Buffer = "",
  drips: string | Buffer = "",
): Promise<number> {
  const started = performance.now();
  const dripping = Buffer.from(drips);
  let at = 0;
  socket.on("error", () => {});
  // Read, or its end would not be noticed.
  socket.resume();
  socket.once("connect", () => socket.write(says));
  const timer = setInterval(() => {
    if (at < dripping.length && socket.writable) socket.write(dripping.subarray(at, ++at));
  }, DRIP);
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  clearInterval(timer);
  return performance.now() - started;
}
