/** Opens queues, writes down what they do, and closes them again. For the contracts of the delivery queue. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Added, DeliveryQueue, Handler, QueuedEvent } from "../../../relay/queue/queue.ts";
import { openQueue } from "../../../relay/queue/open.ts";
import { endProcess } from "../../helpers/server-process.ts";

/** Where a queue is kept: what `openQueue` needs to find it again. */
export interface Place {
  readonly url: string;
  readonly dataDir: string;
}

/** A queue's handler and receipts, watched. */
export interface Watched {
  readonly queue: DeliveryQueue;
  /** The sequence numbers, in the order in which they were handed out. */
  readonly started: number[];
  readonly received: [seq: number, receipt: string | undefined][];
  readonly reports: [event: string, fields: Readonly<Record<string, unknown>> | undefined][];
  /** How often a stream became idle. */
  idled: number;
}

const open = new Set<DeliveryQueue>();

export async function closeAll(): Promise<void> {
  await Promise.all([...open].map((queue) => queue.close()));
  open.clear();
}

export async function watch(
  place: Place,
  concurrency: number,
  handler: Handler,
  maxBytes?: number,
): Promise<Watched> {
  const started: number[] = [];
  const received: Watched["received"] = [];
  const reports: Watched["reports"] = [];
  const queue = await openQueue({
    ...place,
    concurrency,
    ...(maxBytes !== undefined && { maxBytes }),
    report: (name, fields) => void reports.push([name, fields]),
  });
  open.add(queue);
  const watched: Watched = { queue, started, received, reports, idled: 0 };
  queue.process(
    async (given, tries) => {
      started.push(given.seq);
      return handler(given, tries);
    },
    ({ seq }, receipt) => void received.push([seq, receipt]),
    { onIdle: () => void (watched.idled += 1) },
  );
  return watched;
}

export function event(seq: number, sealed: Uint8Array = Buffer.from(`sealed ${seq}`)): QueuedEvent {
  return { stream: "a-stream", seq, topic: "webhook.github.push", delivery: `guid-${seq}`, sealed };
}

/** Adds one event. */
export async function put(queue: DeliveryQueue, one: QueuedEvent): Promise<Added | undefined> {
  const [added] = await queue.add([one]);
  return added;
}

/** Adds small events one after the other. */
export async function addAll(queue: DeliveryQueue, from: number, to: number): Promise<void> {
  for (const seq of range(from, to)) await put(queue, event(seq));
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

export const receive: Handler = async ({ seq }) => ({ kind: "received", receipt: `receipt ${seq}` });

/** Runs a process that has three of six events in hand, and kills it. Resolves with the time of its death. */
export async function holdAndKill({ url, dataDir }: Place): Promise<number> {
  const program = join(import.meta.dirname, "holder.ts");
  const holder = spawn(process.execPath, [program, url, dataDir], { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  await endProcess(holder, "SIGKILL");
  return Date.now();
}
