/**
 * The torrc of each tor of the private network. Pure. What a running tor was told by SETCONF stands
 * here too, so that a tor which is started again with the same file is the same.
 *
 * Options that older tors lack (Ubuntu 22.04 has 0.4.6) are left out for them. Source: tor(1).
 */
import { join } from "node:path";
import { localAddressText, type LocalAddress } from "./local-socket.ts";
import { LOOPBACK, torPaths, type Plan, type PlannedTor } from "./private-network-plan.ts";

/** An onion service of the service's own torrc. */
export interface HiddenService {
  /** HiddenServiceDir; `writeHiddenServiceDir` fills one. */
  readonly dir: string;
  /** The port under the onion address. */
  readonly port: number;
  readonly target: LocalAddress;
  /** Further lines about it, e.g. `HiddenServicePoWDefensesEnabled 1`. */
  readonly options?: readonly string[];
}

export interface TorrcInput {
  readonly dir: string;
  readonly plan: Plan;
  readonly tor: PlannedTor;
  /** Client and service stay off until there is a consensus: failures before it make them wait. */
  readonly networkOn: boolean;
  /** The process that the tor must not outlive. */
  readonly ownerPid: number;
  /** The options that this tor program knows: `tor --list-torrc-options`. */
  readonly known: ReadonlySet<string>;
  /** What the service publishes by itself. */
  readonly onions: readonly HiddenService[];
}

/** Both only switch off what those tors do not do: 0.4.7 brought the one, 0.4.8 the other. */
const NEWER_OPTIONS = ["VanguardsLiteEnabled", "ConfluxEnabled"];

/** Seconds between votes. Must divide a day. */
export const VOTING_INTERVAL_S = 300;
/**
 * Seconds from the start of a vote to its exchange, and from that to the consensus: the least that tor
 * accepts, so the first consensus comes 4 s after the vote.
 */
export const VOTE_DELAY_S = 2;

/** A line for every option, in tor's own order of importance. */
export function torrc(input: TorrcInput): string {
  const { role } = input.tor;
  const relays = role === "authority" || role === "relay";
  const lines = [...common(input), ...(relays ? relay(input) : endpoint(input))];
  if (role === "authority") lines.push(...authority(input.plan));
  if (role === "client") lines.push(...client(input));
  if (role === "service") lines.push(...input.onions.flatMap(hiddenService));
  const unknown = NEWER_OPTIONS.filter((option) => !input.known.has(option));
  const kept = lines.filter((line) => !unknown.some((option) => line.startsWith(`${option} `)));
  return kept.join("\n") + "\n";
}

function common({ dir, plan, tor, ownerPid }: TorrcInput): string[] {
  const paths = torPaths(dir, tor.name);
  const orPort = plan.orPorts["authority"] ?? 0;
  return [
    "TestingTorNetwork 1",
    // The only authority that this tor knows: it cannot find the public network.
    `DirAuthority authority orport=${orPort} no-v2 v3ident=${plan.v3Ident} ${LOOPBACK}:${plan.dirPort} ${plan.fingerprint}`,
    // Sockets bound to loopback cannot send anywhere else, whatever a peer asks for.
    `OutboundBindAddress ${LOOPBACK}`,
    `__OwningControllerProcess ${ownerPid}`,
    `DataDirectory ${quote(paths.dir)}`,
    `PidFile ${quote(paths.pid)}`,
    `Log ${quote(`notice file ${paths.log}`)}`,
    `ControlSocket ${unixSocket(paths.control)}`,
    "CookieAuthentication 1",
    `CookieAuthFile ${quote(paths.cookie)}`,
    "RunAsDaemon 0",
    "ShutdownWaitLength 0",
    "AvoidDiskWrites 1",
    "NumCPUs 1",
    "GeoIPFile /dev/null",
    "GeoIPv6File /dev/null",
    "EnforceDistinctSubnets 0",
    "AssumeReachable 1",
    "PathsNeededToBuildCircuits 0.67",
    // Guards are for an adversary in the network. Here they only keep a dead relay in every path.
    "UseEntryGuards 0",
    "VanguardsLiteEnabled 0",
    // Milliseconds between rounds of the scheduler, 10 by default: loopback is faster.
    "KISTSchedRunInterval 2 msec",
  ];
}

function relay({ dir, plan, tor }: TorrcInput): string[] {
  return [
    `Nickname ${tor.name}`,
    `Address ${LOOPBACK}`,
    `ORPort ${LOOPBACK}:${plan.orPorts[tor.name] ?? 0}`,
    "AddressDisableIPv6 1",
    "SocksPort 0",
    "ContactInfo none@invalid",
    // Exits, but to loopback only: the drain's WebSocket leaves the network here.
    "ExitRelay 1",
    "ExitPolicyRejectPrivate 0",
    "ExitPolicy accept 127.0.0.0/8:*",
    "ExitPolicy reject *:*",
    // Without this file a relay asks the machine's own DNS servers.
    `ServerDNSResolvConfFile ${quote(join(dir, "resolv.conf"))}`,
    "ServerDNSAllowBrokenConfig 1",
    "ServerDNSDetectHijacking 0",
  ];
}

/** Names nobody: port 1 of loopback, where nothing answers. */
export const RESOLV_CONF = "nameserver 127.0.0.1:1\n";

function authority(plan: Plan): string[] {
  return [
    `DirPort ${LOOPBACK}:${plan.dirPort}`,
    "AuthoritativeDirectory 1",
    "V3AuthoritativeDirectory 1",
    `TestingV3AuthInitialVotingInterval ${VOTING_INTERVAL_S}`,
    `TestingV3AuthInitialVoteDelay ${VOTE_DELAY_S}`,
    `TestingV3AuthInitialDistDelay ${VOTE_DELAY_S}`,
    `V3AuthVotingInterval ${VOTING_INTERVAL_S}`,
    `V3AuthVoteDelay ${VOTE_DELAY_S}`,
    `V3AuthDistDelay ${VOTE_DELAY_S}`,
    // Intervals that a consensus is valid: an hour, within which the next start is warm.
    "V3AuthNIntervalsValid 12",
    `TestingV3AuthVotingStartOffset ${plan.votingOffset}`,
    "TestingDirAuthVoteExit *",
    "TestingDirAuthVoteGuard *",
    "TestingDirAuthVoteHSDir *",
    "TestingMinExitFlagThreshold 0",
    "TestingMinFastFlagThreshold 0",
    "MinUptimeHidServDirectoryV2 0",
  ];
}

/** What client and service have in common: they relay nothing. */
function endpoint({ networkOn, tor }: TorrcInput): string[] {
  return [
    "ClientOnly 1",
    "FetchDirInfoEarly 1",
    "FetchDirInfoExtraEarly 1",
    "DormantTimeoutEnabled 0",
    // A stream over a pair of circuits dies with either; with so few relays that is often.
    "ConfluxEnabled 0",
    ...(tor.role === "service" ? ["SocksPort 0"] : []),
    ...(networkOn ? [] : ["DisableNetwork 1"]),
  ];
}

function client({ dir, plan, tor }: TorrcInput): string[] {
  const paths = torPaths(dir, tor.name);
  const flags = "IsolateSOCKSAuth ExtendedErrors";
  return [
    `SocksPort ${LOOPBACK}:${plan.socksPorts[tor.name] ?? 0} ${flags}`,
    `SocksPort ${unixSocket(paths.socks, ` ${flags}`)}`,
    // Seconds; 120 by default. Here a stream needs less than one, or it never comes: one that a relay
    // refused because it was just starting is not tried elsewhere (tor 0.4.9), but the next one is.
    "SocksTimeout 10",
    `ClientOnionAuthDir ${quote(paths.clientAuth)}`,
    "ClientRejectInternalAddresses 0",
    // A microdescriptor's summary of an exit policy leaves out "loopback only"; the full one has it.
    "UseMicrodescriptors 0",
  ];
}

function hiddenService({ dir, port, target, options = [] }: HiddenService): string[] {
  const where = "path" in target ? `unix:${quote(target.path)}` : localAddressText(target);
  return [`HiddenServiceDir ${quote(dir)}`, `HiddenServicePort ${quote(`${port} ${where}`)}`, ...options];
}

/** The value of an option that opens a unix socket: quoted once as a path and once as a value. */
function unixSocket(path: string, flags = ""): string {
  return quote(`unix:${quote(path)}${flags}`);
}

/** A torrc value that may hold spaces, `#` or quotes. */
function quote(value: string): string {
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
