/** The least that an onion service can do: a server that gives back what it gets, behind the Tor that serves the router. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { readConfigFile } from "../shared/host/config-file.ts";
import { parseLocalAddress } from "../shared/tor/local-socket.ts";
import { publishOnionService } from "../shared/tor/onion-service.ts";
import { dial, parseSocksProxy } from "../shared/tor/socks.ts";
import { BODY_BYTES } from "./deliveries.ts";
import type { Stage } from "./stage.ts";

export interface Echo {
  /** A connection on the circuit that `isolation` names. */
  connect(isolation: string): Promise<Socket>;
  close(): Promise<void>;
}

const PORT = 80;
/** Milliseconds from the first directory that has the address's descriptor to the last: a client may ask any. */
const SPREAD_MS = 5000;
const routerConfig = v.object({ onion: v.object({ control: v.string() }) });
const builderConfig = v.object({ tor: v.string() });

/** An address of its own, that nobody has reached yet. Resolves when it is published. */
export async function openEcho({ data }: Stage): Promise<Echo> {
  const { onion } = v.parse(routerConfig, readConfigFile(join(data, "router.json")).json);
  const tor = parseSocksProxy(v.parse(builderConfig, readConfigFile(join(data, "builder.json")).json).tor);
  const server = createServer({ noDelay: true }, (socket) => socket.on("error", () => {}).pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("expected a TCP address");
  const service = publishOnionService({
    control: parseLocalAddress(onion.control, "onion.control", "control"),
    seed: randomBytes(32),
    virtualPort: PORT,
    target: { host: "127.0.0.1", port: address.port },
    access: { clients: [], open: true },
    report: () => {},
  });
  await service.published;
  await sleep(SPREAD_MS);
  return {
    connect: (isolation) => dial(tor, service.address, PORT, { isolation }),
    async close() {
      await service.close();
      server.close();
    },
  };
}

/** Sends as much as an event has over a connection, and resolves when all of it is back. */
export async function echo(socket: Socket): Promise<void> {
  const { promise: back, resolve, reject } = Promise.withResolvers<void>();
  let missing = BODY_BYTES;
  const take = (chunk: Buffer) => {
    missing -= chunk.length;
    if (missing === 0) resolve();
  };
  socket.on("data", take).once("error", reject);
  socket.write(Buffer.alloc(BODY_BYTES));
  await back;
  socket.off("data", take).off("error", reject);
}
