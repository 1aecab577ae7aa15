/**
 * `node bench/queue.ts [--backlog <events>] [store…]`: the relay's queue on each store beside bare BullMQ, in one run on
 * one machine; what counts are the ratios. BullMQ's `Worker` needs LISTEN, which PGlite does not have: beside `embedded`
 * stand BullMQ's own calls, one after the other. Both sides are durable alike, and forget an event when it is done.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Queue, Worker, createPostgresBackend, createRedisBackend, type IQueueBackend } from "bullmq";
import { keepOpen } from "../relay/queue/embedded-database.ts";
import { asPool, openPostgresIn } from "../relay/queue/embedded-postgres.ts";
import type { DeliveryQueue, QueuedEvent } from "../relay/queue/queue.ts";
import { openQueue } from "../relay/queue/open.ts";
import { startPostgres } from "../test/helpers/postgres.ts";
import { startRedis } from "../test/helpers/redis.ts";

/** Bytes of a sealed event: a common webhook. */
const BYTES = 8192;
const EVENTS = 1000;
/** Events added in one call. */
const BATCH = 50;
const IN_FLIGHT = [1, 10, 100];

const { values, positionals } = parseArgs({
  options: { backlog: { type: "string" } },
  allowPositionals: true,
});
const folder = mkdtempSync(join(tmpdir(), "oh-bench-queue-"));
let places = 0;

function line(what: string, figures: string): void {
  console.log(`  ${what.padEnd(30)} ${figures}`);
}

async function perSecond(events: number, work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (events / (performance.now() - started)) * 1000;
}

function* batches(events: number): Generator<QueuedEvent[]> {
  const sealed = randomBytes(BYTES);
  for (let from = 1; from <= events; from += BATCH) {
    yield Array.from({ length: Math.min(BATCH, events - from + 1) }, (_, index) => {
      const seq = from + index;
      return { stream: "bench", seq, topic: "webhook.github.push", delivery: `guid-${seq}`, sealed };
    });
  }
}

/** Hands out every event that waits, and removes it. */
async function drain(queue: DeliveryQueue, events: number, onDone?: (done: number) => void): Promise<void> {
  const all = Promise.withResolvers<void>();
  let done = 0;
  const remove = async (stream: string, seq: number): Promise<void> => {
    await queue.remove(stream, seq);
    done += 1;
    onDone?.(done);
    if (done === events) all.resolve();
  };
  queue.process(
    async () => ({ kind: "received", receipt: "receipt" }),
    ({ stream, seq }) => void remove(stream, seq),
  );
  await queue.resume();
  await all.promise;
}

interface Rates {
  readonly added: number;
  readonly handled: number;
}

async function measureOurs(url: string, inFlight: number): Promise<Rates> {
  const dataDir = join(folder, `${(places += 1)}`);
  const queue = await openQueue({ url, dataDir, concurrency: inFlight, report: console.log });
  const added = await perSecond(EVENTS, async () => {
    for (const batch of batches(EVENTS)) await queue.add(batch);
  });
  const handled = await perSecond(EVENTS, () => drain(queue, EVENTS));
  await queue.close();
  return { added, handled };
}

/** A queue of bare BullMQ, and how it is worked off. */
interface Bare {
  readonly queue: Queue<string, null, string, string, null, string, IQueueBackend>;
  work(inFlight: number, events: number): Promise<void>;
  close(): Promise<void>;
}

function bareOn(options: object, factory: (name: string, all: never, more?: object) => IQueueBackend): Bare {
  const name = `bare-${(places += 1)}`;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each factory is given its own options
  const make = (as: string, all: object, more?: object) => factory(as, all as never, more);
  return {
    queue: new Queue(name, { connection: {}, ...options }, make),
    async work(concurrency, events) {
      const all = Promise.withResolvers<void>();
      let done = 0;
      const worker = new Worker(
        name,
        async () => null,
        { connection: {}, ...options, concurrency, removeOnComplete: { count: 0 } },
        make,
      );
      worker.on("completed", () => {
        done += 1;
        if (done === events) all.resolve();
      });
      await all.promise;
      await worker.close();
    },
    async close() {
      await this.queue.close();
    },
  };
}

async function bareEmbedded(): Promise<Bare> {
  const directory = join(folder, `${(places += 1)}`);
  const open = () => openPostgresIn(directory);
  const database = keepOpen(await open(), open, async () => true);
  const backend = createPostgresBackend("bare", { connection: asPool(database) });
  return {
    queue: new Queue("bare", { connection: {} }, () => backend),
    async work(_, events) {
      for (let done = 0; done < events; done += 1) {
        const [job, id]: Awaited<ReturnType<IQueueBackend["moveToActive"]>> = await backend.moveToActive("0");
        const ended = { ...job, id, opts: {} };
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its id is all that is used of it
        await backend.moveToCompleted(ended as never, null, true, "0", false);
      }
    },
    close: () => database.close(),
  };
}

async function measureBare(bare: Bare, inFlight: number): Promise<Rates> {
  const added = await perSecond(EVENTS, async () => {
    for (const batch of batches(EVENTS)) {
      await bare.queue.addBulk(
        batch.map(({ seq, sealed }) => ({
          name: "event",
          data: Buffer.from(sealed).toString("base64"),
          opts: { jobId: `bench-${seq}` },
        })),
      );
    }
  });
  const handled = await perSecond(EVENTS, () => bare.work(inFlight, EVENTS));
  await bare.close();
  return { added, handled };
}

async function compare(
  title: string,
  newUrl: () => Promise<string>,
  newBare: () => Promise<Bare>,
): Promise<void> {
  console.log(`\n${title}`);
  for (const inFlight of IN_FLIGHT) {
    const ours = await measureOurs(await newUrl(), inFlight);
    const bare = await measureBare(await newBare(), inFlight);
    const figures = (one: number, other: number) =>
      `${one.toFixed(0).padStart(6)} /s   bare ${other.toFixed(0).padStart(6)} /s   ratio ${(one / other).toFixed(2)}`;
    line(`added, ${BATCH} a call`, figures(ours.added, bare.added));
    line(`handled, ${inFlight} in flight`, figures(ours.handled, bare.handled));
  }
}

async function measureBacklog(title: string, url: string, events: number): Promise<void> {
  const queue = await openQueue({
    url,
    dataDir: join(folder, "backlog"),
    concurrency: 100,
    report: console.log,
  });
  const rss = () => `${Math.round(process.memoryUsage().rss / 1_048_576)} MiB`;
  line(`${title}: backlog`, `opened at ${rss()}`);
  let added = 0;
  const rate = await perSecond(events, async () => {
    for (const batch of batches(events)) {
      await queue.add(batch);
      added += batch.length;
      if (added % (events / 10) < BATCH) line("added", `${added} at ${rss()}`);
    }
  });
  const drained = await perSecond(events, () =>
    drain(queue, events, (done) => {
      if (done % Math.ceil(events / 10) === 0) line("handled", `${done} at ${rss()}`);
    }),
  );
  line(`${title}: backlog of ${events}`, `added ${rate.toFixed(0)} /s, handled ${drained.toFixed(0)} /s`);
  await queue.close();
}

const stores: Record<string, () => Promise<void>> = {
  async embedded() {
    if (backlog > 0) return measureBacklog("embedded", "embedded", backlog);
    await compare("embedded", async () => "embedded", bareEmbedded);
  },
  async redis() {
    const server = await startRedis();
    if (backlog > 0) await measureBacklog("redis", server.url(0), backlog);
    else {
      const connection = { url: server.url(0), maxRetriesPerRequest: null };
      await compare(
        "redis, fsync always",
        async () => server.url((places += 1)),
        async () => bareOn({ connection, skipVersionCheck: true }, createRedisBackend),
      );
    }
    await server.stop();
  },
  async "local-redis"() {
    if (backlog > 0) return measureBacklog("local-redis", "local-redis", backlog);
    line("local-redis", "as redis");
  },
  async postgres() {
    const server = await startPostgres();
    if (backlog > 0) await measureBacklog("postgres", await server.createDatabase("backlog"), backlog);
    else {
      const bare = await server.createDatabase("bare");
      const connection = { connectionString: bare, migrate: true };
      await compare(
        "postgres, fsync on",
        () => server.createDatabase(`place-${(places += 1)}`),
        async () => bareOn({ connection }, createPostgresBackend),
      );
    }
    await server.stop();
  },
};

const backlog = Number(values.backlog ?? 0);
console.log(`onionhook queue: ${BYTES / 1024} KiB events, ${backlog > 0 ? backlog : EVENTS} each`);
for (const store of positionals.length > 0 ? positionals : Object.keys(stores)) await stores[store]?.();
rmSync(folder, { recursive: true });
