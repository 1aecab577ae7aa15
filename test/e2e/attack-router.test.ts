/**
 * A router in the wrong hands, between a real edge, relay and builder: it has their WAMP sessions, every sealed byte that
 * ever passed, and no key. What README's "What is protected" says of it is tried here.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";
import { serializers, subprotocol } from "../../shared/wamp/serializers.ts";
import { keyFile } from "../../cli/key-set.ts";
import { type DevEvent } from "../helpers/dev.ts";
import { eventually } from "../helpers/until.ts";
import { type Part, said } from "../helpers/part.ts";
import { type Rig, startRig } from "../helpers/rig.ts";

type Message = readonly unknown[];

/** What the router knows of one part. */
interface Peer {
  readonly send: (message: Message) => void;
  /** Subscriptions and registrations, by URI. */
  readonly ids: Map<string, number>;
  readonly session: number;
}

interface LyingRouter {
  readonly url: string;
  /** By authid: the newest session. */
  readonly peers: Map<string, Peer>;
  /** All that relay and builder said, in order. */
  readonly heard: { from: string; message: Message }[];
  /** Whether it does what a router should with this; else what the test wants. */
  honest: (from: string, message: Message) => boolean;
  /** Sends a PUBLISH of the relay's on to the builder, as it came or with changes. */
  event: (sealed: unknown, topic?: unknown, details?: object) => void;
  /** Sends the relay what a builder could have published. */
  word: (kwargs: object) => void;
  stop: () => void;
}

const PREFIX = "webhook.github.";
const RECEIPT = "webhook.receipt";
const REPLAY = "webhook.replay";
const serializer = serializers.find(({ id }) => id === "msgpack");
if (!serializer) throw new Error("msgpack is missing");
const { parse, serialize } = serializer;

async function startLyingRouter(): Promise<LyingRouter> {
  const peers = new Map<string, Peer>();
  const heard: LyingRouter["heard"] = [];
  let nextId = 1;
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    handleProtocols: () => subprotocol(serializer as NonNullable<typeof serializer>),
  });
  const builder = () => peers.get("builder-one");
  const relay = () => peers.get("relay-one");

  const router: LyingRouter = {
    url: "",
    peers,
    heard,
    honest: () => true,
    event(sealed, topic = `${PREFIX}push`, details = {}) {
      const to = builder();
      const sealing = { enc_algo: "cryptobox", enc_serializer: "json" };
      to?.send([36, to.ids.get(PREFIX), nextId++, { topic, ...sealing, ...details }, sealed]);
    },
    word(kwargs) {
      const to = relay();
      to?.send([36, to.ids.get(RECEIPT), nextId++, {}, [], kwargs]);
    },
    stop() {
      for (const client of server.clients) client.terminate();
      server.close();
    },
  };

  function meta(procedure: unknown, args: unknown): unknown {
    const there = builder()?.ids.get(PREFIX) === undefined ? undefined : builder();
    if (procedure === "wamp.subscription.lookup")
      return (args as [unknown, { match: string }?])[1]?.match === "prefix" || there === undefined
        ? (there?.ids.get(PREFIX) ?? null)
        : null;
    if (procedure === "wamp.subscription.list_subscribers") return there ? [there.session] : [];
    return there ? [there.ids.get(PREFIX)] : [];
  }

  /** As a router does it. */
  function serve(peer: Peer, message: Message): void {
    const [type, request, , uri, args, kwargs] = message as [
      number,
      unknown,
      unknown,
      string,
      unknown,
      object,
    ];
    if (type === 32 || type === 64) {
      const id = nextId++;
      peer.ids.set(uri, id);
      peer.send([type + 1, request, id]);
      const changed = uri === PREFIX && relay()?.ids.get("wamp.subscription.on_create");
      if (changed) relay()?.send([36, changed, nextId++, {}, [peer.session, {}]]);
    } else if (type === 16) {
      peer.send([17, request, nextId++]);
      if (uri === RECEIPT) router.word(kwargs);
      else router.event(args, uri);
    } else if (type === 48 && uri !== REPLAY) peer.send([50, request, {}, [meta(uri, args)]]);
    else if (type === 48) {
      const registration = relay()?.ids.get(REPLAY);
      const sealing = { enc_algo: "cryptobox", enc_serializer: "json" };
      if (registration === undefined) peer.send([8, 48, request, {}, "wamp.error.no_such_procedure"]);
      else relay()?.send([68, request, registration, sealing, args]);
    } else if (type === 70) {
      const [, call, options, answer] = message;
      builder()?.send([50, call, options, answer]);
    }
  }

  server.on("connection", (socket: WebSocket) => {
    let authid = "";
    const send = (message: Message) => socket.send(serialize(message), { binary: true });
    const peer: Peer = { send, ids: new Map(), session: 1_000_000 + nextId++ };
    socket.on("error", () => {});
    socket.on("close", () => {
      if (peers.get(authid) !== peer) return;
      peers.delete(authid);
      const changed = relay()?.ids.get("wamp.subscription.on_delete");
      if (changed !== undefined) relay()?.send([36, changed, nextId++, {}, [peer.session, 1]]);
    });
    socket.on("message", (frame: Buffer) => {
      const message: Message = parse(frame);
      const [type] = message;
      if (type === 1) {
        authid = (message[2] as { authid: string }).authid;
        send([4, "cryptosign", { challenge: "ab".repeat(32) }]);
      } else if (type === 5) {
        peers.set(authid, peer);
        send([2, peer.session, { roles: { broker: {}, dealer: {} } }]);
      } else {
        heard.push({ from: authid, message });
        if (router.honest(authid, message)) serve(peer, message);
      }
    });
  });
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  if (typeof address !== "object" || !address) throw new Error("no port");
  return Object.assign(router, { url: `ws://127.0.0.1:${address.port}/` });
}

describe("a router that lies", () => {
  let router: LyingRouter;
  let rig: Rig;
  let relay: Part;
  let builder: Part;
  const marker = mkdtempSync(join(tmpdir(), "oh-attack-"));

  beforeAll(async () => {
    router = await startLyingRouter();
    rig = await startRig({
      relays: ["relay-one"],
      builders: ["builder-one"],
      run: [["sh", "-c", `echo $ONIONHOOK_DELIVERY >> ${marker}/built`]],
    });
    const at = (name: string, key: "relay-wamp" | "builder-wamp") => ({
      router: {
        url: router.url,
        realm: "onionhook",
        authid: name,
        key_file: keyFile(join(rig.folder, "keys", name), key),
      },
    });
    relay = rig.startRelay("relay-one", { ...at("relay-one", "relay-wamp"), canary_seconds: 0 });
    builder = rig.startBuilder("builder-one", at("builder-one", "builder-wamp"));
    await eventually("both are there", () => audience() === 1, 60_000);
  });

  afterAll(async () => {
    await rig.stop();
    router.stop();
    rmSync(marker, { recursive: true, force: true });
  });

  beforeEach(() => {
    router.honest = () => true;
  });

  const audience = () =>
    relay.events.findLast(({ event }) => event === "audience")?.["builders"] as number | undefined;
  const of = (part: Part, event: string, delivery: string): DevEvent[] =>
    part.events.filter((each) => each.event === event && each["delivery"] === delivery);
  const isEvent = ([type, , , topic]: Message) => type === 16 && String(topic).startsWith(PREFIX);
  const isReceipt = ([type, , , topic]: Message) => type === 16 && topic === RECEIPT;
  const builds = (delivery: string) =>
    readFileSync(join(marker, "built"), "utf8")
      .split("\n")
      .filter((line) => line === delivery).length;
  const accepted = (seq: unknown) =>
    relay.events.filter((each) => each.event === "accepted" && each["seq"] === seq).length;
  /** Pushes and waits for the end of its way; with the sealed bytes and the receipt that the router saw. */
  async function delivered() {
    const delivery = await rig.push({});
    await eventually("it is built", () => of(builder, "built", delivery).length === 1, 30_000);
    const seq = of(builder, "opened", delivery)[0]?.["seq"];
    await eventually("it is done", () => accepted(seq) > 0, 30_000);
    const sealed = router.heard.findLast(({ message }) => isEvent(message))?.message[4] as Uint8Array;
    const receipt = router.heard.findLast(({ message }) => isReceipt(message))?.message[5] as {
      seq: number;
      stream: string;
      receipt: string;
    };
    return { delivery, seq, sealed, receipt };
  }

  it("has nothing run twice by repeating what passed, also to a builder that started anew", async () => {
    const { delivery, seq, sealed } = await delivered();
    const receipts = () => router.heard.filter(({ message }) => isReceipt(message)).length;
    let before = receipts();
    for (let times = 0; times < 50; times += 1) router.event(sealed);
    await eventually("each is answered", () => receipts() >= before + 50, 30_000);
    await builder.end("SIGKILL");
    builder.start();
    await eventually("it is back", () => router.peers.get("builder-one")?.ids.has(PREFIX) === true, 30_000);
    before = receipts();
    router.event(sealed);
    await eventually("it is answered again", () => receipts() > before);
    expect(builds(delivery)).toBe(1);
    expect(of(builder, "opened", delivery)).toHaveLength(1);
    expect(accepted(seq)).toBe(1);
  }, 120_000);

  it("cannot move an event to another topic, whatever it calls that", async () => {
    const { sealed, delivery } = await delivered();
    const before = said(builder, "error");
    const topics = [
      `${PREFIX}issues`,
      PREFIX,
      `${PREFIX}onionhook_canary`,
      RECEIPT,
      "",
      [`${PREFIX}push`],
      {},
    ];
    for (const topic of topics) router.event(sealed, topic);
    await eventually("each is refused", () => said(builder, "error") >= before + topics.length, 30_000);
    expect(builder.events.slice(-40).filter(({ event }) => event === "canary")).toEqual([]);
    expect(of(builder, "opened", delivery)).toHaveLength(1);
  }, 60_000);

  it("cannot have altered, cut, empty or plain bytes taken, nor odd words about them; the next event is built", async () => {
    const { sealed } = await delivered();
    const flipped = (at: number) => sealed.with(at, (sealed[at] ?? 0) ^ 1);
    const before = { refused: said(builder, "error"), opened: said(builder, "opened") };
    const lies: (() => void)[] = [
      ...[0, 23, 24, 39, 40, sealed.length - 1].map((at) => () => router.event(flipped(at))),
      ...[0, 1, 24, 39, 40, sealed.length - 1].map((end) => () => router.event(sealed.subarray(0, end))),
      () => router.event(new Uint8Array(30_000_000)),
      () => router.event([sealed]),
      () => router.event(["plain", 1]),
      () => router.event(sealed, undefined, { enc_algo: null }),
      () => router.event(sealed, undefined, { enc_algo: "xbr" }),
      () => router.event(sealed, undefined, { enc_algo: { a: 1 }, enc_serializer: 7 }),
      () => router.event(sealed, undefined, { enc_serializer: "cbor" }),
    ];
    for (const lie of lies) lie();
    await eventually("each is refused", () => said(builder, "error") >= before.refused + lies.length, 60_000);
    expect(said(builder, "opened")).toBe(before.opened);
    await delivered();
  }, 120_000);

  it("cannot make an event done by a receipt of another, or of its own making", async () => {
    const first = await delivered();
    let held: unknown;
    router.honest = (_from, message) => {
      if (!isEvent(message)) return true;
      held = message[4];
      return false;
    };
    const lies = said(relay, "error");
    const delivery = await rig.push({});
    await eventually("the router has it", () => held !== undefined, 30_000);
    const seq = Number(first.seq) + 1;
    router.word({ ...first.receipt, seq });
    await eventually("the edge refuses it", () => said(relay, "error") > lies, 30_000);
    const refusal = relay.events.findLast(({ event }) => event === "error");
    expect(refusal).toMatchObject({ seq });
    expect(accepted(seq)).toBe(0);
    router.word({ ...first.receipt, seq, receipt: "AAAA".repeat(30) });
    router.word({ stream: first.receipt.stream, seq });
    router.word(JSON.parse('{"__proto__":{"stream":"x"},"seq":-1,"receipt":5}') as object);
    router.honest = () => true;
    // What the router kept back it can still let through; the builder's receipt then is a true one.
    router.event(held);
    await eventually("it is built", () => of(builder, "built", delivery).length === 1, 30_000);
    expect(builds(delivery)).toBe(1);
  }, 120_000);

  it("ends a session by what WAMP does not have, and neither the process nor what it knows", async () => {
    const pids = [relay.process.pid, builder.process.pid];
    const odd: Message[] = [
      [68, 1, "constructor", {}],
      [68, 1, 99, { receive_progress: true }, ["plain"]],
      [36, "hasOwnProperty", 1, {}],
      [8, 48, "constructor", {}, "x.y"],
      [8, "toString", 1, {}, "x.y"],
      ["__proto__"],
      [35, 0, { subscription: "constructor" }],
      [50, 1, { progress: true }, ["early"]],
      [3, {}, { toString: 1 }],
      [6, {}, "\u001b[2J\u202Ewamp.close.\n"],
      [4, "cryptosign", { challenge: "not hex" }],
      [],
    ];
    for (const authid of ["relay-one", "builder-one"]) {
      for (const message of odd) {
        await eventually("it is here", () => router.peers.has(authid), 30_000);
        router.peers.get(authid)?.send(message);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await eventually("both are back", () => router.peers.size === 2, 30_000);
    expect([relay.process.pid, builder.process.pid]).toEqual(pids);
    expect([relay.process.exitCode, builder.process.exitCode]).toEqual([null, null]);
    expect(JSON.stringify([relay.events, builder.events])).not.toMatch(/\u202E|\\u001b/);
    await delivered();
  }, 240_000);
});
