import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RawClient, serializerOf } from "../router/raw-client.ts";
import { startHealthyPair } from "./healthy-pair.ts";
import { encode } from "./raw-socket.ts";
import { residentBytes } from "./router-process.ts";
import { KEYS, startOurs, type OurRouter } from "./routers.ts";

const MIB = 1024 * 1024;
/** Bytes of a whole message on the wire, as configured here. */
const LARGEST = MIB;
/** Bytes of who has not joined. */
const LARGEST_BEFORE = 16 * 1024;
const TOO_BIG = 1009;

describe.each(["json", "msgpack", "cbor"] as const)("messages over the size, %s", (id) => {
  let router: OurRouter;
  beforeAll(async () => {
    router = await startOurs({ max_message_size: LARGEST, max_frame_size: LARGEST });
  });
  afterAll(() => router.stop());

  const join = () => RawClient.join(router, "carol", KEYS.carol, id);
  /** A PUBLISH that is `bytes` long on the wire. */
  const publishOf = (bytes: number) => {
    const message = (length: number) => [16, 1, { acknowledge: true }, "topic", ["x".repeat(length)]];
    const length = bytes - (encode(id, message(bytes)).byteLength - bytes);
    expect(encode(id, message(length))).toHaveLength(bytes);
    return message(length);
  };

  it("end the connection with 1009, and one byte less is taken", async () => {
    const client = await join();
    expect((await client.ask(publishOf(LARGEST)))[0]).toBe(17);
    client.send(publishOf(LARGEST + 1));
    expect(await client.closed).toBe(TOO_BIG);
  });

  it("do so in pieces as well, and many of them at once keep nothing in memory", async () => {
    const pair = await startHealthyPair(router);
    const before = residentBytes(router.pid);
    const piece = "x".repeat(LARGEST / 4);
    const codes = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const client = await join();
        const binary = serializerOf(id).binary;
        for (let number = 0; number < 8; number++) client.ws.send(piece, { binary, fin: false });
        return client.closed;
      }),
    );
    expect(new Set(codes)).toEqual(new Set([TOO_BIG]));
    expect(residentBytes(router.pid) - before).toBeLessThan(200 * MIB);
    await pair.stop();
  });

  it("are smaller for who has not joined", async () => {
    const client = await RawClient.dial(router, id);
    client.send([1, "onionhook", { roles: { caller: {} }, padding: "x".repeat(LARGEST_BEFORE) }]);
    expect(await client.closed).toBe(TOO_BIG);
  });
});
