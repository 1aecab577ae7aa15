/**
 * Linux namespaces for tests: a network and a file system's mounts that only the processes of a test have. Each is held by
 * a process that ends with this one, and what is in it goes with it, so nothing is left even after a crash.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, realpathSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, it } from "vitest";
import { endProcess } from "./server-process.ts";

const CAPTURE = fileURLToPath(new URL("../peers/capture.py", import.meta.url));
const PRELOAD = new URL("namespace-preload.ts", import.meta.url).href;

export interface Namespace {
  /** Of the process that holds it. */
  readonly pid: number;
  /** What a command begins with to run inside. */
  readonly enter: readonly [program: string, ...args: string[]];
  /** Environment with which `onionhook dev` has its relay and builder inside, and all else outside. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs a program inside; throws when it fails. */
  run(program: string, ...args: string[]): void;
  end(): Promise<void>;
}

/** Programs that namespaces are made and looked into with, and how to get them. */
const PROGRAMS = {
  ip: "apt-get install iproute2",
  unshare: "apt-get install util-linux",
  nsenter: "apt-get install util-linux",
  mount: "apt-get install mount",
  python3: "apt-get install python3",
};

/**
 * `describe` for tests in namespaces: Linux and root only, and skipped by name elsewhere. What is not installed fails
 * with REQUIRE_PEERS=1, as a missing peer does.
 */
export function describeInNamespaces(title: string, tests: () => void): void {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    describe.skip(`${title}: skipped, namespaces need Linux and root`, tests);
    return;
  }
  const missing = Object.entries(PROGRAMS).find(
    ([program]) => spawnSync(program, ["--help"], { stdio: "ignore" }).error !== undefined,
  );
  if (missing !== undefined) {
    const [program, get] = missing;
    if (process.env["REQUIRE_PEERS"] !== "1") {
      describe.skip(`${title}: skipped, ${program} is not installed (${get})`, tests);
    } else {
      it(`${title}: needs ${program}`, () => {
        throw new Error(`${program} is missing: ${get}`);
      });
    }
    return;
  }
  // A container may forbid it, to root too.
  if (spawnSync("unshare", ["--net", "--mount", "true"], { stdio: "ignore" }).status !== 0) {
    describe.skip(`${title}: skipped, this machine lets nobody make namespaces`, tests);
    return;
  }
  describe(title, tests);
}

/** A network with nothing but a loopback interface that is down, and mounts that others do not see. */
export async function makeNamespace(): Promise<Namespace> {
  const holder = spawn("unshare", ["--net", "--mount", "--propagation", "private", "cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // When `cat` answers, `unshare` has done its work and become it.
  holder.stdin.write("\n");
  await once(holder.stdout, "data");
  const { pid = 0 } = holder;
  const enter = ["nsenter", `--net=/proc/${pid}/ns/net`, `--mount=/proc/${pid}/ns/mnt`, "--"] as const;
  return {
    pid,
    enter,
    env: { ONIONHOOK_TEST_ENTER: enter.join(" "), NODE_OPTIONS: `--import=${PRELOAD}` },
    run(program, ...args) {
      const [nsenter, ...rest] = enter;
      execFileSync(nsenter, [...rest, program, ...args], { stdio: ["ignore", "ignore", "inherit"] });
    },
    end: () => endProcess(holder, "SIGKILL"),
  };
}

/** The only interface, beside loopback, of two namespaces that are wired; its addresses are documentation's (RFC 5737, 3849). */
export const WIRE = "wire";
const HERE = { mac: "02:00:00:00:00:02", addresses: ["192.0.2.2/24", "2001:db8::2/64"] };
const THERE = { mac: "02:00:00:00:00:01", addresses: ["192.0.2.1/24", "2001:db8::1/64"] };
/** Addresses of the other end: the gateways and name servers. */
export const OTHER_END = THERE.addresses.map(bare);
/** Behind the other end: where a default route leads. */
export const FAR_AWAY = ["198.51.100.7", "2001:db8:7::7"] as const;

/**
 * A cable from `here` to `there`, and every door that a host has: routes to everywhere, and a name server, on IPv4 and
 * IPv6. The kernel says nothing on it by itself, once the interfaces have been up for some seconds: each end knows the
 * other's hardware address, and nothing is configured automatically.
 */
export function wire(here: Namespace, there: Namespace, resolvConf: string): void {
  const peer = ["peer", "name", WIRE, "address", THERE.mac, "netns", `${there.pid}`];
  here.run("ip", "link", "add", WIRE, "address", HERE.mac, "type", "veth", ...peer);
  for (const [end, own, other] of [
    [here, HERE, THERE],
    [there, THERE, HERE],
  ] as const) {
    end.run("ip", "link", "set", "lo", "up");
    end.run("ip", "link", "set", WIRE, "addrgenmode", "none");
    for (const address of own.addresses)
      end.run("ip", "address", "add", address, "dev", WIRE, ...quietly(address));
    end.run("ip", "link", "set", WIRE, "up");
    for (const address of other.addresses) {
      end.run("ip", "neighbour", "add", bare(address), "lladdr", other.mac, "dev", WIRE, "nud", "permanent");
    }
  }
  for (const address of THERE.addresses) here.run("ip", "route", "add", "default", "via", bare(address));
  for (const address of FAR_AWAY) there.run("ip", "address", "add", address, "dev", "lo");
  const servers = THERE.addresses.map((address) => `nameserver ${bare(address)}\n`);
  writeFileSync(resolvConf, `${servers.join("")}options timeout:1 attempts:1\n`);
  // The host's own ways to resolve a name, which need no network, stand in /run: here it is empty.
  const system = existsSync("/etc/resolv.conf") ? realpathSync("/etc/resolv.conf") : "/etc/resolv.conf";
  here.run("mount", "-t", "tmpfs", "tmpfs", "/run");
  here.run("mkdir", "-p", dirname(system));
  here.run("touch", system);
  here.run("mount", "--bind", resolvConf, system);
}

/** Without a probe whether somebody else has the address. */
function quietly(address: string): string[] {
  return address.includes(":") ? ["nodad"] : [];
}

function bare(address: string): string {
  return address.split("/")[0] ?? "";
}

/** A packet, or a knock at a door: see test/peers/capture.py. */
export interface Sighting {
  /** An interface, or the path of a door. */
  at: string;
  protocol: string;
  from?: string;
  to?: string;
  /** The name that a DNS query asks for. */
  asks?: string;
}

export interface Capture {
  /** Resolves with what came since the last look. Rejects when the kernel could not keep a packet for us. */
  look(): Promise<Sighting[]>;
  end(): Promise<void>;
}

/** The host's own resolvers, to which no packet goes: nscd, systemd-resolved, D-Bus, and Avahi for names in `.local`. */
export const RESOLVERS = [
  "/run/nscd/socket",
  "/run/systemd/resolve/io.systemd.Resolve",
  "/run/dbus/system_bus_socket",
  "/run/avahi-daemon/socket",
] as const;

/** Sees what comes by on the interfaces of a namespace, from now on, and who knocks at `doors`, unix sockets that it makes. */
export async function capture(
  namespace: Namespace,
  interfaces: readonly string[],
  doors: readonly string[] = [],
): Promise<Capture> {
  const words = [...doors.flatMap((path) => ["--door", path]), ...interfaces];
  const [nsenter, ...enter] = namespace.enter;
  const child = spawn(nsenter, [...enter, "python3", CAPTURE, ...words], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // Its end is told by its standard output.
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  async function read(): Promise<Sighting[]> {
    const seen: Sighting[] = [];
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error("the capture ended by itself");
      const said = JSON.parse(value) as Sighting | { dropped: number };
      if ("at" in said) seen.push(said);
      else if (said.dropped === 0) return seen;
      else throw new Error(`${said.dropped} packets were not captured`);
    }
  }
  await read();
  return {
    look() {
      child.stdin.write("\n");
      return read();
    },
    end: () => endProcess(child, "SIGKILL"),
  };
}
