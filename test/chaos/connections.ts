/** Cuts connections of a running pipeline: inside its Tor, or without Tor in the kernel. */
import { execFileSync } from "node:child_process";
import { connectControl } from "../../shared/tor/control.ts";
import { torPaths } from "../../shared/tor/private-network-plan.ts";
import type { Connection } from "./schedule.ts";

/** Cuts what there is of a connection now, and returns how many streams, circuits or sockets that were. */
export type Cut = (connection: Connection, what: "stream" | "circuit") => Promise<number>;

/** The tor of the private network that dials each connection, and the isolation credential. */
const DIALLED: Readonly<Record<Connection, { tor: string; purpose: RegExp }>> = {
  drain: { tor: "relay-client", purpose: /^drain-/ },
  "relay-session": { tor: "relay-client", purpose: /^publish$/ },
  "builder-session": { tor: "builder-client", purpose: /^builder$/ },
};

/** @param dir the folder of the private network. */
export function cutThroughTor(dir: string): Cut {
  return async (connection, what) => {
    const { tor, purpose: wanted } = DIALLED[connection];
    const control = await connectControl({ path: torPaths(dir, tor).control });
    try {
      const lines = async (key: string) => (await control.getInfo(key)).split("\n").filter(Boolean);
      const circuits = new Set(
        (await lines("circuit-status")).flatMap((line) => {
          const [, purpose = ""] = / SOCKS_PASSWORD="([^"]*)"/.exec(line) ?? [];
          return wanted.test(purpose) ? [line.split(" ", 1)[0]] : [];
        }),
      );
      const streams = (await lines("stream-status")).flatMap((line) => {
        const [id, , circuit] = line.split(" ");
        return circuits.has(circuit) ? [id] : [];
      });
      const commands =
        what === "circuit"
          ? [...circuits].map((id) => `CLOSECIRCUIT ${id}`)
          : // 1: REASON_MISC.
            streams.map((id) => `CLOSESTREAM ${id} 1`);
      // One that has ended by itself meanwhile is no longer known, which is as good.
      await Promise.allSettled(commands.map((line) => control.command(line)));
      return commands.length;
    } finally {
      control.close();
    }
  };
}

export interface Ports {
  edge: number;
  router: number;
}

/** Needs root, and a kernel with INET_DIAG_DESTROY. */
export function cutSockets(ports: Ports, pidOf: (part: string) => number | undefined): Cut {
  const ends: Record<Connection, [part: string, port: number]> = {
    drain: ["relay", ports.edge],
    "relay-session": ["relay", ports.router],
    "builder-session": ["builder", ports.router],
  };
  return (connection) => {
    const [part, port] = ends[connection];
    const pid = pidOf(part);
    const sockets = ss("--tcp", "--processes", "dst", `127.0.0.1:${port}`)
      .filter((line) => pid !== undefined && line.includes(`pid=${pid},`))
      .flatMap((line) => /127\.0\.0\.1:\d+/.exec(line) ?? []);
    for (const socket of sockets) ss("--tcp", "--kill", "src", socket, "dst", `127.0.0.1:${port}`);
    return Promise.resolve(sockets.length);
  };
}

function ss(...args: string[]): string[] {
  const shown = execFileSync("ss", ["--no-header", "--numeric", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return shown.split("\n").filter(Boolean);
}
