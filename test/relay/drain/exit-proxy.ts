/**
 * A SOCKS5 proxy in Tor's place: it wants user and password, and connects to where it is asked to, on this machine.
 * Who listens there can ask with which password, the isolation credential, a connection came.
 */
import { once } from "node:events";
import net from "node:net";
import type { LocalAddress } from "../../../shared/tor/local-socket.ts";

export interface ExitProxy {
  readonly address: LocalAddress;
  /** The credential of every connection made, in order. */
  readonly credentials: string[];
  /** By the port that the far end sees; undefined when the connection did not come through here. */
  credentialOf(remotePort: number | undefined): string | undefined;
  close(): Promise<void>;
}

/** @param port to listen on; any free one when left out */
export async function startExitProxy(port = 0): Promise<ExitProxy> {
  const credentials: string[] = [];
  const byPort = new Map<number, string>();
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    sockets.add(client);
    client.on("error", () => undefined);
    void serve(client).catch(() => client.destroy());
  });

  async function serve(client: net.Socket): Promise<void> {
    const [, methods = 0] = await read(client, 2);
    await read(client, methods);
    client.write(Buffer.of(5, 2));
    const [, userBytes = 0] = await read(client, 2);
    await read(client, userBytes);
    const [passwordBytes = 0] = await read(client, 1);
    const credential = (await read(client, passwordBytes)).toString();
    client.write(Buffer.of(1, 0));
    const [, , , type = 0] = await read(client, 4);
    const [nameBytes = 0] = type === 3 ? await read(client, 1) : [4];
    await read(client, nameBytes);
    const farPort = (await read(client, 2)).readUInt16BE();
    const far = net.connect(farPort, "127.0.0.1");
    sockets.add(far);
    far.on("error", () => client.destroy());
    await once(far, "connect");
    byPort.set(far.localPort ?? 0, credential);
    credentials.push(credential);
    far.on("close", () => client.destroy());
    client.on("close", () => far.destroy());
    client.write(Buffer.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
    client.pipe(far).pipe(client);
  }

  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    address: { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port },
    credentials,
    credentialOf: (remotePort) => byPort.get(remotePort ?? 0),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function read(socket: net.Socket, bytes: number): Promise<Buffer> {
  for (;;) {
    const chunk: unknown = socket.read(bytes);
    if (Buffer.isBuffer(chunk)) return chunk;
    await once(socket, "readable");
  }
}
