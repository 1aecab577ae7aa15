/** Large messages that go up slowly, to the real Crossbar.io, which judges a client by the frames that it ends. */
import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { CRYPTOBOX } from "../../../shared/cryptobox.ts";
import { Passthru } from "../../../shared/wamp/passthru.ts";
import { joinWamp } from "../../../shared/wamp/session.ts";
import { startCrossbar } from "../../helpers/crossbar.ts";
import { describeWith } from "../../helpers/peers.ts";
import { newKeyPair } from "../../router/raw-client.ts";
import { configJson, PRINCIPALS, TRANSPORT } from "../../router/testbed.ts";
import { seedOf } from "./joined.ts";

const SOCKET = "router.sock";
const PING_MS = 2000;
const PONG_MS = 3000;
/** Several times as long on its way as a ping and its answer may take. */
const SEALED_BYTES = 6 * 1024 * 1024;
const BYTES_PER_S = 512 * 1024;

describeWith("crossbar", "a large message on a slow way up", () => {
  it("arrives although the router's pings are answered behind it", async () => {
    const keys = newKeyPair();
    const crossbar = await startCrossbar(
      configJson(
        [`${TRANSPORT}.endpoint`, { type: "unix", path: SOCKET }],
        [`${TRANSPORT}.options.auto_ping_interval`, PING_MS],
        [`${TRANSPORT}.options.auto_ping_timeout`, PONG_MS],
        [`${PRINCIPALS}.relay.authorized_keys`, [keys.publicHex]],
        [`${PRINCIPALS}.builder.authorized_keys`, [newKeyPair().publicHex]],
      ),
    );
    onTestFinished(() => crossbar.stop("SIGKILL"));
    const port = await slowWayTo(join(crossbar.folder, SOCKET));
    const session = await joinWamp({
      url: `ws://127.0.0.1:${port}/`,
      realm: "onionhook",
      authid: "relay",
      seed: seedOf(keys),
      tor: "none",
      isolation: "test",
      signal: new AbortController().signal,
    });
    const began = performance.now();
    await session.publish(
      "webhook.github.push",
      new Passthru(new Uint8Array(SEALED_BYTES), CRYPTOBOX, "json"),
    );
    expect(performance.now() - began).toBeGreaterThan(2 * (PING_MS + PONG_MS));
    await session.close();
  }, 120_000);
});

/** A port from which bytes go on to a unix socket slowly, and come back at once. */
async function slowWayTo(path: string): Promise<number> {
  const server = net.createServer((near) => {
    const far = net.connect(path);
    onTestFinished(() => void near.destroy());
    near.on("error", () => {}).on("close", () => far.destroy());
    far.on("error", () => {}).on("close", () => near.destroy());
    far.pipe(near);
    let freeAt = 0;
    near.on("data", (chunk: Buffer) => {
      far.write(chunk);
      const now = performance.now();
      freeAt = Math.max(freeAt, now) + (1000 * chunk.length) / BYTES_PER_S;
      near.pause();
      setTimeout(() => near.resume(), freeAt - now);
    });
  });
  onTestFinished(() => void server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as net.AddressInfo).port;
}
