/** Watches a wired namespace for what must not be, and plants it, to see that it would be seen. */
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import {
  capture,
  FAR_AWAY,
  type Namespace,
  OTHER_END,
  RESOLVERS,
  type Sighting,
  WIRE,
} from "../helpers/namespaces.ts";

export interface LeakWatch {
  /** Fails when anything is seen while `work` goes on, or when a leak that is planted afterwards is not. */
  nothingSeen(work: () => Promise<void>): Promise<void>;
  end(): Promise<void>;
}

/** The kernel says of an interface's addresses on which groups' packets it listens: twice within seconds, and then no more. */
const SETTLE_MS = 4000;
/** The name and the port of the planted leak; nothing else asks for either. */
export const PLANTED = { host: "planted.example", port: 9 };
const LOOPBACK = "127.0.0.1";
const [NSCD] = RESOLVERS;

/** Does what must not be done: looks a name up, and connects to where it was not told to go through Tor. */
const LEAK = `
const { lookup } = require("node:dns");
const { connect } = require("node:net");
lookup("${PLANTED.host}.", { all: true }, () => {});
for (const host of ${JSON.stringify([...FAR_AWAY, LOOPBACK])}) {
  connect(${PLANTED.port}, host).on("error", () => {}).setTimeout(5000, function () { this.destroy(); });
}`;

/** @param inside wired to `there`. Resolves once the kernel itself is silent. */
export async function watchLeaks(inside: Namespace, there: Namespace): Promise<LeakWatch> {
  const near = await capture(inside, [WIRE, "lo"], RESOLVERS);
  const far = await capture(there, [WIRE]);
  const look = async (): Promise<Sighting[]> => {
    const [here, away] = await Promise.all([near.look(), far.look()]);
    return [...here, ...away.map((sighting) => ({ ...sighting, at: farEnd(sighting.at) }))];
  };
  do await sleep(SETTLE_MS);
  while ((await look()).length > 0);

  return {
    async nothingSeen(work) {
      await work();
      expect(await look()).toEqual([]);
      plant(inside);
      const seen = await look();
      expect(seen.filter((sighting) => !isPlanted(sighting))).toEqual([]);
      const places = (wanted: (sighting: Sighting) => boolean) =>
        new Set(seen.filter(wanted).map(({ at }) => at));
      const connected = (host: string) =>
        places(({ protocol, to }) => protocol === "TCP" && to === `${host} ${PLANTED.port}`);
      expect(places(({ asks }) => asks === PLANTED.host)).toEqual(new Set([WIRE, farEnd(WIRE)]));
      for (const host of FAR_AWAY) expect(connected(host), host).toEqual(new Set([WIRE, farEnd(WIRE)]));
      expect(connected(LOOPBACK)).toEqual(new Set(["lo"]));
    },
    end: async () => void (await Promise.all([near.end(), far.end()])),
  };
}

function farEnd(at: string): string {
  return `${at}, other end`;
}

function plant({ enter: [nsenter, ...enter] }: Namespace): void {
  const { status, stderr } = spawnSync(nsenter, [...enter, process.execPath, "-e", LEAK], {
    encoding: "utf8",
  });
  expect([status, stderr]).toEqual([0, ""]);
}

/** Of the planted leak, or an answer to it: refusals of the other end, which has no name server and serves nothing. */
function isPlanted({ at, protocol, from = "", to = "", asks }: Sighting): boolean {
  if (protocol.startsWith("IP protocol")) return OTHER_END.includes(from);
  // glibc knocks there before it asks a name server.
  if (at === NSCD) return true;
  return asks === PLANTED.host || [from, to].some((end) => end.endsWith(` ${PLANTED.port}`));
}
