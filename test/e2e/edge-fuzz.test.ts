import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Refusal } from "../../worker/refusal.ts";
import { type Drain, type Edge, type HttpAnswer, type HttpConnection, startEdge } from "../helpers/edge.ts";
import {
  type Acceptance,
  expectedAnswer,
  type MutatedRequest,
  mutatedRequest,
  wireOf,
} from "../helpers/mutate.ts";
import { describeWith, ROOT } from "../helpers/peers.ts";

/** A failure names its number; `FUZZ_SEED=… FUZZ_REQUESTS=…` make the same requests again. */
const SEED = Number(process.env["FUZZ_SEED"] ?? 20_261_121);
const REQUESTS = Number(process.env["FUZZ_REQUESTS"] ?? 100_000);
/**
 * Until then V8 and the allocator take what they keep: measured, what is resident rises to 290 MB in 75,000 requests and
 * is between 295 and 306 MB from there to 250,000.
 */
const WARM_UP = Math.min(50_000, REQUESTS);
const CONNECTIONS = 8;
/** Requests that are written to a connection before the first of them is answered. */
const PIPELINED = 4;
/** Of those that fail, this many are shown. */
const SHOWN = 20;
const CAMPAIGN_MS = 600_000;
const DRAIN_MS = 60_000;
/** For the garbage of the last requests. */
const PAUSE_MS = 5000;
/** V8 collects when it likes. Who kept 1.4 KB of each request would have grown by more. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;
const MIB = 1024 * 1024;

interface Taken {
  index: number;
  expected: Acceptance;
  duplicate: boolean;
  seq: number;
}

describe(`${REQUESTS} mutated requests of the seed ${SEED}, to the edge under workerd`, () => {
  let edge: Edge;
  let drain: Drain;
  const taken: Taken[] = [];
  /** Requests that were answered otherwise than the oracle says. */
  const wrong: string[] = [];
  const statuses = new Map<number, number>();
  let unsigned = 0;
  let memory = { warm: 0, end: 0 };

  beforeAll(async () => {
    edge = await startEdge();
    drain = await edge.drain();
    const started = performance.now();
    await send(0, WARM_UP);
    memory = { ...memory, warm: edge.memory("VmRSS") };
    await send(WARM_UP, REQUESTS);
    const seconds = (performance.now() - started) / 1000;
    await drain.done(stored().length, DRAIN_MS);
    await sleep(PAUSE_MS);
    memory = { ...memory, end: edge.memory("VmRSS") };
    process.stdout.write(
      `edge-fuzz: seed ${SEED}, ${REQUESTS} requests in ${seconds.toFixed(1)} s, ${taken.length} taken, ` +
        `${stored().length} stored; resident ${(memory.warm / MIB).toFixed(0)} MiB after ${WARM_UP}, ` +
        `${(memory.end / MIB).toFixed(0)} MiB at the end, ${(edge.memory("VmHWM") / MIB).toFixed(0)} MiB at most; ` +
        `${[...statuses]
          .toSorted(([a], [b]) => a - b)
          .map(([status, count]) => `${status}: ${count}`)
          .join(", ")}\n`,
    );
  }, CAMPAIGN_MS);

  afterAll(async () => {
    await drain?.close();
    await edge?.stop();
  });

  const stored = () => taken.filter(({ duplicate }) => !duplicate);

  async function send(from: number, end: number): Promise<void> {
    const batches = batchesOf(from, end);
    const client = async () => {
      let connection = await edge.connect();
      for (const indices of batches) {
        const batch = indices.map((index) => ({ index, request: mutatedRequest(SEED, index, edge.secret) }));
        connection = await exchange(connection, batch);
      }
      connection.close();
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, client));
  }

  /** Resolves with a connection for the next ones: the edge may end one instead of reading a body that it refused. */
  async function exchange(
    connection: HttpConnection,
    batch: { index: number; request: MutatedRequest }[],
  ): Promise<HttpConnection> {
    await connection.send(Buffer.concat(batch.map(({ request }) => wireOf(request))));
    for (const [at, { index, request }] of batch.entries()) {
      const answer = await connection.answer(request.method === "HEAD");
      check(index, request, answer);
      if (answer?.headers.get("connection") !== "close" && connection.isOpen) continue;
      connection.close();
      const another = await edge.connect();
      const rest = batch.slice(at + 1);
      return rest.length === 0 ? another : exchange(another, rest);
    }
    return connection;
  }

  function check(index: number, request: MutatedRequest, answer: HttpAnswer | undefined): void {
    const fault = faultOf(index, request, answer);
    if (answer) statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    if (fault === undefined) return;
    const { method, target, how } = request;
    wrong.push(`${index}: ${fault} [${method} ${target.slice(0, 60)}: ${how.join(", ")}]`);
  }

  function faultOf(
    index: number,
    request: MutatedRequest,
    answer: HttpAnswer | undefined,
  ): string | undefined {
    const expected = expectedAnswer(request, edge.secret);
    if (!answer) return "no answer";
    const { status, body } = answer;
    const right = createHmac("sha256", edge.secret).update(request.body, "latin1").digest("hex");
    if (status === 202 && !isSignedWith(request, right)) unsigned += 1;
    // Somebody who does not know it must not learn it.
    if (body.includes(right)) return "the answer tells the right signature";
    if (expected.status !== "refused") {
      if (status !== expected.status)
        return `${expected.status} was expected: ${status} ${body.slice(0, 200)}`;
      if (expected.status === 202) return take(index, expected, body);
      return undefined;
    }
    const refusal = new Refusal(expected.code);
    if (status !== refusal.status) return `${expected.code} was expected: ${status} ${body.slice(0, 200)}`;
    if (expected.shown === "nothing") return body === "" ? undefined : "a body in the answer to HEAD";
    if (expected.shown === "text")
      return body === `${refusal.message}\n` ? undefined : `not one line: ${body}`;
    return isRefusal(body, refusal) ? undefined : `${expected.code} was expected: ${body.slice(0, 200)}`;
  }

  function take(index: number, expected: Acceptance, body: string): string | undefined {
    const said = JSON.parse(body) as {
      delivery: string;
      event: string;
      duplicate: boolean;
      stored: { stream: string; seq: number; duplicate: boolean }[];
    };
    const [{ seq, duplicate } = { seq: 0, duplicate: false }] = said.stored;
    taken.push({ index, expected, duplicate, seq });
    const { delivery, event } = expected;
    const right = { delivery, event, duplicate, stored: [{ stream: "builder", seq, duplicate }] };
    return JSON.stringify(said) === JSON.stringify(right) ? undefined : `not as it should say: ${body}`;
  }

  it("are each answered as the oracle says, and none with 5xx", () => {
    expect(wrong.slice(0, SHOWN), `${wrong.length} of ${REQUESTS}`).toEqual([]);
    expect([...statuses.keys()].filter((status) => status >= 500)).toEqual([]);
    expect([...statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(REQUESTS);
  });

  it("are taken only with the right signature of exactly the bytes that were sent", () => {
    expect(unsigned).toBe(0);
    // Else nothing was tested.
    expect(taken.length).toBeGreaterThan(REQUESTS / 100);
    expect(taken.length).toBeLessThan(REQUESTS / 10);
  });

  it("leave the process there that was there before, with no error in its log", () => {
    expect(edge.isAlive()).toBe(true);
    const lines = edge.log().split("\n");
    const unexpected = lines.filter(
      (line) => line !== "" && !/^\{"event":"(?:received|refused|stored|done)"/.test(line),
    );
    expect(unexpected.slice(0, SHOWN)).toEqual([]);
  });

  it("do not let the process grow", () => {
    expect(memory.end - memory.warm).toBeLessThan(MAX_GROWTH_BYTES);
  });

  it("are stored once for each body of an event, and numbered without a gap", () => {
    const bodyOf = ({ event, payload }: Acceptance) => `${event}:${payload}`;
    const bodies = new Set(taken.map(({ expected }) => bodyOf(expected)));
    expect(stored()).toHaveLength(bodies.size);
    const seqs = stored()
      .map(({ seq }) => seq)
      .toSorted((a, b) => a - b);
    expect(seqs).toEqual(Array.from({ length: bodies.size }, (_, index) => index + 1));
    const payloads = new Map(stored().map(({ seq, expected }) => [seq, bodyOf(expected)]));
    for (const { index, duplicate, seq, expected } of taken)
      if (duplicate) expect(payloads.get(seq) === bodyOf(expected), `${index}`).toBe(true);
  });

  it("come out of the drain as they were sent, byte for byte", () => {
    expect(drain.events.map(({ seq }) => seq)).toEqual(drain.events.map((_, index) => index + 1));
    const sent = new Map(stored().map((each) => [each.seq, each]));
    expect(drain.events).toHaveLength(sent.size);
    for (const event of drain.events) {
      const { index, expected } = sent.get(event.seq) ?? {};
      const opened = edge.open(event);
      const { received_at, ...record } = opened.delivery;
      expect(Date.parse(received_at)).toBeGreaterThan(0);
      expect(record, `${index}`).toEqual({
        v: 1,
        id: expected?.delivery,
        event: expected?.event,
        hook_id: expected?.hookId,
        stream: "builder",
        seq: event.seq,
        redelivery: false,
        signature: expected?.signature,
        body_bytes: expected?.payload.length,
        altered: expected?.altered,
      });
      expect(event.topic).toBe(`webhook.github.${expected?.event}`);
      expect(Buffer.from(opened.rawBody).toString("latin1") === expected?.received, `${index}`).toBe(true);
    }
  });

  describeWith("autobahn", "taken, and then opened by Autobahn|Python's KeyRing", (python) => {
    it("hold what was sent", () => {
      const folder = mkdtempSync(join(tmpdir(), "oh-open-events-"));
      try {
        const sent = new Map(stored().map(({ seq, expected }) => [seq, expected.received]));
        const lines = drain.events.map(({ seq, topic, sealed }) => ({
          topic,
          sealed: Buffer.from(sealed).toString("base64"),
          body: Buffer.from(sent.get(seq) ?? "", "latin1").toString("base64"),
        }));
        const file = join(folder, "events.jsonl");
        writeFileSync(file, [edge.keyring, ...lines].map((line) => JSON.stringify(line)).join("\n"), {
          mode: 0o600,
        });
        const printed = execFileSync(python, [join(ROOT, "test/peers/open-events.py"), file], {
          encoding: "utf8",
          // It warns of NumPy there.
          stdio: ["ignore", "pipe", "ignore"],
        });
        const count = drain.events.length;
        expect(JSON.parse(printed)).toEqual({ opened: count, equal: count, failures: [] });
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }, 120_000);
  });
});

/** One iterator, from which every client takes its next batch. */
function* batchesOf(from: number, end: number): Generator<number[]> {
  for (let first = from; first < end; first += PIPELINED)
    yield Array.from({ length: Math.min(PIPELINED, end - first) }, (_, at) => first + at);
}

/** White space around a header's value is no part of it. */
function isSignedWith({ headers }: MutatedRequest, right: string): boolean {
  const [first, ...others] = headers.filter(([name]) => name === "X-Hub-Signature-256");
  return others.length === 0 && first?.[1].trim().toLowerCase() === `sha256=${right}`;
}

function isRefusal(body: string, { code, hint }: Refusal): boolean {
  const said = JSON.parse(body) as { error: Record<string, unknown> };
  const message = said.error["message"];
  return (
    typeof message === "string" &&
    message !== "" &&
    JSON.stringify(said) === JSON.stringify({ error: { code, message, hint } })
  );
}
