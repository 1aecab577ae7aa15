/** The bare parts that the pipeline is measured beside, in the same run and on the same servers. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createPostgresBackend, createRedisBackend, withBackend } from "bullmq";
import nacl from "tweetnacl";
import { parseConfig as parseBuilder } from "../builder/config.ts";
import { parseConfig as parseRelay } from "../relay/config.ts";
import { openQueue } from "../relay/queue/open.ts";
import { CRYPTOBOX } from "../shared/cryptobox.ts";
import { readConfigFile } from "../shared/host/config-file.ts";
import { Passthru } from "../shared/wamp/passthru.ts";
import { joinWamp } from "../shared/wamp/session.ts";
import { dataFolder } from "../test/helpers/dev.ts";
import { BODY_BYTES, freshBody, makePoster } from "./deliveries.ts";
import type { Flights } from "./lines.ts";
import { BARE_TOPIC, type Stage } from "./stage.ts";
import { clocked, fly } from "./statistics.ts";

/** How many runs, with how many in flight. */
export type Plan = ReadonlyMap<number, number>;

/** After 300, what was compiled so far still takes twice as long. */
const WARM_UP = 2000;
const WARM_UP_IN_FLIGHT = 16;
/** As `cli/relay.ts` opens it. */
const CONCURRENCY = 32;

/** What is no figure yet: until everything is compiled, and caches are full. */
export async function warmUp(work: (index: number) => Promise<number>): Promise<void> {
  await fly(WARM_UP, WARM_UP_IN_FLIGHT, work);
}

async function flyPlan(plan: Plan, work: (index: number) => Promise<number>): Promise<Flights> {
  await warmUp(work);
  const flights = new Map();
  for (const [inFlight, count] of plan) flights.set(inFlight, await fly(count, inFlight, work));
  return flights;
}

/** POST → 202 of a server that does nothing but verify. */
export async function measureVerifyServer(plan: Plan): Promise<Flights> {
  const secret = "a secret that is no secret";
  const program = fileURLToPath(new URL("verify-server.ts", import.meta.url));
  const child = spawn(process.execPath, [program, secret], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const port = await new Promise<string>((resolve) =>
      createInterface({ input: child.stdout }).once("line", resolve),
    );
    const poster = makePoster(`http://127.0.0.1:${port}/`, secret);
    const flights = await flyPlan(
      plan,
      clocked(() => poster.post(freshBody(), randomUUID())),
    );
    poster.close();
    return flights;
  } finally {
    child.kill();
  }
}

export interface BareWamp {
  /** Resolves, when the publish is acknowledged too, with the milliseconds until the subscriber had its event. */
  publish(): Promise<number>;
  close(): Promise<void>;
}

/** Bare WAMP over the very router that the pipeline uses, through the Tors, and on circuits as relay and builder have them. */
export async function openWamp({ data }: Stage): Promise<BareWamp> {
  const { signal } = new AbortController();
  const relay = parseRelay(readConfigFile(join(data, "relay.json")).json, data);
  const builder = parseBuilder(readConfigFile(join(data, "builder.json")).json, data);
  const publisher = await joinWamp({ ...relay.router, tor: relay.tor, isolation: "bench-publish", signal });
  const subscriber = await joinWamp({
    ...builder.router,
    tor: builder.tor,
    isolation: "bench-subscribe",
    signal,
  });
  const arrivals = makeArrivals();
  await subscriber.subscribe(BARE_TOPIC, "exact", ({ passthru }) => {
    if (passthru) arrivals.came(numberOf(passthru.bytes));
  });
  const noise = nacl.randomBytes(BODY_BYTES);
  return {
    async publish() {
      const { number, arrived } = arrivals.expect();
      const payload = new Passthru(numbered(noise, number), CRYPTOBOX, "json");
      const sentAt = performance.now();
      const event = arrived.then(() => performance.now() - sentAt);
      await publisher.publish(BARE_TOPIC, payload);
      return event;
    },
    close: async () => void (await Promise.all([publisher.close(), subscriber.close()])),
  };
}

/** A publish to an event at a subscriber. */
export async function measureWamp(stage: Stage, plan: Plan): Promise<Flights> {
  const wamp = await openWamp(stage);
  const flights = await flyPlan(plan, clocked(wamp.publish));
  await wamp.close();
  return flights;
}

/** Our queue alone, through its port: add → the handler has it. */
export async function measureQueue(url: string, plan: Plan): Promise<Flights> {
  const data = dataFolder();
  const queue = await openQueue({ url, dataDir: data.path, concurrency: CONCURRENCY, report: () => {} });
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  const arrivals = makeArrivals();
  const removals = makeArrivals();
  const removed: Promise<void>[] = [];
  const sealed = nacl.randomBytes(BODY_BYTES);
  queue.process(
    async ({ seq }) => {
      arrivals.came(seq);
      return { kind: "received", receipt: undefined };
    },
    ({ stream, seq }) => void queue.remove(stream, seq).then(() => removals.came(seq), fail),
  );
  const once = async () => {
    const { number, arrived } = arrivals.expect();
    removed.push(removals.expect().arrived);
    await queue.add([
      { stream: "bench", seq: number, topic: "webhook.github.push", delivery: randomUUID(), sealed },
    ]);
    await arrived;
  };
  try {
    await queue.resume();
    const flights = await Promise.race([flyPlan(plan, clocked(once)), failed]);
    await Promise.race([Promise.all(removed), failed]);
    return flights;
  } finally {
    await queue.close();
    data.remove();
  }
}

/** BullMQ as its own documentation has it, `Queue.add` → `Worker`, on a server that is as durable as the relay's. */
export async function measureBullmq(url: string, plan: Plan): Promise<Flights> {
  const isRedis = url.startsWith("redis:");
  const { Queue, Worker } = isRedis ? withBackend(createRedisBackend) : withBackend(createPostgresBackend);
  const connection = isRedis ? { url, maxRetriesPerRequest: null } : { connectionString: url, migrate: true };
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  const arrivals = makeArrivals();
  const sealed = Buffer.from(nacl.randomBytes(BODY_BYTES)).toString("base64");
  const name = "bare";
  const queue = new Queue(name, { connection });
  queue.on("error", fail);
  const worker = new Worker(name, async (job) => arrivals.came(Number(job.name)), {
    connection,
    concurrency: CONCURRENCY,
    autorun: false,
  });
  worker.on("error", fail);
  const once = async () => {
    const { number, arrived } = arrivals.expect();
    await queue.add(String(number), { sealed }, { removeOnComplete: true });
    await arrived;
  };
  try {
    await Promise.race([queue.waitUntilReady(), failed]);
    worker.run().catch(fail);
    return await Promise.race([flyPlan(plan, clocked(once)), failed]);
  } finally {
    await worker.close();
    await queue.close();
  }
}

/** Things that are numbered where they leave, and waited for where they arrive. */
function makeArrivals() {
  const expected = new Map<number, () => void>();
  let last = 0;
  return {
    expect(): { number: number; arrived: Promise<void> } {
      const number = (last += 1);
      const { promise: arrived, resolve } = Promise.withResolvers<void>();
      expected.set(number, resolve);
      return { number, arrived };
    },
    came(number: number): void {
      expected.get(number)?.();
      expected.delete(number);
    },
  };
}

/** A copy of `noise` that begins with a number. */
function numbered(noise: Uint8Array, number: number): Uint8Array {
  const bytes = noise.slice();
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
