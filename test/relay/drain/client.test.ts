/** Through a real SOCKS proxy to a real server: what the front door's answers make of the relay's next tries. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { CircuitPauses } from "../../../relay/drain/circuits.ts";
import { type DrainClient, startDrains } from "../../../relay/drain/client.ts";
import type { DrainHandlers, OpenDrain } from "../../../relay/drain/connection.ts";
import type { QueuedEvent } from "../../../relay/queue/queue.ts";
import { CLOSE, type ToEdge } from "../../../shared/drain.ts";
import type { SocksProxy } from "../../../shared/tor/socks.ts";
import { until } from "../../helpers/until.ts";
import { type ExitProxy, startExitProxy } from "./exit-proxy.ts";
import {
  type Answer,
  type FrontDoor,
  type FrontDoorParts,
  proves,
  sendTo,
  startFrontDoor,
} from "./front-door.ts";

const seed = new Uint8Array(32).fill(3);
/** A word of the pages, which no report may repeat. */
const BODY_WORD = "UNREPEATABLE";
const page = `<!DOCTYPE html><title>Just a moment... ${BODY_WORD}</title>`;
const challenged: Answer = {
  status: 403,
  headers: { "cf-mitigated": "challenge", "content-type": "text/html; charset=UTF-8" },
  body: page,
};
const atOnce: CircuitPauses = { another: { firstMs: 1, capMs: 1 }, slow: { firstMs: 1, capMs: 1 } };

interface Running {
  client: DrainClient;
  /** `error` reports. */
  errors: Record<string, unknown>[];
  events: QueuedEvent[];
  opened: string[];
}

describe("the relay's drains", () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  async function exitProxy(): Promise<ExitProxy> {
    const exit = await startExitProxy();
    closing.push(() => exit.close());
    return exit;
  }

  async function frontDoor(parts: FrontDoorParts): Promise<FrontDoor> {
    const door = await startFrontDoor(parts);
    closing.push(() => door.close());
    return door;
  }

  function drain(
    url: string,
    tor: SocksProxy,
    streams?: string[],
    handlers: Partial<DrainHandlers> = {},
  ): Running {
    const stop = new AbortController();
    const errors: Record<string, unknown>[] = [];
    const events: QueuedEvent[] = [];
    const opened: string[] = [];
    const client = startDrains(
      { tor, edge: { url, relay: "relay", seed, streams } },
      {
        onEvent: (event) => void events.push(event),
        onOpened: (stream) => void opened.push(stream),
        onSettled: () => {},
        ...handlers,
      },
      (event, fields = {}) => {
        if (event === "error") errors.push({ ...fields });
      },
      stop.signal,
      { circuitPauses: atOnce },
    );
    closing.push(() => {
      stop.abort();
      return client.ended;
    });
    return { client, errors, events, opened };
  }

  const urlOf = (door: FrontDoor) => `ws://127.0.0.1:${door.port}/drain`;
  const numbered = (count: number) => Array.from({ length: count }, (_, index) => `drain-${index + 1}`);

  it("go to another circuit with each challenge, and keep the one that is let through", async () => {
    const exit = await exitProxy();
    const flagged = new Set(numbered(3));
    const answer: FrontDoorParts["answer"] = ({ credential = "" }) =>
      flagged.has(credential) ? challenged : undefined;
    const door = await frontDoor({ exit, answer });
    const { errors, opened } = drain(urlOf(door), exit.address);
    await until(() => expect(opened).toEqual(["builder"]));
    for (const socket of door.sockets) socket.close(1000);
    await until(() => expect(opened).toHaveLength(2));
    expect(door.asked.map(({ credential }) => credential)).toEqual([...numbered(4), "drain-4"]);
    expect(door.asked[0]).toMatchObject({ url: "/drain", accept: "application/json" });
    expect(proves(door.messages[0] as ToEdge, seed, `127.0.0.1:${door.port}`, "builder")).toBe(true);
    expect(errors).toEqual([]);
  });

  it("say once that every circuit is challenged, with the remedy, go on, and recover by themselves", async () => {
    const exit = await exitProxy();
    let mended = false;
    const door = await frontDoor({ exit, answer: () => (mended ? undefined : challenged) });
    const { errors, opened } = drain(urlOf(door), exit.address);
    await until(() => expect(door.asked.length).toBeGreaterThan(12));
    mended = true;
    await until(() => expect(opened).toEqual(["builder"]));
    expect(door.asked.map(({ credential }) => credential)).toEqual(numbered(door.asked.length));
    expect(errors).toEqual([
      {
        code: "ERR_EDGE_CHALLENGED",
        message: expect.stringContaining("browser's proof"),
        hint: expect.stringContaining("deploy/cloudflare"),
        to: "edge",
      },
    ]);
    expect(JSON.stringify(errors)).not.toContain(BODY_WORD);

    mended = false;
    for (const socket of door.sockets) socket.close(1000);
    await until(() => expect(errors).toHaveLength(2));
    expect(errors[1]).toEqual(errors[0]);
  });

  it.each<[string, Answer]>([
    ["ERR_EDGE_BLOCKED", { status: 403, body: `<title>Access denied ${BODY_WORD}</title>Error 1020` }],
    ["ERR_EDGE_REFUSED", { status: 401, body: BODY_WORD }],
    [
      "ERR_EDGE_NOT_FOUND",
      { status: 404, body: JSON.stringify({ error: { code: "ERR_NOT_FOUND", message: BODY_WORD } }) },
    ],
    ["ERR_EDGE_DOWN", { status: 530, body: `error code: 1033 ${BODY_WORD}` }],
  ])("name %s and ask again on the same circuit, never directly", async (code, answer) => {
    const exit = await exitProxy();
    const door = await frontDoor({ exit, answer: () => answer });
    const { errors } = drain(urlOf(door), exit.address);
    await until(() => expect(door.asked.length).toBeGreaterThan(1));
    // Once, however often it is asked.
    expect(errors).toMatchObject([{ code, hint: expect.any(String) }]);
    expect(JSON.stringify(errors)).not.toContain(BODY_WORD);
    expect(new Set(door.asked.map(({ credential }) => credential))).toEqual(new Set(["drain-1"]));
    // The next one may just be on its way through the exit.
    await until(() => expect(door.connections()).toBe(exit.credentials.length));
  });

  it("leave an exit that too many use, and say so", async () => {
    const exit = await exitProxy();
    const limited: Answer = { status: 429, headers: { "retry-after": "30" }, body: "error code: 1015" };
    const door = await frontDoor({
      exit,
      answer: ({ credential }) => (credential === "drain-1" ? limited : undefined),
    });
    const { errors, opened } = drain(urlOf(door), exit.address);
    await until(() => expect(opened).toEqual(["builder"]));
    expect(errors).toMatchObject([{ code: "ERR_EDGE_RATE_LIMITED" }]);
    expect(exit.credentials).toEqual(["drain-1", "drain-2"]);
  });

  it("leave an exit that cannot prove the edge's name, ask it nothing, and say so each time", async () => {
    const exit = await exitProxy();
    const door = await frontDoor({ exit, tls: true });
    const { errors } = drain(`wss://localhost:${door.port}/drain`, exit.address);
    await until(() => expect(errors.length).toBeGreaterThan(9));
    expect(exit.credentials).toEqual(numbered(exit.credentials.length));
    expect(errors[0]).toMatchObject({
      code: "ERR_CERTIFICATE",
      message: "the edge did not prove its name (DEPTH_ZERO_SELF_SIGNED_CERT)",
      hint: expect.stringContaining("exit"),
    });
    expect(door.asked).toEqual([]);
  });

  it("dial nothing at all while Tor is away, and come when it does", async () => {
    const gone = await startExitProxy();
    let exit = gone;
    const door = await frontDoor({
      exit: { ...gone, credentialOf: (remotePort) => exit.credentialOf(remotePort) },
    });
    await gone.close();
    const { errors, opened } = drain(urlOf(door), gone.address);
    // For a few tries.
    await sleep(500);
    expect(errors).toMatchObject([{ code: "ERR_TOR_UNREACHABLE" }]);
    expect(door.connections()).toBe(0);
    exit = await startExitProxy("port" in gone.address ? gone.address.port : 0);
    closing.push(() => exit.close());
    await until(() => expect(opened).toEqual(["builder"]));
    expect(door.asked).toMatchObject([{ credential: "drain-1" }]);
  });

  it.each([
    [CLOSE.unauthorised, "ERR_DRAIN_UNAUTHORISED", "RELAYS"],
    [CLOSE.protocol, "ERR_DRAIN_PROTOCOL", "same version"],
    [CLOSE.superseded, "ERR_DRAIN_SUPERSEDED", "a name and a key of its own"],
    [CLOSE.silent, "ERR_DRAIN_SILENT", "by itself"],
    [CLOSE.crowded, "ERR_DRAIN_CROWDED", "by itself"],
  ])("say what the edge means by %i", async (closeCode, code, hint) => {
    const exit = await exitProxy();
    const door = await frontDoor({ exit, onMessage: (_message, socket) => socket.close(closeCode) });
    const { errors } = drain(urlOf(door), exit.address);
    await until(() => expect(errors[0]).toMatchObject({ code, hint: expect.stringContaining(hint) }));
  });

  it("resume where they were, but not in a new process, and not once the queue had to be filled anew", async () => {
    const exit = await exitProxy();
    const door = await frontDoor({ exit });
    const { client, opened } = drain(urlOf(door), exit.address);
    const resumes = () =>
      door.messages.flatMap((message) => (message.type === "hello" ? [message.resume] : []));
    await until(() => expect(opened).toHaveLength(1));
    for (const socket of door.sockets) socket.terminate();
    await until(() => expect(opened).toHaveLength(2));
    client.restart();
    await until(() => expect(opened).toHaveLength(3));
    for (const socket of door.sockets) socket.terminate();
    await until(() => expect(opened).toHaveLength(4));
    expect(resumes()).toEqual([false, true, false, true]);
  });

  it("tell whether the stream's builders give receipts, and what the edge lets them ask", async () => {
    const exit = await exitProxy();
    const door = await frontDoor({ exit, receipts: false, may: ["canary", "redeliver"] });
    const openedWith: unknown[] = [];
    const { client } = drain(urlOf(door), exit.address, undefined, {
      onOpened: (...args) => void openedWith.push(args),
    });
    expect(client.open()).toEqual([]);
    await until(() => expect(openedWith).toEqual([["builder", false]]));
    expect(client.open()).toMatchObject([{ stream: "builder", may: ["canary", "redeliver"] }]);
  });

  it("tell what the edge made of each receipt", async () => {
    const exit = await exitProxy();
    const door = await frontDoor({
      exit,
      onMessage(message, socket) {
        if (message.type !== "done") return;
        if (message.receipt === undefined) sendTo(socket, { type: "accepted", seq: message.seq });
        else sendTo(socket, { type: "refused", seq: message.seq, code: "ERR_RECEIPT" });
      },
    });
    const settled: unknown[] = [];
    const { client, opened } = drain(urlOf(door), exit.address, undefined, {
      onSettled: (...args) => void settled.push(args),
    });
    await until(() => expect(opened).toHaveLength(1));
    client.stored("builder", 1);
    client.done("builder", 1, undefined);
    client.done("builder", 2, "AAAA");
    await until(() => expect(settled).toHaveLength(2));
    expect(settled).toEqual([
      ["builder", 1, undefined],
      ["builder", 2, "ERR_RECEIPT"],
    ]);
    expect(door.messages.slice(2)).toEqual([
      { type: "stored", seq: 1 },
      { type: "done", seq: 1 },
      { type: "done", seq: 2, receipt: "AAAA" },
    ]);
  });

  describe("that ask the edge", () => {
    /** A drain that is open, at an edge that answers as told. */
    async function openDrain(onMessage?: FrontDoorParts["onMessage"]) {
      const exit = await exitProxy();
      const door = await frontDoor({ exit, ...(onMessage && { onMessage }) });
      const running = drain(urlOf(door), exit.address);
      await until(() => expect(running.client.open()).toHaveLength(1));
      const [opened] = running.client.open();
      if (!opened) throw new Error("no drain is open");
      return { ...running, door, opened };
    }
    const replay = (id: number): ToEdge => ({ type: "replay", id, of: { from: id, to: id } });
    type Question = Parameters<OpenDrain["ask"]>[0];
    const ask = (opened: OpenDrain) => opened.ask(replay as Question);

    it("get each answer to its own question, in whichever order they come", async () => {
      const asked: number[] = [];
      const { opened } = await openDrain((message, socket) => {
        if (message.type !== "replay") return;
        asked.push(message.id);
        if (asked.length < 3) return;
        for (const id of asked.toReversed()) sendTo(socket, { type: "replaying", id, events: id * 10 });
        sendTo(socket, { type: "replaying", id: 99, events: 0 });
      });
      const answers = await Promise.all([ask(opened), ask(opened), ask(opened)]);
      expect(answers).toEqual(asked.map((id) => ({ type: "replaying", id, events: id * 10 })));
    });

    it("are told that the drain ended, or had ended before", async () => {
      const { opened, door } = await openDrain((message, socket) => {
        if (message.type === "replay") socket.terminate();
      });
      const noDrain = expect.objectContaining({ code: "ERR_NO_DRAIN", retryable: true });
      await expect(ask(opened)).rejects.toEqual(noDrain);
      await expect(ask(opened)).rejects.toEqual(noDrain);
      expect(door.messages.filter(({ type }) => type === "replay")).toHaveLength(1);
    });

    it("are told that the edge is silent, and pass over an answer that comes too late", async () => {
      let answer = () => {};
      const { opened, client, errors } = await openDrain((message, socket) => {
        if (message.type !== "replay") return;
        answer = () => sendTo(socket, { type: "replaying", id: message.id, events: 1 });
      });
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
      try {
        const answered = ask(opened);
        const silent = expect(answered).rejects.toEqual(
          expect.objectContaining({ code: "ERR_EDGE_SILENT", retryable: true }),
        );
        await vi.advanceTimersByTimeAsync(30_000);
        await silent;
      } finally {
        vi.useRealTimers();
      }
      answer();
      client.done("builder", 1, undefined);
      expect(client.open()).toEqual([opened]);
      expect(errors).toEqual([]);
    });
  });

  describe("of several streams", () => {
    const streamIn = (url: string) => new URL(url, "http://edge").searchParams.get("stream") ?? "";

    it("are opened one each, and each gets what is its own", async () => {
      const exit = await exitProxy();
      const sealed = Buffer.from("sealed");
      const door = await frontDoor({
        exit,
        streamOf: ({ url }) => streamIn(url),
        onMessage(message, socket, { url }) {
          if (message.type !== "credit") return;
          const delivery = `delivery-${streamIn(url)}`;
          sendTo(socket, {
            type: "event",
            seq: 1,
            topic: "webhook.github.push",
            delivery,
            bytes: sealed.length,
          });
          sendTo(socket, { type: "pong" });
          socket.send(sealed);
        },
      });
      const { client, events, errors } = drain(urlOf(door), exit.address, ["docs", "site"]);
      await until(() => expect(events).toHaveLength(2));
      expect(door.asked.map(({ url }) => url).toSorted()).toEqual([
        "/drain?stream=docs",
        "/drain?stream=site",
      ]);
      expect(new Map(events.map(({ stream, delivery }) => [stream, delivery]))).toEqual(
        new Map([
          ["docs", "delivery-docs"],
          ["site", "delivery-site"],
        ]),
      );
      client.done("site", 1, "AAAA");
      client.done("unknown", 1, "BBBB");
      const done = () => door.messages.filter(({ type }) => type === "done");
      await until(() => expect(done()).toEqual([{ type: "done", seq: 1, receipt: "AAAA" }]));
      expect(errors).toEqual([]);
      expect(new Set(exit.credentials)).toEqual(new Set(["drain-1"]));
    });

    it("do not suffer from one another's faults", async () => {
      const exit = await exitProxy();
      const door = await frontDoor({
        exit,
        answer: ({ url }) => (streamIn(url) === "gone" ? { status: 404 } : undefined),
        streamOf: ({ url }) => streamIn(url),
      });
      const { client, errors, opened } = drain(urlOf(door), exit.address, ["gone", "docs"]);
      const askedOfGone = () => door.asked.filter(({ url }) => streamIn(url) === "gone").length;
      await until(() => expect(askedOfGone()).toBeGreaterThan(1));
      await until(() => expect(opened).toEqual(["docs"]));
      expect(errors[0]).toMatchObject({ code: "ERR_EDGE_NOT_FOUND", stream: "gone" });
      client.done("docs", 7, "AAAA");
      await until(() => expect(door.messages).toContainEqual({ type: "done", seq: 7, receipt: "AAAA" }));
    });

    it("give no proof to an edge that names another stream", async () => {
      const exit = await exitProxy();
      const door = await frontDoor({ exit, streamOf: () => "other" });
      const { errors } = drain(urlOf(door), exit.address, ["docs"]);
      await until(() => expect(errors[0]).toMatchObject({ code: "ERR_DRAIN_FRAME", stream: "docs" }));
      expect(door.messages).toEqual([]);
    });
  });
});
