/** What relay and builder dial, seen from inside their processes: Tor's SocksPort, and nothing else, whatever Tor does. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { takePort } from "../../cli/dev/ports.ts";
import { type KeyName, makeKey } from "../../cli/key-set.ts";
import { localAddressText } from "../../shared/tor/local-socket.ts";
import { onionAddress } from "../../shared/tor/onion-keys.ts";
import { type DevEvent } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { ROOT } from "../helpers/peers.ts";
import { reply, scriptedProxy, type ScriptedProxy } from "../shared/tor/scripted-proxy.ts";

const EDGE = "hooks.example.org";
const ROUTER = onionAddress(Buffer.alloc(32, 7));

const folder = mkdtempSync(join(tmpdir(), "oh-only-tor-"));
const observed = join(folder, "observed");
const events: DevEvent[] = [];
const parts: ChildProcess[] = [];
let tor: ScriptedProxy;
let torAddress: string;
/** What HTTP_PROXY and the like lead to: it must never be asked. */
let decoy: net.Server;
let askedDecoy = 0;

beforeAll(async () => {
  // "No descriptor": the circuit works, the far end is away. So each try is on another circuit.
  tor = await scriptedProxy({ packets: [reply(0xf0)], end: true });
  torAddress = localAddressText(tor.address);
  decoy = net.createServer((socket) => {
    askedDecoy += 1;
    socket.destroy();
  });
  decoy.listen(0, "127.0.0.1");
  await once(decoy, "listening");
  const key = (name: KeyName) => makeKey(join(folder, "keys"), name);
  const router = (authid: string, name: KeyName) => ({
    url: `ws://${ROUTER}/`,
    realm: "onionhook",
    authid,
    key_file: key(name).file,
  });
  start("relay", {
    data_dir: "relay",
    tor: torAddress,
    edge: {
      url: `wss://${EDGE}/drain`,
      relay: "relay",
      key_file: key("relay-drain").file,
      streams: ["one", "two"],
    },
    router: router("relay", "relay-wamp"),
    replay: {
      box_key_file: key("relay-box").file,
      builders: { builder: key("builder-box").public["key"] },
    },
    canary_seconds: 1,
    control: { metrics_port: await takePort(0, "metrics") },
  });
  start("builder", {
    data_dir: "builder",
    tor: torAddress,
    router: router("builder", "builder-wamp"),
    box_key_file: key("builder-box").file,
    edge_box_public: key("edge-box").public["key"],
    relay_box_public: key("relay-box").public["key"],
    rules: [],
  });
});

afterAll(async () => {
  for (const part of parts) if (part.exitCode === null) part.kill("SIGKILL");
  await tor.close();
  await new Promise((resolve) => decoy.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

function start(name: string, config: object): void {
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const proxy = `http://127.0.0.1:${(decoy.address() as net.AddressInfo).port}`;
  const proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY"].flatMap((variable) => [
    [variable, proxy],
    [variable.toLowerCase(), proxy],
  ]);
  const child = spawn(
    process.execPath,
    [
      "--import",
      join(ROOT, "test/helpers/observe-dials.ts"),
      join(ROOT, "cli/main.ts"),
      name,
      "--config",
      file,
      "--json",
    ],
    {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        ...Object.fromEntries(proxies),
        NODE_USE_ENV_PROXY: "1",
        OBSERVED_DIALS: observed,
      },
    },
  );
  parts.push(child);
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (line.startsWith("{")) events.push({ ...(JSON.parse(line) as DevEvent), part: name });
  });
}

const requestsFor = (host: string, purpose: RegExp) =>
  tor.requests.filter((request) => request.host === host && purpose.test(request.password));
const seen = (): { connect?: string; lookup?: string }[] =>
  existsSync(observed)
    ? readFileSync(observed, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as object)
    : [];

it("hands Tor names, never resolved, each purpose with a credential of its own, and leaves what failed", async () => {
  await eventually(
    "every purpose is dialled again and again",
    () =>
      [
        requestsFor(EDGE, /^drain-\d+$/),
        requestsFor(ROUTER, /^publish-\d+$/),
        requestsFor(ROUTER, /^builder-\d+$/),
      ].every((requests) => requests.length >= 3),
    60_000,
  );
  // Nothing else was asked for: a type 3 address is a name.
  for (const { host, user, type, port, password } of tor.requests) {
    expect([user, type]).toEqual(["onionhook", 3]);
    expect([host, port]).toEqual(password.startsWith("drain-") ? [EDGE, 443] : [ROUTER, 80]);
    expect(password).toMatch(/^(drain|publish|builder)-\d+$/);
  }
  const publish = requestsFor(ROUTER, /^publish-/).map(({ password }) => password);
  expect(publish.slice(0, 3)).toEqual(["publish-1", "publish-2", "publish-3"]);
}, 90_000);

it("names edge or router in what it reports, and no address", () => {
  const errors = events.filter(({ event }) => event === "error");
  const told = (part: string, to: string) =>
    errors.find((error) => error["part"] === part && String(error["message"]).includes(to));
  expect(told("relay", "the edge")).toMatchObject({ code: "ERR_TOR_ONION_NOT_FOUND", to: "edge" });
  expect(told("relay", "the router")).toMatchObject({ to: "router" });
  expect(told("builder", "the router")).toMatchObject({ code: "ERR_TOR_ONION_NOT_FOUND" });
  expect(JSON.stringify(events)).not.toContain("a".repeat(56));
  expect(JSON.stringify(events)).not.toContain(EDGE);
});

it("dials nothing else while Tor answers, nor when it is away, and looks up no name", async () => {
  await tor.close();
  const isTold = (part: string) =>
    events.some(
      (event) => event["part"] === part && event["code"] === "ERR_TOR_UNREACHABLE" && event["hint"],
    );
  await eventually("both miss Tor", () => isTold("relay") && isTold("builder"), 60_000);
  const before = seen().length;
  await eventually("both have tried again", () => seen().length > before + 6, 60_000);
  expect(new Set(seen().map((each) => each.connect ?? each))).toEqual(new Set([torAddress]));
  expect(askedDecoy).toBe(0);
  const ended = parts.map((part) => once(part, "exit"));
  for (const part of parts) part.kill("SIGTERM");
  expect(await Promise.all(ended)).toEqual([
    [0, null],
    [0, null],
  ]);
}, 150_000);
