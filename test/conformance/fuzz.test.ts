import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { makeRandom, type Random } from "../chaos/random.ts";
import { answer, challengeOf, serializerOf } from "../router/raw-client.ts";
import { startHealthyPair, type HealthyPair } from "./healthy-pair.ts";
import { mutate } from "./mutations.ts";
import { BINARY, encode, RawSocket, TEXT } from "./raw-socket.ts";
import { residentBytes } from "./router-process.ts";
import { KEYS, startOurs, type OurRouter } from "./routers.ts";
import { OWN } from "./specimens.ts";

/** A failure names its number; `FUZZ_SEED=… FUZZ_FRAMES=…` sends the same frames again. */
const SEED = Number(process.env["FUZZ_SEED"] ?? 20_261_121);
/** On each serializer, before and after joining, half of them to warm up. */
const FRAMES = Number(process.env["FUZZ_FRAMES"] ?? 10_000);
const CONNECTIONS = 6;
/** Milliseconds for all of them; on a machine that is busy with more than this, fewer are sent. */
const BUDGET = Number(process.env["FUZZ_SECONDS"] ?? 75) * 1000;
/** Of the frames, this many go even then. */
const LEAST = 0.1;
/** Milliseconds in which the router must answer what follows a frame, or close; the machine may be busy. */
const HANG = 15_000;
/** Milliseconds after which a frame that is broken as a frame may be waited for no longer: the router may want the rest of it. */
const UNFINISHED = 12;
/** Milliseconds in which an event and a call of healthy clients get through meanwhile. */
const HEALTHY = 5_000;
const CAMPAIGN = 300_000;
/**
 * V8 collects when it likes: measured, 250 MB are resident and 20 more after as many frames again; 64 more where a busy
 * machine has time for a fifth of them, which hardly warm up. Who kept 5 KB of each of them all would grow by more.
 */
const MAX_GROWTH_BYTES = 128 * 1024 * 1024;
const MIB = 1024 * 1024;

/** Codes of messages that may come to whom: CHALLENGE and ABORT; ERROR … YIELD's other side. */
const BEFORE_JOINING = new Set([3, 4]);
const AFTER_JOINING = new Set([3, 6, 8, 17, 33, 35, 36, 50, 65, 67, 68, 69]);
const [ERROR, EVENT, RESULT, INVOCATION] = [8, 36, 50, 68];

/** A request that nobody else makes, to see that all before it is done. */
const PROBE = 4_000_000_001;

type Phase = "before joining" | "after joining";

describe(`mutated frames of the seed ${SEED}, to our router`, () => {
  let router: OurRouter;
  let pair: HealthyPair;
  const faults: string[] = [];

  beforeAll(async () => {
    router = await startOurs();
    pair = await startHealthyPair(router);
  });
  afterAll(() => router.stop());

  it(
    `neither crash nor hang it, nor does anything come out: up to ${FRAMES} on each serializer, before joining and after`,
    { timeout: CAMPAIGN },
    async ({ annotate }) => {
      await campaign("warm-up");
      const warm = residentBytes(router.pid);
      await campaign("measured");
      // For the garbage of the last frames.
      await sleep(1000);
      const grown = residentBytes(router.pid) - warm;
      await annotate(
        `fuzz seed ${SEED}: ${sent} frames, ${joins} joins, ${pair.exchanges()} healthy exchanges, slowest ${Math.round(pair.slowest())} ms, ` +
          `resident ${Math.round(warm / MIB)} MiB, then ${grown > 0 ? "+" : ""}${Math.round(grown / MIB)} MiB`,
      );
      expect(faults).toEqual([]);
      expect(sent).toBeGreaterThan(FRAMES * 6 * LEAST);
      await pair.stop();
      expect(pair.slowest()).toBeLessThan(HEALTHY);
      expect(pair.exchanges()).toBeGreaterThan(100);
      expect(router.process.exitCode).toBeNull();
      expect(router.process.signalCode).toBeNull();
      expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
    },
  );

  let sent = 0;
  let joins = 0;

  async function campaign(name: string): Promise<void> {
    for (const id of ["json", "msgpack", "cbor"] as const)
      for (const phase of ["before joining", "after joining"] as const) {
        const share = Math.ceil(FRAMES / 2 / CONNECTIONS);
        // Two campaigns of three serializers and two phases.
        const until = performance.now() + BUDGET / 12;
        // oxlint-disable-next-line no-await-in-loop
        await Promise.all(
          Array.from({ length: CONNECTIONS }, (_, lane) =>
            attack(id, phase, `${name} ${id} ${phase} ${lane}`, share, until),
          ),
        );
      }
  }

  async function attack(
    id: SerializerId,
    phase: Phase,
    lane: string,
    frames: number,
    until: number,
  ): Promise<void> {
    const random = makeRandom(SEED, lane);
    let socket: RawSocket | undefined;
    for (let number = 0; number < frames && performance.now() < until; number++) {
      // oxlint-disable-next-line no-await-in-loop
      socket ??= await open(id, phase);
      sent++;
      // oxlint-disable-next-line no-await-in-loop
      const outcome = await exchange(socket, id, phase, random);
      if (outcome.fault !== undefined && faults.length < 20)
        faults.push(
          `frame ${number} of ${lane}: ${outcome.fault}: ${outcome.bytes.toString("hex").slice(0, 400)}`,
        );
      if (outcome.over) {
        socket.end();
        socket = undefined;
      }
    }
    socket?.end();
  }

  async function open(id: SerializerId, phase: Phase): Promise<RawSocket> {
    const socket = new RawSocket(router.port, id, (bytes) => {
      if (bytes.includes(pair.marker)) faults.push("a stranger was sent what healthy clients said");
    });
    if (phase === "before joining") return socket;
    const opcode = id === "json" ? TEXT : BINARY;
    const keys = KEYS.mallory;
    const say = (message: readonly unknown[]) => socket.send({ opcode, payload: encode(id, message) });
    const roles = {
      publisher: {},
      subscriber: {},
      caller: { features: { call_canceling: true } },
      callee: { features: { call_canceling: true, progressive_call_results: true } },
    };
    say([
      1,
      "onionhook",
      { roles, authmethods: ["cryptosign"], authid: "mallory", authextra: { pubkey: keys.publicHex } },
    ]);
    const challenge = await parsed(socket, id);
    say([5, answer(keys, challengeOf(challenge?.[2])), {}]);
    const welcome = await parsed(socket, id);
    if (welcome?.[0] !== 2) throw new Error(`not welcome: ${JSON.stringify(welcome)}`);
    joins++;
    return socket;
  }

  /** Sends one mutated frame, and after joining a probe behind it; reads until its answer, or the end. */
  async function exchange(
    socket: RawSocket,
    id: SerializerId,
    phase: Phase,
    random: Random,
  ): Promise<{ over: boolean; fault?: string; bytes: Buffer }> {
    const { bytes, kind } = mutate(random, id);
    socket.sendBytes(bytes);
    socket.send({ opcode: id === "json" ? TEXT : BINARY, payload: encode(id, [66, PROBE, 1]) });
    const gaveUp = { silent: false };
    const timer = setTimeout(
      () => {
        gaveUp.silent = kind !== "frame";
        socket.end();
      },
      kind === "frame" ? UNFINISHED : HANG,
    );
    try {
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop
        const message = await parsed(socket, id);
        if (message === undefined) return { over: true, bytes, ...(gaveUp.silent && { fault: "no answer" }) };
        const fault = judge(message, phase);
        if (fault !== undefined) return { over: true, fault, bytes };
        if (message[0] === ERROR && message[2] === PROBE) return { over: false, bytes };
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** What a message to a stranger may not be. */
  function judge(message: readonly unknown[], phase: Phase): string | undefined {
    const code = Number(message[0]);
    if (!(phase === "before joining" ? BEFORE_JOINING : AFTER_JOINING).has(code))
      return `the router sent a message of code ${code} ${phase}`;
    if (code !== EVENT && code !== RESULT && code !== INVOCATION) return undefined;
    if (pair.sessions.some((session) => holds(message, session)))
      return "a healthy client's session is named";
    const uri = typeof message[3] === "object" && message[3] !== null ? Object.entries(message[3]) : [];
    const named = uri.find(([key]) => key === "topic" || key === "procedure")?.[1] as unknown;
    if (typeof named === "string" && !named.startsWith(OWN)) return `something of ${named} came`;
    return undefined;
  }
});

async function parsed(socket: RawSocket, id: SerializerId): Promise<unknown[] | undefined> {
  const payload = await socket.next();
  return payload && serializerOf(id).parse(payload);
}

function holds(value: unknown, wanted: number): boolean {
  if (typeof value === "object" && value !== null)
    return Object.values(value).some((each) => holds(each, wanted));
  return value === wanted;
}
