/** A TCP or unix server that answers a SOCKS5 client with prepared bytes, cut into prepared packets. */
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalAddress } from "../../../shared/tor/local-socket.ts";

export interface Script {
  /** The method to choose: 2 when the client offers a password, unless told otherwise. */
  method?: number;
  /** Packets sent after the request has come; a pause of some ms lies between them. */
  packets: Buffer[];
  /** Ends the connection after the packets. */
  end?: boolean;
  /** Sends each byte of everything by itself. */
  bytewise?: boolean;
}

export interface ScriptedProxy {
  readonly address: LocalAddress;
  /** What clients asked for: credential and target. */
  readonly requests: { user: string; password: string; type: number; host: string; port: number }[];
  close(): Promise<void>;
}

/** A reply with this code and address type, e.g. `reply(0, 4)`. */
export function reply(code: number, type = 1): Buffer {
  const address = { 1: Buffer.alloc(4), 3: Buffer.from("\u0007example"), 4: Buffer.alloc(16) }[type];
  return Buffer.concat([Buffer.of(5, code, 0, type), address ?? Buffer.alloc(0), Buffer.of(0, 80)]);
}

/** @param path of a unix socket; without it the proxy listens on a loopback port */
export async function scriptedProxy(script: Script, path?: string): Promise<ScriptedProxy> {
  const requests: ScriptedProxy["requests"] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    void converse(socket, script, requests).catch(() => socket.destroy());
  });
  if (path === undefined) server.listen(0, "127.0.0.1");
  else server.listen(path);
  await once(server, "listening");
  const bound = server.address();
  return {
    address:
      typeof bound === "object" && bound !== null
        ? { host: "127.0.0.1", port: bound.port }
        : { path: path ?? "" },
    requests,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function converse(
  socket: net.Socket,
  script: Script,
  requests: ScriptedProxy["requests"],
): Promise<void> {
  const read = reader(socket);
  const send = async (packet: Buffer): Promise<void> => {
    const pieces = script.bytewise === true ? [...packet].map((byte) => Buffer.of(byte)) : [packet];
    for (const piece of pieces) {
      socket.write(piece);
      await sleep(2);
    }
  };
  const [, methods = 0] = await read(2);
  const offered = await read(methods);
  const method = script.method ?? (offered.includes(2) ? 2 : 0);
  await send(Buffer.of(5, method));
  let [user, password] = ["", ""];
  if (method === 2) {
    const [, userLength = 0] = await read(2);
    user = (await read(userLength)).toString();
    const [passwordLength = 0] = await read(1);
    password = (await read(passwordLength)).toString();
    await send(Buffer.of(1, 0));
  }
  const [, , , type = 0, length = 0] = await read(5);
  const rest = await read(type === 3 ? length + 2 : 3 + 2);
  const host = type === 3 ? rest.subarray(0, -2).toString() : [length, ...rest.subarray(0, -2)].join(".");
  requests.push({ user, password, type, host, port: rest.readUInt16BE(rest.length - 2) });
  for (const packet of script.packets) await send(packet);
  if (script.end === true) socket.end();
}

/** Reads exact numbers of bytes. */
function reader(socket: net.Socket): (bytes: number) => Promise<Buffer> {
  let held: Buffer = Buffer.alloc(0);
  let wake: (() => void) | undefined;
  socket.on("data", (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    wake?.();
  });
  return async (bytes) => {
    while (held.length < bytes) await new Promise<void>((resolve) => (wake = resolve));
    const taken = held.subarray(0, bytes);
    held = held.subarray(bytes);
    return taken;
  };
}
