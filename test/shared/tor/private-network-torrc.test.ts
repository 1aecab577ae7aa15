import { describe, expect, it } from "vitest";
import { makeTors, type Plan, type Role } from "../../../shared/tor/private-network-plan.ts";
import { RESOLV_CONF, torrc } from "../../../shared/tor/private-network-torrc.ts";

const plan: Plan = {
  orPorts: { authority: 5001, relay1: 5002, relay2: 5003, relay3: 5004, relay4: 5005 },
  dirPort: 7000,
  socksPorts: { client: 9000, other: 9001 },
  v3Ident: "A".repeat(40),
  fingerprint: "B".repeat(40),
  votingOffset: 42,
};

const known = new Set(["VanguardsLiteEnabled", "ConfluxEnabled"]);

const tors = makeTors(["client", "other"]);
const onions = [
  {
    dir: "/data/hs dir",
    port: 80,
    target: { path: "/run/router sock" },
    options: ["HiddenServicePoWDefensesEnabled 1"],
  },
  { dir: "/data/second", port: 81, target: { host: "127.0.0.1", port: 8080 } },
];

function text(role: Role, networkOn = true, dir = "/data/tor"): string[] {
  const tor = tors.find((each) => each.role === role) ?? { name: role, role };
  return torrc({ dir, plan, tor, networkOn, ownerPid: 1234, known, onions }).split("\n");
}

describe("torrc", () => {
  it.each(tors)("keeps $name on loopback and to its own authority", (tor) => {
    const lines = torrc({
      dir: "/data/tor",
      plan,
      tor,
      networkOn: true,
      ownerPid: 1234,
      known,
      onions,
    }).split("\n");
    expect(lines).toContain("TestingTorNetwork 1");
    expect(lines).toContain("OutboundBindAddress 127.0.0.1");
    expect(lines).toContain("__OwningControllerProcess 1234");
    expect(lines.filter((line) => line.startsWith("DirAuthority "))).toEqual([
      `DirAuthority authority orport=5001 no-v2 v3ident=${"A".repeat(40)} 127.0.0.1:7000 ${"B".repeat(40)}`,
    ]);
    for (const line of lines) expect(line).not.toMatch(/\d+\.\d+\.\d+\.\d+(?<!127\.0\.0\.[01])(?!\/)/);
  });

  it("leaves out what an older tor would stop at", () => {
    const tor = { name: "client", role: "client" } as const;
    const old = torrc({
      dir: "/data/tor",
      plan,
      tor,
      networkOn: true,
      ownerPid: 1234,
      known: new Set(),
      onions,
    });
    expect(text("client").join("\n")).toMatch(/^VanguardsLiteEnabled 0$[^]*^ConfluxEnabled 0$/m);
    expect(old).not.toMatch(/VanguardsLite|Conflux/);
    expect(old).toContain("TestingTorNetwork 1");
  });

  it("lets relays leave to loopback only, and ask no DNS server", () => {
    const policies = text("relay").filter((line) => line.startsWith("ExitPolicy "));
    expect(policies).toEqual(["ExitPolicy accept 127.0.0.0/8:*", "ExitPolicy reject *:*"]);
    expect(text("relay")).toContain('ServerDNSResolvConfFile "/data/tor/resolv.conf"');
    expect(RESOLV_CONF).toBe("nameserver 127.0.0.1:1\n");
  });

  it("says in the file what SETCONF said to the running tor", () => {
    expect(text("authority")).toContain("TestingV3AuthVotingStartOffset 42");
    for (const role of ["client", "service"] as const) {
      expect(text(role, false)).toContain("DisableNetwork 1");
      expect(text(role, true)).not.toContain("DisableNetwork 1");
    }
    expect(text("relay", false)).not.toContain("DisableNetwork 1");
  });

  it("isolates by credential and explains errors on both SocksPorts", () => {
    expect(text("client").filter((line) => line.startsWith("SocksPort "))).toEqual([
      "SocksPort 127.0.0.1:9000 IsolateSOCKSAuth ExtendedErrors",
      'SocksPort "unix:\\"/data/tor/client/socks\\" IsolateSOCKSAuth ExtendedErrors"',
    ]);
    expect(text("service")).toContain("SocksPort 0");
  });

  it("gives each client SocksPorts of its own", () => {
    const other = { name: "other", role: "client" } as const;
    const lines = torrc({ dir: "/data/tor", plan, tor: other, networkOn: true, ownerPid: 1, known, onions });
    expect(lines).toContain("SocksPort 127.0.0.1:9001 IsolateSOCKSAuth");
    expect(lines).toContain('ClientOnionAuthDir "/data/tor/other/onion-auth"');
  });

  it("names the service's onion services, each followed by what is about it", () => {
    expect(text("service").filter((line) => line.startsWith("HiddenService"))).toEqual([
      'HiddenServiceDir "/data/hs dir"',
      'HiddenServicePort "80 unix:\\"/run/router sock\\""',
      "HiddenServicePoWDefensesEnabled 1",
      'HiddenServiceDir "/data/second"',
      'HiddenServicePort "81 127.0.0.1:8080"',
    ]);
    expect(text("client").join()).not.toContain("HiddenService");
  });

  it("quotes folders with spaces, # and quotes", () => {
    expect(text("service", true, '/a "b" #c')).toContain('DataDirectory "/a \\"b\\" #c/service"');
  });
});
