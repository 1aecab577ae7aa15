import { randomUUID } from "node:crypto";
import type { IQueueBackend } from "bullmq";
import type { Cluster, Redis } from "ioredis";
import type { QueueState } from "./queue.ts";
import { parseJob, type StoredJob } from "./job.ts";
import type { JobTable, TakenJob } from "./store.ts";

/** Fields of BullMQ's hash of a job (`ats`, `atm`: attempts started and made). */
const FIELDS = ["name", "timestamp", "ats", "atm", "finishedOn", "failedReason", "returnvalue"] as const;
/** Jobs asked for in one pipeline: some 100 KB of answers, which never hold up another client for long. */
const AT_ONCE = 500;
/** BullMQ's score of a delayed job is its time times this, plus a counter: `getDelayedScore.lua`. */
const DELAYED_SCORE = 4096;

/** BullMQ's keys of the queue. Asks for what it reads in pipelines; whatever changes a job is BullMQ's script. */
export function makeRedisJobs(client: Redis | Cluster, backend: IQueueBackend): JobTable {
  const key = (name: string): string => backend.toKey(name);

  /** The answers of a pipeline. Rejects with the first error in it. */
  const ask = async (commands: [command: string, ...args: (string | number)[]][]): Promise<unknown[]> => {
    const answers = await client.pipeline(commands).exec();
    return (answers ?? []).map(([error, answer]) => {
      if (error !== null) throw error;
      return answer;
    });
  };

  const takeOne = async (): Promise<TakenJob | undefined> => {
    const token = randomUUID();
    const [job, id]: Awaited<ReturnType<IQueueBackend["moveToActive"]>> = await backend.moveToActive(token);
    if (!job) return undefined;
    const { name, data, attemptsStarted, attemptsMade } = job;
    return {
      id,
      name,
      token,
      attemptsStarted,
      attemptsMade,
      sealed: Buffer.from(JSON.parse(data), "base64"),
    };
  };

  const findSome = async (ids: readonly string[]): Promise<(StoredJob | undefined)[]> => {
    const answers = await ask(
      ids.flatMap((id): [string, ...string[]][] => [
        ["hmget", key(id), ...FIELDS],
        ["zscore", key("delayed"), id],
        ["exists", `${key(id)}:lock`],
      ]),
    );
    return ids.map((id, index) => storedJob(id, answers.slice(index * 3, index * 3 + 3)));
  };

  const find = async (ids: readonly string[]): Promise<(StoredJob | undefined)[]> => {
    const found: (StoredJob | undefined)[] = [];
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      found.push(...(await findSome(ids.slice(from, from + AT_ONCE))));
    }
    return found;
  };

  const idsOf = async (state: QueueState, limit: number): Promise<string[]> => {
    const last = Number.isFinite(limit) ? limit : 0;
    switch (state) {
      // Both lists grow at their left end and are taken from at their right one.
      case "waiting":
        return (await client.lrange(key("wait"), -last, -1)).toReversed();
      case "in hand":
        return (await client.lrange(key("active"), -last, -1)).toReversed();
      case "delayed":
        return client.zrange(key("delayed"), "0", `${last - 1}`);
      case "received":
        return client.zrange(key("completed"), "0", `${last - 1}`);
      case "dead":
        return client.zrange(key("failed"), "0", `${last - 1}`);
      default:
        return state satisfies never;
    }
  };

  return {
    async take(count) {
      // One connection: what is sent in order is answered in order.
      const taken = await Promise.allSettled(Array.from({ length: count }, takeOne));
      const jobs = taken.flatMap((one) => (one.status === "fulfilled" ? (one.value ?? []) : []));
      const failed = taken.find((one) => one.status === "rejected");
      // What was taken is ours, whatever happened to the rest.
      if (jobs.length === 0 && failed !== undefined) throw failed.reason;
      return jobs;
    },
    find,
    async list(state, limit) {
      const jobs = await find(limit > 0 ? await idsOf(state, limit) : []);
      return jobs.filter((job) => job !== undefined).map((job) => ({ ...job, state }));
    },
    anyWaiting: async () => (await client.llen(key("wait"))) > 0,
    async remove(ids) {
      const [names, removed] = await Promise.all([
        ask(ids.map((id) => ["hget", key(id), "name"])),
        Promise.all(ids.map((id) => backend.remove(id, false))),
      ]);
      return ids
        .map((id, index) => ({ id, name: names[index], removed: removed[index] === 1 }))
        .filter((job): job is typeof job & { name: string } => job.removed && typeof job.name === "string");
    },
    async forgetSpent(id) {
      await client.hdel(key(id), "atm");
    },
    async bytesHeld() {
      const states: QueueState[] = ["waiting", "in hand", "delayed", "received", "dead"];
      const ids = new Set((await Promise.all(states.map((state) => idsOf(state, Infinity)))).flat());
      const jobs = await find([...ids]);
      return jobs.reduce((sum, job) => sum + (job === undefined ? 0 : parseJob(job).bytes), 0);
    },
  };
}

/** A job from the answers of `findSome`. One whose process died counts as waiting: its lock is gone. */
function storedJob(id: string, [fields, due, locks]: readonly unknown[]): StoredJob | undefined {
  if (!Array.isArray(fields)) return undefined;
  const [name, timestamp, started, made, finishedOn, failedReason, returnValue] = fields.map(textOf);
  if (name === undefined) return undefined;
  const dueAt = textOf(due);
  const finished: QueueState = failedReason === undefined ? "received" : "dead";
  const unfinished: QueueState = dueAt !== undefined ? "delayed" : locks === 1 ? "in hand" : "waiting";
  return {
    id,
    name,
    state: finishedOn === undefined ? unfinished : finished,
    addedAt: Number(timestamp),
    attemptsStarted: Number(started ?? 0),
    attemptsMade: Number(made ?? 0),
    dueAt: dueAt === undefined ? undefined : Math.floor(Number(dueAt) / DELAYED_SCORE),
    failedReason,
    returnValue,
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
