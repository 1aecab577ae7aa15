/** A control port that authenticates as tor does, and answers what a test wants. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const COOKIE = Buffer.alloc(32, 7);

export interface FakeTorOptions {
  /** What tor believes the cookie to be. */
  cookie?: Buffer;
  cookieFile?: string;
  /** The whole line of PROTOCOLINFO about authentication. */
  auth?: string;
  /** Answers a command after authentication; `250 OK` when it gives nothing. */
  answer?: (line: string, socket: net.Socket) => string | undefined;
}

export interface FakeTor {
  readonly address: { path: string };
  /** Commands in the order they came. */
  readonly lines: string[];
  /** Says this to every controller. */
  say(words: string): void;
  /** Hangs up on every controller. */
  drop(): void;
  close(): Promise<void>;
}

/** @param folder for its socket and its cookie */
export async function startFakeTor(
  folder: string,
  {
    cookie = COOKIE,
    cookieFile = join(folder, "cookie"),
    auth = `AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE="${cookieFile.replace(/["\\]/g, "\\$&")}"`,
    answer,
  }: FakeTorOptions = {},
): Promise<FakeTor> {
  const path = join(folder, "control");
  const lines: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    let clientHash = "";
    let rest = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      const pieces = (rest + chunk.toString("latin1")).split("\r\n");
      rest = pieces.pop() ?? "";
      for (const line of pieces) {
        lines.push(line);
        const [verb, ...words] = line.split(" ");
        if (verb === "PROTOCOLINFO") {
          socket.write(`250-PROTOCOLINFO 1\r\n250-${auth}\r\n`);
          socket.write('250-VERSION Tor="0.4.9.11"\r\n250 OK\r\n');
        } else if (verb === "AUTHCHALLENGE") {
          const serverNonce = Buffer.alloc(32, 9);
          const message = Buffer.concat([cookie, Buffer.from(words[1] ?? "", "hex"), serverNonce]);
          const hash = (name: string) =>
            createHmac("sha256", name).update(message).digest("hex").toUpperCase();
          clientHash = hash("Tor safe cookie authentication controller-to-server hash");
          const serverHash = hash("Tor safe cookie authentication server-to-controller hash");
          socket.write(
            `250 AUTHCHALLENGE SERVERHASH=${serverHash} SERVERNONCE=${serverNonce.toString("hex").toUpperCase()}\r\n`,
          );
        } else if (verb === "AUTHENTICATE") {
          socket.write(
            words[0]?.toUpperCase() === clientHash ? "250 OK\r\n" : "515 Authentication failed\r\n",
          );
        } else {
          socket.write(answer?.(line, socket) ?? "250 OK\r\n");
        }
      }
    });
  });
  server.listen(path);
  await once(server, "listening");
  await writeFile(join(folder, "cookie"), COOKIE, { mode: 0o600 });
  const drop = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: { path },
    lines,
    say(words) {
      for (const socket of sockets) socket.write(words);
    },
    drop,
    async close() {
      drop();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A folder that only its user may enter, as tor wants it. */
export async function fakeTorFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "control-"));
  return { path, remove: () => rm(path, { recursive: true }) };
}
